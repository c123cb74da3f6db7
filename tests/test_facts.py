from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.errors import BadInput
from invnas.facts import DataFacts
from invnas.preprocessing import Preprocessing

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


def test_the_preprocessing_goes_along_and_an_older_run_has_none() -> None:
    facts = DataFacts((1, 8, 8), 10, preprocessing=Preprocessing((8, 8), 1, 1.0, (0.5,), (0.25,), (0.0, 1.0)))
    data = json.loads(json.dumps(facts.to_dict()))
    assert DataFacts.from_dict(data) == facts
    with pytest.raises(BadInput, match="`crop` of a preprocessing must be"):
        DataFacts.from_dict({**data, "preprocessing": {**data["preprocessing"], "crop": 2}})
    del data["preprocessing"]
    assert DataFacts.from_dict(data).preprocessing is None


@pytest.mark.parametrize("change", [{"input_shape": [8, 8]}, {"classes": "ten"}, {"counts": None}])
def test_what_is_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        DataFacts.from_dict({**DataFacts((1, 8, 8), 10).to_dict(), **change})
