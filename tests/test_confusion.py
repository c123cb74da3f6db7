"""What was taken for what, counted."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invnas.confusion import Confusion, together
from invnas.errors import BadInput

NUMBERS = st.integers(0, 12)
CONFUSIONS = st.dictionaries(st.tuples(NUMBERS, NUMBERS), st.integers(0, 50)).map(Confusion)


@given(CONFUSIONS)
def test_its_numbers_are_those_of_its_matrix(found: Confusion) -> None:
    matrix = found.matrix(range(13))
    assert found.total == sum(map(sum, matrix))
    assert found.right == sum(matrix[i][i] for i in range(13))
    assert [found.seen[i] for i in range(13)] == [sum(row) for row in matrix]
    counts = [found.counts[pair] for pair in found.mistakes]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == found.total - found.right
    assert bool(found) == (found.total > 0)


@given(CONFUSIONS)
def test_it_outlives_its_file(found: Confusion) -> None:
    assert Confusion.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@given(CONFUSIONS, st.integers(2, 6))
def test_of_too_many_classes_those_in_the_most_frequent_mistakes_are_shown(found: Confusion, most: int) -> None:
    shown = found.most_mistaken(most)
    assert list(shown) == sorted(set(shown))
    assert set(shown) <= set(found.classes())
    assert len(shown) <= most
    assert bool(shown) == bool(found)
    assert set(found.mistakes[0] if found.mistakes else ()) <= set(shown)


@given(st.lists(CONFUSIONS, max_size=3))
def test_a_sum_has_the_counts_of_all(found: list[Confusion]) -> None:
    whole = together(found)
    assert whole.total == sum(one.total for one in found)
    assert whole.seen == sum((one.seen for one in found), whole.seen - whole.seen)


def test_classes_that_are_known_are_there_without_images() -> None:
    found = Confusion({(1, 4): 2, (0, 0): 0})
    assert found.classes() == (1, 4)
    assert found.classes(3) == (0, 1, 2, 4)
    assert Confusion().classes(2) == (0, 1)


def test_numbers_of_torch_are_taken_as_meant() -> None:
    assert Confusion({(torch.tensor(1), torch.tensor(0)): torch.tensor(3)}).counts == {(1, 0): 3}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "counts",
    [3, [(0, 1)], {0: 1}, {(0, 1): 0.5}, {(0, "1"): 2}, {(0, -1): 2}, {(0, 1): -2}, {(0, 1): 2**60}, {(9**9999, 1): 2}],
    ids=["number", "rows", "no pair", "share", "name", "below", "negative", "huge", "endless"],
)  # fmt: skip
def test_what_are_no_counts_is_refused(counts: object) -> None:
    with pytest.raises(BadInput, match="what was taken for what"):
        Confusion(counts)  # type: ignore[arg-type]
