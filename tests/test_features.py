from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from invnas import Choice
from invnas.features import Encoder, Feature, labels_of
from invnas.space import load_space


def test_a_tree_without_choices_has_no_features() -> None:
    assert labels_of((1, 2)) == {}
    assert labels_of((Choice(1),)) == {}
    assert Encoder({}).features == ()
    assert Encoder({}).encode([{}, {}]).shape == (2, 0)


def test_counts_on_three_levels_by_hand() -> None:
    space = load_space("hybrid_cifar")
    decisions = space.draw(random.Random(3))
    row = dict(zip(space.features, space.encode(decisions), strict=True))
    taken = Counter()
    for path, index in decisions.items():
        if path.startswith("stages.1.blocks.") and path.endswith(".spatial"):
            taken["stage", index] += 1
        if path.startswith("stages.") and path.endswith(".spatial"):
            taken["network", index] += 1
    for index, label in enumerate(("Convolution", "Involution")):
        assert row[Feature("stages.1.blocks.*.spatial", label, "stage")] == taken["stage", index]
        assert row[Feature("stages.*.blocks.*.spatial", label, "network")] == taken["network", index]
        place = row[Feature("stages.1.blocks.0.spatial", label, "place")]
        assert place == (decisions["stages.1.blocks.0.spatial"] == index)


@pytest.mark.parametrize("name", ["digits", "hybrid_cifar", "ablation", "plain_function"])
def test_different_decisions_have_different_features_and_inactive_choices_count_nothing(name: str) -> None:
    space, rng = load_space(name), random.Random(0)
    many = [space.draw_branches(rng) for _ in range(60)]
    table = space.encode_many(many)
    assert table.shape == (60, len(space.features))
    assert len({row.tobytes() for row in table}) == len({str(sorted(one.items())) for one in many})
    places = np.array([feature.level == "place" or "*" not in feature.path for feature in space.features])
    for row, decisions in zip(table, many, strict=True):
        assert (row == space.encode(decisions)).all()
        assert set(np.unique(row[places])) <= {0.0, 1.0}


def test_branches_are_drawn_as_likely_as_each_other() -> None:
    space, rng = load_space("hybrid_cifar"), random.Random(1)
    depths = Counter(space.draw_branches(rng)["stages.0.blocks.times"] for _ in range(900))
    assert all(250 < depths[index] < 350 for index in range(3))
    deepest = Counter(space.draw(rng)["stages.0.blocks.times"] for _ in range(900))
    assert deepest[2] > 850
