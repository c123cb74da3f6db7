"""Dominance, front, knee and hypervolume against brute force, Monte Carlo and Optuna's own hypervolume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from invnas.architecture import Architecture, Convolution
from invnas.caps import Caps
from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement, State, Trial
from invnas.objective import LATENCY, MACS, Objective
from invnas.pareto import (
    Box,
    RunningFront,
    box,
    epochs_over_trials,
    front,
    hypervolume,
    hypervolume_over_trials,
    knee,
    non_dominated,
    values_of,
)
from invnas.tasks.classification import Classification

TOP1 = Classification().objectives[0]
TWO = (TOP1, MACS)
THREE = (TOP1, MACS, LATENCY)
UNIT = {2: Box((0.0, 1000.0), (1.0, 1.0)), 3: Box((0.0, 1000.0, 100.0), (1.0, 1.0, 0.1))}


def trial(number: int, top1: float, macs: int, latency_ms: float | None = None, **other: object) -> Trial:
    cost = {"macs": macs, "parameters": 10, "activation_bytes": 10}
    cost |= {} if latency_ms is None else {"latency_ms": latency_ms}
    fields = {"state": "complete", "measurement": Measurement({"top1": top1}), **other}
    return Trial(number, Architecture(Convolution()), {}, Cost(cost), **fields)  # type: ignore[arg-type]


def failed(number: int, state: str = "failed") -> Trial:
    return trial(number, 0, 0, state=state, measurement=None)


@st.composite
def tables(draw: st.DrawFn, size: int = 12) -> tuple[np.ndarray, tuple[Objective, ...]]:
    """Values on a coarse grid, so that ties are common."""
    objectives = draw(st.sampled_from([TWO, THREE]))
    steps = draw(arrays(int, (draw(st.integers(0, size)), len(objectives)), elements=st.integers(0, 6)))
    scale = np.array([1 / 6, 1000 / 6, 100 / 6])[: len(objectives)]
    return steps * scale, objectives


def beats(a: np.ndarray, b: np.ndarray, objectives: tuple[Objective, ...]) -> bool:
    better = [o.sign * x > o.sign * y for x, y, o in zip(a, b, objectives, strict=True)]
    return any(better) and all(w or x == y for w, x, y in zip(better, a, b, strict=True))


def test_no_point_and_one_point() -> None:
    assert non_dominated(np.empty((0, 2)), TWO).shape == (0,)
    assert non_dominated(np.array([]), TWO).shape == (0,)
    assert non_dominated(np.array([[0.5, 3]]), TWO).tolist() == [True]
    assert front([], TWO) == ()
    assert hypervolume(np.empty((0, 2)), TWO, UNIT[2]) == 0.0
    assert hypervolume_over_trials([], TWO).shape == (0,)
    assert box([], TWO) == Box((0.0, 0.0), (1.0, 1.0))


def test_equal_points_all_stay_but_one_trial_stands_for_them() -> None:
    assert non_dominated(np.array([[0.5, 3], [0.5, 3], [0.5, 4]]), TWO).tolist() == [True, True, False]
    assert [t.number for t in front([trial(7, 0.5, 3), trial(2, 0.5, 3), trial(9, 0.5, 4)], TWO)] == [2]


def test_the_front_is_complete_trials_cheapest_first() -> None:
    stopped = replace(trial(5, 0.99, 1), state="stopped")  # a part of its budget compares with nothing
    trials = [trial(0, 0.9, 100), failed(1), trial(2, 0.5, 10), trial(3, 0.4, 50), failed(4, "running"), stopped]
    assert [t.number for t in front(trials, TWO)] == [2, 0]


@pytest.mark.parametrize("state", ["failed", "running", "stopped"])
def test_only_unfinished_trials(state: str) -> None:
    assert front([failed(0, state)], TWO) == ()
    with pytest.raises(BadInput, match="no trial is complete"):
        knee([failed(0, state)], TWO)


def test_nan_and_wrong_columns_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match="`macs` in row 1"):
        non_dominated(np.array([[0.5, 3], [0.5, np.nan]]), TWO)
    with pytest.raises(BadInput, match="2 columns"):
        non_dominated(np.zeros((3, 3)), TWO)


def test_an_objective_that_was_not_measured_is_named() -> None:
    with pytest.raises(BadInput, match="trial 4 has no value of `latency_ms`"):
        front([trial(4, 0.5, 3)], THREE)


@given(tables())
def test_dominance_is_that_of_the_definition(table: tuple[np.ndarray, tuple[Objective, ...]]) -> None:
    values, objectives = table
    expected = [not any(beats(other, point, objectives) for other in values) for point in values]
    assert non_dominated(values, objectives).tolist() == expected


@given(tables(), st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order(table: tuple[np.ndarray, tuple[Objective, ...]], order: object) -> None:
    values, objectives = table
    trials = [trial(i, row[0], row[1], *row[2:]) for i, row in enumerate(values)]
    expected = front(trials, objectives)
    order.shuffle(trials)  # type: ignore[attr-defined]
    assert front(trials, objectives) == expected
    costs = values_of(expected, objectives)[:, 1]
    assert (np.diff(costs) >= 0).all()
    assert len({t.values(objectives) for t in expected}) == len(expected)


@given(tables(), st.integers(1, 4))
def test_a_running_front_is_the_front_of_all(table: tuple[np.ndarray, tuple[Objective, ...]], step: int) -> None:
    values, objectives = table
    trials = [trial(i, row[0], row[1], *row[2:]) for i, row in enumerate(values)]
    running = RunningFront(objectives)
    for i in range(0, len(trials), step):
        running.add(trials[i : i + step])
    assert (running.trials, running.seen) == (front(trials, objectives), len(trials))


def test_stopped_trials_are_never_on_a_front() -> None:
    stopped = trial(1, 0.9, 5, state="stopped")
    assert front([trial(0, 0.5, 10), stopped], TWO) == (trial(0, 0.5, 10),)
    assert hypervolume_over_trials([trial(0, 0.5, 10), stopped], TWO, UNIT[2])[1] == pytest.approx(0.5 * 2 / 3)


def test_the_knee_of_one_two_and_equal_points() -> None:
    assert knee([trial(0, 0.5, 10)], TWO).number == 0
    assert knee([trial(0, 0.5, 10), trial(1, 0.5, 10)], TWO).number == 0
    assert knee([trial(0, 0.5, 10), trial(1, 0.9, 100)], TWO).number == 1


def test_the_knee_stands_out_on_a_logarithm_of_cost() -> None:
    # On the line between the ends at 30 macs lies 0.5; the point at 0.8 is far above it, dominated ones do not count.
    trials = [trial(0, 0.0, 1), trial(1, 0.8, 30), trial(2, 1.0, 1000), trial(3, 0.9, 700), trial(4, 0.79, 30)]
    assert knee(trials, TWO).number == 1
    assert knee(trials[:1] + trials[2:], TWO).number == 4


def test_no_interior_point_of_a_hollow_front_is_a_knee() -> None:
    assert knee([trial(0, 0.0, 1), trial(1, 0.1, 500), trial(2, 1.0, 1000)], TWO).number == 2


def test_the_knee_of_three_objectives() -> None:
    trials = [trial(0, 0.9, 1000, 10.0), trial(1, 0.1, 1, 10.0), trial(2, 0.1, 1000, 0.1), trial(3, 0.8, 3, 0.2)]
    assert knee(trials, THREE).number == 3


def test_two_costs_that_say_the_same_do_not_outvote_accuracy() -> None:
    two = [trial(0, 0.2, 10), trial(1, 0.4, 12), trial(2, 0.7, 60), trial(3, 0.8, 300), trial(4, 0.85, 1000)]
    three = [trial(t.number, t.measurement.top1, t.cost.macs, t.cost.macs / 10) for t in two]
    assert knee(three, THREE).number == knee(two, TWO).number == 2


@given(tables())
def test_the_knee_is_on_the_front(table: tuple[np.ndarray, tuple[Objective, ...]]) -> None:
    values, objectives = table
    trials = [trial(i, row[0], row[1], *row[2:]) for i, row in enumerate(values)]
    if trials:
        assert knee(trials, objectives) in front(trials, objectives)


def test_hypervolumes_one_can_see() -> None:
    assert hypervolume(np.array([[1.0, 1.0]]), TWO, UNIT[2]) == pytest.approx(1.0)
    assert hypervolume(np.array([[0.0, 1000.0]]), TWO, UNIT[2]) == 0.0
    assert hypervolume(np.array([[0.5, 10.0]]), TWO, UNIT[2]) == pytest.approx(0.5 * 2 / 3)
    assert hypervolume(np.array([[2.0, 0.0]]), TWO, UNIT[2]) == pytest.approx(1.0), "beyond the box is its edge"
    assert hypervolume(np.array([[0.5, 7.0]]), TWO, Box((0.0, 7.0), (1.0, 7.0))) == pytest.approx(0.5)


@given(tables())
def test_hypervolume_agrees_with_optuna(table: tuple[np.ndarray, tuple[Objective, ...]]) -> None:
    optuna_hypervolume = pytest.importorskip("optuna._hypervolume").compute_hypervolume
    values, objectives = table
    values = values + np.array([0.0, 1.0, 1.0])[: len(objectives)]
    reference = Box(tuple([0.0, 1100.0, 110.0][: len(objectives)]), tuple([1.0, 1.0, 1.0][: len(objectives)]))
    losses = values.copy()
    losses[:, 0] = 1 - losses[:, 0]
    losses[:, 1:] = np.log10(losses[:, 1:]) / np.log10(reference.worst[1:])
    expected = optuna_hypervolume(losses, np.ones(len(objectives)))
    assert hypervolume(values, objectives, reference) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=15)
@given(tables(6))
def test_hypervolume_agrees_with_monte_carlo(table: tuple[np.ndarray, tuple[Objective, ...]]) -> None:
    values, objectives = table
    reference = UNIT[len(objectives)]
    points = np.random.default_rng(0).random((20_000, len(objectives)))
    inside = np.zeros(len(points), dtype=bool)
    for row in values:
        gains = [row[0]]
        for value, worst, best in zip(row[1:], reference.worst[1:], reference.best[1:], strict=True):
            gains.append(np.log(worst / max(value, best)) / np.log(worst / best))
        inside |= (points <= np.array(gains)).all(axis=1)
    assert hypervolume(values, objectives, reference) == pytest.approx(inside.mean(), abs=0.02)


@given(tables())
def test_hypervolume_over_trials_is_that_of_each_prefix(table: tuple[np.ndarray, tuple[Objective, ...]]) -> None:
    values, objectives = table
    trials = [trial(i, row[0], row[1], *row[2:]) for i, row in enumerate(values)]
    reference = box(trials, objectives)
    shares = hypervolume_over_trials(trials, objectives)
    expected = [hypervolume(values[: i + 1], objectives, reference) for i in range(len(values))]
    assert shares == pytest.approx(np.array(expected), abs=1e-12)
    assert (np.diff(shares) >= 0).all()
    assert ((shares >= 0) & (shares <= 1)).all()


def test_failed_trials_count_and_running_ones_do_not() -> None:
    trials = [failed(0), trial(2, 0.5, 10), failed(1, "running"), failed(3), trial(4, 0.9, 5)]
    assert hypervolume_over_trials(trials, TWO, UNIT[2]) == pytest.approx(
        [0, 1 / 3, 1 / 3, 0.9 * (1 - np.log10(5) / 3)]
    )


def test_the_box_is_what_was_seen_unless_a_cap_says_more() -> None:
    trials = [trial(0, 0.5, 10), trial(1, 0.7, 40), failed(2)]
    assert box(trials, TWO) == Box((0.0, 40.0), (1.0, 10.0))
    assert box(trials, TWO, Caps.of(macs=100)) == Box((0.0, 100.0), (1.0, 10.0))
    assert box(trials, TWO, Caps.of(macs=None)) == box(trials, TWO)


def test_epochs_over_trials_count_what_each_trial_adds() -> None:
    def spent(number: int, state: State, epochs: int | None = None, **other: Any) -> Trial:
        found = None if epochs is None else Measurement({"top1": 0.5, "loss": 1.0}, epochs, 8)
        return replace(failed(number), state=state, measurement=found, **other)

    rung = Measurement({"top1": 0.1}, 2, 8)
    trials = [
        spent(3, "complete", 8, continues=1),
        spent(0, "complete", 8),
        spent(1, "stopped", 2, rungs=(rung,)),
        spent(2, "failed"),
        spent(4, "failed", rungs=(replace(rung, epochs=1), rung)),
        spent(5, "running", rungs=(rung,)),
        spent(6, "failed", continues=1),
        spent(7, "failed", continues=1, rungs=(rung, replace(rung, epochs=4))),
        spent(8, "complete", 8, continues=99),
    ]
    assert epochs_over_trials(trials).tolist() == [8, 10, 10, 16, 18, 18, 20, 28]
    assert epochs_over_trials([]).tolist() == []
    assert len(epochs_over_trials(trials)) == sum(trial.state != "running" for trial in trials)
