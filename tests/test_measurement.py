from __future__ import annotations

import copy
import json
import pickle

import pytest

from invnas.architecture import Architecture, Convolution
from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement, Trial, total
from invnas.objective import COSTS, LATENCY, MACS
from invnas.tasks.classification import TOP1

ONE = Measurement({"top1": 0.5, "loss": 1.25}, epochs=2, planned_epochs=6, device="cpu", host="here")
PRICE = Cost.counted(10, 20, 30)
TRIAL = Trial(3, Architecture(Convolution()), {}, PRICE, "complete", ONE)


def test_a_measurement_survives_json_and_a_newer_field() -> None:
    data = json.loads(json.dumps(ONE.to_dict()))
    assert Measurement.from_dict(data) == ONE
    assert Measurement.from_dict({**data, "watts": 3}) == ONE


def test_classes_are_written_only_where_there_are_some() -> None:
    plain = Measurement({"top1": 0.5})
    assert "by_class" not in plain.to_dict()
    classes = Measurement({"top1": 0.5}, by_class=(0.5, None, 0.912))
    text = json.dumps(classes.to_dict())
    assert Measurement.from_dict(json.loads(text)) == classes
    assert len(text) - len(json.dumps(plain.to_dict())) == len(', "by_class": [0.5, null, 0.912]')


def test_what_was_inherited_is_written_only_where_something_was_there_to_inherit() -> None:
    assert "inherited" not in Measurement({"top1": 0.5}).to_dict()
    for share in (0.0, 0.25):
        found = Measurement({"top1": 0.5}, inherited=share)
        assert found.to_dict()["inherited"] == share
        assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_measurement_survives_copies_and_pickles() -> None:
    assert copy.deepcopy(ONE) == ONE
    assert pickle.loads(pickle.dumps(ONE)) == ONE


def test_values_are_read_by_name_and_as_attributes() -> None:
    assert ONE["top1"] == ONE.top1 == 0.5
    assert "top5" not in ONE
    with pytest.raises(AttributeError, match="has no 'top5'"):
        _ = ONE.top5


def test_a_cost_is_read_by_name_and_sums_with_the_largest_peak() -> None:
    assert [PRICE[cost.name] for cost in COSTS if cost.name in PRICE] == [10, 20, 30]
    assert (PRICE.macs, PRICE.parameters, PRICE.activation_bytes) == (10, 20, 30)
    assert total([PRICE, Cost.counted(1, 2, 40)]) == Cost.counted(11, 22, 40)
    assert total([]) == Cost.counted(0, 0, 0)


def test_a_trial_has_the_values_of_its_objectives_in_the_order_asked() -> None:
    assert TRIAL.values((MACS, TOP1)) == (10.0, 0.5)
    assert TRIAL.value("latency_ms") is None
    with pytest.raises(BadInput, match="trial 3 has no value of `latency_ms`: it was not measured"):
        TRIAL.values((LATENCY,))
