from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.data.split import balanced, hold_out, seed_of, subset

label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.asarray)
shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**31)


@given(label_lists, shares, seeds)
def test_a_split_is_disjoint_and_complete(labels: np.ndarray, share: float, seed: int) -> None:
    rest, held = hold_out(labels, share, seed)
    assert sorted([*rest, *held]) == list(range(len(labels)))


@given(label_lists, shares, seeds)
def test_a_split_is_stratified(labels: np.ndarray, share: float, seed: int) -> None:
    rest, held = hold_out(labels, share, seed)
    for label in np.unique(labels):
        count = int((labels == label).sum())
        kept = int((labels[held] == label).sum())
        assert abs(kept - share * count) <= 1
        assert (labels[rest] == label).any(), "every class must be trained"
        assert count == 1 or kept >= 1


@given(label_lists, shares, seeds)
def test_equal_seeds_give_equal_splits(labels: np.ndarray, share: float, seed: int) -> None:
    for one, other in zip(hold_out(labels, share, seed), hold_out(labels, share, seed), strict=True):
        assert np.array_equal(one, other)


def test_another_seed_gives_another_split() -> None:
    labels = np.repeat([0, 1], 50)
    assert not np.array_equal(hold_out(labels, 0.2, 0)[1], hold_out(labels, 0.2, 1)[1])


def test_another_process_makes_the_same_split() -> None:
    program = (
        "import numpy as np; from invnas.data.split import hold_out, seed_of;"
        "print(hold_out(np.arange(40) % 3, 0.2, seed_of(5, 1))[1].tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(hold_out(np.arange(40) % 3, 0.2, seed_of(5, 1))[1].tolist())


@given(label_lists, st.integers(1, 60), seeds)
def test_a_subset_is_balanced(labels: np.ndarray, count: int, seed: int) -> None:
    chosen = subset(labels, count, seed, balance=True)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
    sizes = {label: int((labels[chosen] == label).sum()) for label in np.unique(labels)}
    exhausted = {label for label in sizes if sizes[label] == (labels == label).sum()}
    for label, size in sizes.items():
        assert label in exhausted or size >= max(sizes.values()) - 1


@given(label_lists, st.integers(1, 30), seeds)
def test_a_smaller_subset_is_part_of_a_larger_one(labels: np.ndarray, count: int, seed: int) -> None:
    for balance in (False, True):
        assert set(subset(labels, count, seed, balance)) <= set(subset(labels, count + 5, seed, balance))


@pytest.mark.parametrize("parts", [(0,), (0, 0), (0, 1), (1, 0), (2**40, 3)])
def test_seeds_are_mixed_apart(parts: tuple[int, ...]) -> None:
    assert 0 <= seed_of(*parts) < 2**63
    assert seed_of(*parts) != seed_of(*parts, 7)


@given(st.lists(st.integers(1, 400), min_size=2, max_size=6), st.floats(0.02, 1), st.integers(0, 5))
def test_a_limit_keeps_the_share_of_every_class(sizes: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = max(round(share * len(labels)), 1)
    chosen = subset(labels, count, seed)
    assert len(chosen) == count
    found = np.bincount(labels[chosen], minlength=len(sizes))
    assert (np.abs(found - count * np.array(sizes) / len(labels)) <= 1.5).all()


@given(label_lists, seeds)
def test_a_balanced_epoch_has_classes_and_their_images_equally_often(labels: np.ndarray, seed: int) -> None:
    order = balanced(labels, seed)
    assert len(order) == len(labels)
    present = np.unique(labels)
    each = np.bincount(labels[order], minlength=5)[present]
    assert each.max() - each.min() <= 1
    for label in present:
        images = np.bincount(order, minlength=len(labels))[labels == label]
        assert images.max() - images.min() <= 1
    assert np.array_equal(order, balanced(labels, seed))


def test_which_images_of_a_large_class_come_differs_from_epoch_to_epoch() -> None:
    labels = np.repeat([0, 1], [90, 10])
    seen = [set(order[labels[order] == 0].tolist()) for order in (balanced(labels, seed_of(0, e)) for e in range(3))]
    assert all(len(some) == 50 for some in seen)
    assert seen[0] != seen[1] != seen[2]
    assert len(set().union(*seen)) > 70
    order = balanced(labels, 0)
    assert 3 < (labels[order[:20]] == 1).sum() < 17  # classes are mixed
