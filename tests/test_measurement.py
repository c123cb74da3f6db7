from __future__ import annotations

import json

import pytest

from invnas.errors import BadInput
from invnas.measurement import OBJECTIVES, Measurement, check_objectives

ONE = Measurement(top1=0.5, loss=1.25, macs=10, parameters=20, activation_bytes=30, top5=0.75, latency_ms=2.0)


def test_a_measurement_survives_json_and_a_newer_field() -> None:
    data = json.loads(json.dumps(ONE.to_dict()))
    assert Measurement.from_dict(data) == ONE
    assert Measurement.from_dict({**data, "watts": 3}) == ONE


def test_every_objective_is_a_number_of_a_measurement_in_the_order_asked() -> None:
    assert ONE.values(("macs", "top1")) == (10.0, 0.5)
    assert ONE.values(tuple(OBJECTIVES)) == (0.5, 10.0, 20.0, 30.0, 2.0)


@pytest.mark.parametrize(
    "names", [("top1", "macs"), ("macs", "latency_ms"), ("top1", "parameters", "activation_bytes")]
)
def test_two_or_three_different_objectives_are_right(names: tuple[str, ...]) -> None:
    check_objectives(names)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), "`objectives` must name two or three different objectives, but got none"),
        (("top1",), "`objectives` must name two or three different objectives, but got top1"),
        (("top1", "top1"), "`objectives` must name two or three different objectives, but got top1, top1"),
        (("top1", "macs", "parameters", "latency_ms"), "`objectives` must name two or three different objectives, but"),
        (
            ("top1", "mac"),
            "unknown objective 'mac'; nearest: 'macs'; valid: top1, macs, parameters, activation_bytes, ",
        ),
    ],
)
def test_other_objectives_are_refused(names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        check_objectives(names)
    assert str(error.value).startswith(sentence)
