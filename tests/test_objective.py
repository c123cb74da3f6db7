from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.errors import BadInput
from invnas.objective import COSTS, DASH, LATENCY, MACS, PARAMETERS, by_name
from invnas.task import TASKS, load_task, objectives_of
from invnas.tasks.classification import TOP1

ALL = objectives_of(load_task("classification"))


@pytest.mark.parametrize(
    "names", [("top1", "macs"), ("macs", "latency_ms"), ("top1", "parameters", "activation_bytes"), ("loss", "macs")]
)
def test_two_or_three_different_objectives_are_right(names: tuple[str, ...]) -> None:
    assert tuple(objective.name for objective in by_name(names, ALL)) == names


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), "`objectives` must name two or three different objectives, but got none"),
        (("top1",), "`objectives` must name two or three different objectives, but got top1"),
        (("top1", "top1"), "`objectives` must name two or three different objectives, but got top1, top1"),
        (("top1", "macs", "parameters", "latency_ms"), "`objectives` must name two or three different objectives, but"),
        (
            ("top1", "mac"),
            "unknown objective 'mac'; nearest: 'macs'; valid: top1, top5, loss, balanced_accuracy, f1, auroc, macs, ",
        ),
    ],
)
def test_other_objectives_are_refused(names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        by_name(names, ALL)
    assert str(error.value).startswith(sentence)


def test_no_two_objectives_share_a_name_or_a_label() -> None:
    assert len({objective.name for objective in ALL}) == len({objective.label for objective in ALL}) == len(ALL)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_is_a_dash(value: float | None) -> None:
    assert {axis.show(value) for axis in ALL} == {axis.exact(value) for axis in ALL} == {DASH}


@given(st.floats(0, 1e15))
def test_every_value_is_printed_in_few_letters(value: float) -> None:
    for axis in COSTS:
        assert float(axis.exact(value).replace(",", "")) == pytest.approx(value, abs=0.5, rel=1e-5)
        assert len(axis.show(value)) <= 12


@pytest.mark.parametrize("gain", [-1e308, -800.0, -0.1, 0.0, 0.5, 800.0, 1e308])
def test_any_gain_has_a_value_and_a_share_stays_one(gain: float) -> None:
    assert all(math.isfinite(axis.at_gain(gain)) for axis in ALL)
    assert 0 <= TOP1.at_gain(gain) <= 1


def test_an_axis_says_its_unit_and_which_way_is_better() -> None:
    assert TOP1.axis == "Top-1 accuracy on validation (%)"
    assert LATENCY.axis == "Latency of one image (ms)"
    assert PARAMETERS.axis == "Parameters"
    assert (TOP1.sign, MACS.sign) == (1, -1)
    assert (TOP1.plotted(0.5), MACS.plotted(0.5)) == (50, 0.5)


def test_a_task_is_found_by_name_and_by_class_path_and_otherwise_refused() -> None:
    assert load_task("classification") == load_task(TASKS["classification"])
    with pytest.raises(BadInput, match=r"unknown task 'clasification'.*nearest: 'classification'"):
        load_task("clasification")
