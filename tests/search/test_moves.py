from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from invnas import Choice
from invnas.search.moves import Moves
from invnas.space import Space, load_space


def differing(one: dict[str, int], other: dict[str, int]) -> set[str]:
    return {path for path in one.keys() & other.keys() if one[path] != other[path]}


@pytest.mark.parametrize("name", ["digits", "hybrid_cifar", "hybrid_imagenet", "plain_function"])
def test_a_neighbour_decides_what_is_needed_and_is_nearly_always_another(name: str) -> None:
    space, rng = load_space(name), random.Random(0)
    moves, same = Moves(space), 0
    for _ in range(300):
        parent = space.draw_branches(rng)
        found = moves.neighbour(parent, rng)
        assert space.walk(lambda path, choice, given=found: given[path]) == found
        same += found == parent
    assert same < 15


def test_a_space_of_one_point_has_itself_as_its_neighbour() -> None:
    def only(input_shape: Any, classes: int, width: int = Choice(8)) -> Any: ...

    space = Space(only)
    assert Moves(space).neighbour({"width": 0}, random.Random(0)) == {"width": 0}


def test_steps_of_one_of_two_of_a_whole_stage_and_exchanges_all_come_up() -> None:
    """An exchange moves an involution to another block: how many there are stays."""
    space, rng = load_space("hybrid_cifar"), random.Random(1)
    moves, seen = Moves(space), Counter[str]()
    for _ in range(600):
        parent = space.draw(rng)
        found = moves.neighbour(parent, rng)
        spatial = {path for path in differing(parent, found) if path.endswith(".spatial")}
        involutions = [sum(d[p] for p in d if p.endswith(".spatial")) for d in (parent, found)]
        if len(spatial) == 2 and involutions[0] == involutions[1]:
            seen["exchange within" if len({path.split(".")[1] for path in spatial}) == 1 else "exchange across"] += 1
        elif len(spatial) > 2:
            seen["alike"] += 1
        elif len(differing(parent, found)) == 1:
            seen["one"] += 1
        elif len(differing(parent, found)) == 2:
            seen["two"] += 1
    assert min(seen[kind] for kind in ("exchange within", "exchange across", "alike", "one", "two")) > 5, seen
