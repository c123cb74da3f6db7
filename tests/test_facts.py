from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.facts import DataFacts

SIDES = st.integers(1, 512)


@given(
    shape=st.tuples(SIDES, SIDES, SIDES),
    names=st.none() | st.lists(st.text(), min_size=2, max_size=5).map(tuple),
    counts=st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.integers(0)),
)
def test_round_trip_through_json(
    shape: tuple[int, int, int], names: tuple[str, ...] | None, counts: dict[str, int]
) -> None:
    facts = DataFacts(shape, 10, names, counts)
    assert DataFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


@pytest.mark.parametrize("change", [{"input_shape": [8, 8]}, {"classes": "ten"}, {"counts": None}])
def test_what_is_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        DataFacts.from_dict({**DataFacts((1, 8, 8), 10).to_dict(), **change})
