"""Halving by non-dominated rank: who goes on, who ends, and who would be worth another try."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.architecture import Architecture, Convolution
from invnas.measurement import Cost, Measurement, Trial
from invnas.objective import ACTIVATION_BYTES, LATENCY, MACS, PARAMETERS, Objective
from invnas.search.halving import HalvingStopper, at, promising
from invnas.tasks.classification import LOSS, TOP1

TWO, THREE = (TOP1, MACS), (TOP1, PARAMETERS, LOSS)
AXES = [TWO, THREE, (MACS, PARAMETERS, ACTIVATION_BYTES)]
ONE = Architecture(Convolution())


def arrived(number: int, values: Sequence[float], axes: Sequence[Objective] = TWO, epochs: int = 1) -> Trial:
    """Return a running trial that has come to a rung with these values of the axes."""
    named = dict(zip((axis.name for axis in axes), values, strict=True))
    cost = Cost({axis.name: named[axis.name] for axis in axes if axis.source != "learned"})
    learned = {axis.name: named[axis.name] for axis in axes if axis.source == "learned"}
    return Trial(number, ONE, {}, cost, rungs=(Measurement(learned, epochs, 8),))


def better(axes: Sequence[Objective], values: Sequence[float], by: float) -> list[float]:
    """Return values that are better by so much in every objective; worse where it is negative."""
    return [value + by * axis.sign for axis, value in zip(axes, values, strict=True)]


# Few different values, so that equal ones and ties come up.
cases = st.tuples(st.sampled_from(AXES), st.integers(2, 5), st.integers(0, 2**32 - 1), st.integers(1, 30))


def drawn(case: tuple[Sequence[Objective], int, int, int]) -> tuple[Sequence[Objective], int, np.random.Generator, Any]:
    axes, eta, seed, number = case
    rng = np.random.default_rng(seed)
    return axes, eta, rng, rng.integers(1, 6, (number, 3))[:, : len(axes)].astype(float)


def test_the_first_at_a_rung_goes_on() -> None:
    assert not HalvingStopper(TWO, 2).judge(arrived(0, (0.1, 100)))


@pytest.mark.parametrize("eta", [2, 3, 7])
def test_of_two_the_one_that_is_beaten_ends(eta: int) -> None:
    stopper = HalvingStopper(TWO, eta)
    assert not stopper.judge(arrived(0, (0.5, 100)))
    assert stopper.judge(arrived(1, (0.4, 200)))
    assert not stopper.judge(arrived(2, (0.3, 50)))  # cheaper than all


def test_so_many_go_on_as_eta_says() -> None:
    """Twelve on one line of descent, the best first: of the last a share has gone before."""
    for eta, kept in ((2, 1), (3, 1)):
        stopper = HalvingStopper(TWO, eta)
        ended = [stopper.judge(arrived(number, (0.9 - number / 20, 100 + number))) for number in range(12)]
        assert ended.count(False) == kept
    for eta, kept in ((2, 6), (3, 4), (4, 3), (12, 1), (13, 1)):
        stopper = HalvingStopper(TWO, eta, [arrived(n, (0.9 - n / 20, 100 + n)) for n in range(12)])
        again = [stopper.judge(arrived(n, (0.9 - n / 20, 100 + n))) for n in range(12)]
        assert again == [False] * kept + [True] * (12 - kept)


def test_fronts_are_kept_whole() -> None:
    """A front goes on as a whole, when those before it are fewer than the share."""
    stairs = [arrived(n, (0.1 * n, 100 * n)) for n in range(1, 6)]
    behind = [arrived(n + 10, (0.1 * n - 0.05, 100 * n)) for n in range(1, 6)]
    last = arrived(20, (0.01, 600))
    stopper = HalvingStopper(TWO, 2, [*stairs, *behind, last])
    assert [stopper.judge(trial) for trial in (*stairs, *behind, last)] == [False] * 10 + [True]
    strict = HalvingStopper(TWO, 3, [*stairs, *behind, last])
    assert [strict.judge(trial) for trial in (*stairs, *behind, last)] == [False] * 5 + [True] * 6


def test_rungs_are_judged_for_themselves() -> None:
    stopper = HalvingStopper(TWO, 2)
    for number in range(4):
        stopper.judge(arrived(number, (0.9, 10), epochs=1))
    assert not stopper.judge(arrived(9, (0.1, 900), epochs=2))
    assert stopper.judge(arrived(9, (0.1, 900), epochs=1))


@given(case=cases)
def test_who_beats_all_goes_on_and_whom_all_beat_ends(case: Any) -> None:
    """Whoever came before, in whatever order and with whatever ties."""
    axes, eta, rng, values = drawn(case)
    stopper = HalvingStopper(axes, eta)
    for number, row in enumerate(values):
        stopper.judge(arrived(number, row, axes))
    best = np.array([values[:, i].max() if axis.sign > 0 else values[:, i].min() for i, axis in enumerate(axes)])
    worst = np.array([values[:, i].min() if axis.sign > 0 else values[:, i].max() for i, axis in enumerate(axes)])
    column = int(rng.integers(len(axes)))
    first = [best[i] + (axis.sign if i == column else 0) for i, axis in enumerate(axes)]  # better in one is enough
    last = [worst[i] - (axis.sign if i == column else 0) for i, axis in enumerate(axes)]
    assert not stopper.judge(arrived(100, first, axes))
    assert stopper.judge(arrived(101, last, axes))


@given(case=cases)
def test_nothing_that_nobody_beats_ends_and_the_record_decides(case: Any) -> None:
    axes, eta, _, values = drawn(case)
    signed = values * [axis.sign for axis in axes]
    lived, trials = HalvingStopper(axes, eta), []
    for number, row in enumerate(values):
        trials.append(arrived(number, row, axes))
        ends = lived.judge(trials[-1])
        seen = signed[: number + 1]
        beaten = np.any(np.all(seen >= seen[number], axis=1) & np.any(seen > seen[number], axis=1))
        assert not (ends and not beaten)
        assert lived.judge(trials[-1]) == ends  # asked again
        for known in (trials[:-1], trials, trials[::-1]):  # after a kill, before or after it was recorded
            assert HalvingStopper(axes, eta, known).judge(trials[-1]) == ends


@given(case=cases)
def test_equal_trials_are_treated_alike_and_better_ones_no_worse(case: Any) -> None:
    axes, eta, _, values = drawn(case)
    trials = [arrived(number, row, axes) for number, row in enumerate(values)]
    stopper = HalvingStopper(axes, eta, trials)
    ends = [stopper.judge(trial) for trial in trials]
    signed = values * [axis.sign for axis in axes]
    for mine, ended in zip(signed, ends, strict=True):
        for theirs, also in zip(signed, ends, strict=True):
            if np.all(theirs >= mine):
                assert ended or not also


def test_costs_are_exact_and_what_is_learned_is_that_of_the_rung() -> None:
    trial = replace(arrived(0, (0.5, 100)), measurement=Measurement({"top1": 0.9}), state="complete")
    assert at(trial, trial.rungs[0], TWO) == (0.5, 100)


@pytest.mark.parametrize(
    "rung", [Measurement({"top1": math.nan}, 1, 8), Measurement({"top1": math.inf}, 1, 8), Measurement({}, 1, 8)]
)
def test_what_cannot_be_compared_goes_on_and_disturbs_nobody(rung: Measurement) -> None:
    odd = replace(arrived(1, (0.5, 100)), rungs=(rung,))
    good, bad = arrived(0, (0.5, 100)), arrived(2, (0.4, 200))
    lived = HalvingStopper(TWO, 2)
    assert [lived.judge(trial) for trial in (good, odd, bad)] == [False, False, True]
    made = HalvingStopper(TWO, 2, [good, odd])  # as a search finds them that was killed
    assert [made.judge(trial) for trial in (odd, bad)] == [False, True]
    stopped = [replace(trial, state="stopped") for trial in (odd, bad)]
    assert [trial.number for trial in promising([good, *stopped], TWO)] == [2]


def test_an_objective_that_nobody_measured_stops_nobody() -> None:
    stopper = HalvingStopper((TOP1, LATENCY), 2)
    assert not any(stopper.judge(arrived(number, (0.5, 100))) for number in range(3))


def stopped(number: int, *rungs: tuple[int, float], macs: int = 100) -> Trial:
    measured = tuple(Measurement({"top1": top1}, epochs, 8) for epochs, top1 in rungs)
    cost = Cost.counted(macs, 100, 100)
    return Trial(number, ONE, {}, cost, "stopped", measured[-1] if measured else None, rungs=measured)


def test_promising() -> None:
    near, far, equal = stopped(0, (1, 0.5)), stopped(1, (1, 0.4)), stopped(2, (1, 0.5))
    best = replace(stopped(3, (1, 0.9), (2, 0.9)), state="complete")
    further = stopped(4, (1, 0.6), (2, 0.1))  # behind a half of its rung, as the others are behind more
    odd = stopped(5)  # stopped by hand, before any rung
    every = [odd, further, best, equal, far, near]
    assert [trial.number for trial in promising(every, TWO)] == [0, 2, 4, 1]
    going_on = replace(stopped(6), state="running", continues=0)
    assert [trial.number for trial in promising([*every, going_on], TWO)] == [2, 4, 1]
    assert promising([], TWO) == []


def test_promising_is_who_would_add_to_the_front_once_enough_were_trained_to_the_end() -> None:
    def ended(number: int, top1: float) -> Trial:
        whole = Measurement({"top1": top1 + 0.4}, 8, 8)
        return replace(stopped(number, (1, top1)), state="complete", measurement=whole)

    covered, cheap = stopped(10, (1, 0.35), macs=110), stopped(11, (1, 0.1), macs=50)
    trained = [ended(number, top1) for number, top1 in enumerate((0.2, 0.3, 0.4, 0.45))]
    assert [trial.number for trial in promising([*trained[:3], covered, cheap], TWO)] == [10, 11]  # too few to tell
    assert [trial.number for trial in promising([*trained, covered, cheap], TWO)] == [11, 10]


def test_promising_is_who_is_ahead_of_its_price() -> None:
    """A dear network that is first among the dear ones comes before a cheap one that is last among the cheap."""
    cheap = [replace(stopped(n, (1, 0.5 + n / 100), macs=100 + n), state="running") for n in range(8)]
    dear = [stopped(10 + n, (1, 0.3 + n / 100), macs=9000 + n) for n in range(9)]
    last = stopped(30, (1, 0.4), macs=90)
    assert [trial.number for trial in promising([*cheap, *dear, last], TWO)] == [18, 17, 16, 15, 14, 13, 12, 11, 10, 30]


@pytest.mark.parametrize("axes", [(TOP1, LOSS), (MACS, PARAMETERS)])
def test_promising_without_a_cost_or_without_anything_learned(axes: Any) -> None:
    trials = [replace(arrived(n, (0.5, 0.1 * n), axes), state="stopped") for n in (2, 1)]
    expected = [1, 2]  # by the loss, or by number
    assert [trial.number for trial in promising(trials, axes)] == expected
