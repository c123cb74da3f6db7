from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.choice import Decisions
from invnas.errors import BadInput, InvnasError
from invnas.measurement import Measurement, Trial
from invnas.run import Run
from invnas.search.events import Event, Failed, Finished, Rejected, Started
from invnas.search.proposer import ASKS
from invnas.search.sampler import make_sampler
from invnas.space_check import smallest
from search.cheap import ONE_POINT, SMALL, SMALL_VALID, CheapEngine, go, make_run, measure, price

NOTHING_VALID = SMALL.replace("Choice(6, 8, 16)", "6").replace("groups=Choice(1, 4)", "groups=4").replace(
    "Choice(Convolution(Choice(3, 5), groups=4), Involution(Choice(3, 5), 2, 1))", "Convolution(Choice(3, 5), groups=4)"
)  # fmt: skip


class Stubborn:
    """Proposes one thing for ever."""

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self.told: list[Any] = []

    def ask(self) -> Decisions:
        return self.decisions

    def tell(self, decisions: Decisions, values: tuple[float, ...] | None) -> None:
        self.told.append(values)


def fingerprints(run: Run, **which: Any) -> list[str]:
    return [trial.architecture.fingerprint for trial in run.trials(**which)]


@settings(max_examples=15, deadline=None)
@given(
    sampler=st.sampled_from(["random", "evolution", "tpe"]),
    seed=st.integers(0, 99),
    trials=st.integers(1, 40),
    workers=st.integers(1, 4),
    max_macs=st.none() | st.integers(60_000, 300_000),
    failing=st.integers(2, 9),
)
def test_any_search_trains_only_what_is_new_valid_and_within_the_caps(
    sampler: str, seed: int, trials: int, workers: int, max_macs: int | None, failing: int
) -> None:
    def outcome(trial: Trial) -> Measurement | str:
        return "diverged" if trial.number % failing == 1 else measure(trial)

    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), sampler=sampler, seed=seed, trials=trials, max_macs=max_macs)
        engine = CheapEngine(workers, outcome)
        events: list[Event] = []
        with run.locked():
            result = go(run, engine, on_event=events.append)
        assert len(set(fingerprints(run))) == len(run.trials()) == len(engine.submitted) <= trials
        assert all(trial.cost.macs <= (max_macs or 10**9) and trial.state != "running" for trial in run.trials())
        allowed = [a for _, a in run.space.enumerate() if price(a).macs <= (max_macs or 10**9)]
        assert len(run.trials()) == min(trials, len(allowed))
        seen = Counter(type(event) for event in events)
        assert seen[Started] == len(run.trials()) == seen[Finished] + seen[Failed]
        assert result.trained == seen[Finished]
        assert result.failed == seen[Failed]
        assert sum(result.rejected.values()) == seen[Rejected]


def test_every_rejection_is_told_counted_and_costs_no_training(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    good = next(run.space.enumerate())[0]
    sampler = Stubborn(good)
    with run.locked():
        result = go(run, sampler=sampler)
    assert result.rejected == {"known": ASKS}
    assert sampler.told[0] is not None
    assert sampler.told[1 : ASKS + 1] == [None] * ASKS
    assert len(set(fingerprints(run))) == 2


def test_small_space_ends_early_when_all_is_trained(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler="evolution", trials=100)
    with run.locked():
        result = go(run)
    assert result.trained == SMALL_VALID
    assert result.ended == f"all {SMALL_VALID} valid architectures have been trained"
    with run.locked():
        again = go(run)
    assert (again.trained, again.ended) == (0, result.ended)


def test_single_point_space_is_trained_once(tmp_path: Path) -> None:
    for sampler in ("random", "evolution", "tpe"):
        (tmp_path / sampler).mkdir()
        run = make_run(tmp_path / sampler, ONE_POINT, sampler=sampler, trials=3)
        with run.locked():
            assert go(run).ended == "all 1 valid architectures have been trained"


def test_caps_that_exclude_everything_name_the_smallest(tmp_path: Path) -> None:
    for i, (space, caps) in enumerate(
        [(SMALL, {"max_macs": 1000}), ("digits", {"max_macs": 10**9, "max_parameters": 50})]
    ):
        (tmp_path / str(i)).mkdir()
        run = make_run(tmp_path / str(i), space, sampler="tpe", **caps)
        engine = CheapEngine()
        with run.locked(), pytest.raises(BadInput) as error:
            go(run, engine)
        cost = smallest(run.space, price, key=lambda cost: cost.parameters if i else cost.macs)[2]
        spent = f"{cost.parameters:,} parameters are" if i else f"{cost.macs:,} MACs are"
        assert f"of the smallest architecture, {spent} more than" in str(error.value)
        assert f"within {' and '.join(f'{name}={cap:,}' for name, cap in caps.items())}" in str(error.value)
        assert not engine.submitted
        assert engine.closed


def test_cap_that_keeps_almost_nothing_is_met(tmp_path: Path) -> None:
    run = make_run(tmp_path, "digits", sampler="tpe", trials=3)
    _, _, cost = smallest(run.space, price)
    with run.locked():
        result = go(run, max_macs=round(cost.macs * 1.02))
    assert result.trained >= 1
    assert all(trial.cost.macs <= cost.macs * 1.02 for trial in run.trials())


def test_space_without_a_valid_architecture_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path, NOTHING_VALID)
    with run.locked(), pytest.raises(BadInput, match="`groups` must divide the channels"):
        go(run)


def test_failures_are_recorded_with_their_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=12)
    with run.locked():
        result = go(run, CheapEngine(outcome=lambda t: f"out of memory {t.number}" if t.number < 8 else measure(t)))
    assert (result.trained, result.failed) == (4, 8)
    assert run.trials()[3].reason == "out of memory 3"


@pytest.mark.parametrize(("top1", "words"), [(float("nan"), "top1 came out as nan"), (float("inf"), "as inf")])
def test_unusable_measurement_is_a_failure(tmp_path: Path, top1: float, words: str) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(
            run,
            CheapEngine(outcome=lambda trial: replace(measure(trial), top1=top1) if trial.number else measure(trial)),
        )
    assert words in run.trials()[1].reason


def test_objective_that_was_not_measured_is_a_failure(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1, objectives=("top1", "latency_ms"))
    with run.locked():
        go(run)
    assert run.trials()[0].reason == "the objective latency_ms was not measured"


def test_same_failure_of_the_first_trials_stops_and_resume_tries_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=30)
    engine = CheapEngine(outcome=lambda trial: "the disk is full")
    with (
        run.locked(),
        pytest.raises(InvnasError, match="first 5 trials all failed for the same reason: the disk is full"),
    ):
        go(run, engine)
    assert len(run.trials()) == 5
    assert engine.closed
    with run.locked():
        assert go(run).trained == 25


def test_interrupt_leaves_running_trials_and_resume_submits_them_first(tmp_path: Path) -> None:
    def outcome(trial: Trial) -> Measurement | str:
        if trial.number == 5:
            raise KeyboardInterrupt
        return measure(trial)

    run = make_run(tmp_path, sampler="tpe", trials=12)
    engine = CheapEngine(3, outcome)
    with run.locked(), pytest.raises(KeyboardInterrupt):
        go(run, engine)
    assert engine.closed
    assert [trial.state for trial in run.trials()] == ["complete"] * 5 + ["running"] * 3
    again, later = Run.open(run.folder), CheapEngine(2)
    events: list[Event] = []
    with again.locked():
        go(again, later, on_event=events.append)
    assert [trial.number for trial in later.submitted[:3]] == [5, 6, 7]
    assert [event.resumed for event in events if isinstance(event, Started)] == [True] * 3 + [False] * 4
    assert [trial.state for trial in again.trials()] == ["complete"] * 12
    assert len(set(fingerprints(again))) == 12


def test_baseline_takes_over_what_the_search_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler="evolution", trials=20)
    engine = CheapEngine(outcome=lambda trial: measure(trial) if trial.number != 3 else "diverged")
    with run.locked():
        go(run, engine)
        baseline = make_sampler(replace(run.experiment, sampler="random", seed=1), run.space)
        result = go(run, engine, baseline, baseline=True)
    found = run.trials(baseline=True)
    assert len(found) == 20 == result.trained + result.reused
    assert result.reused > 0
    assert len(set(fingerprints(run, baseline=True))) == 20
    trained = [trial.architecture.fingerprint for trial in engine.submitted]
    assert len(trained) == len(set(trained)) == 20 + result.trained
    measured = {trial.architecture.fingerprint: trial.measurement for trial in run.trials(baseline=False)}
    for trial in found:
        assert measured.get(trial.architecture.fingerprint, trial.measurement) == trial.measurement


def test_baseline_that_was_killed_between_start_and_reuse_is_not_trained(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1)
    engine = CheapEngine()
    with run.locked():
        go(run, engine)
        known = run.trials()[0]
        run.start(known.architecture, known.decisions, known.cost, True)
        go(run, engine, baseline=True)
    assert len(engine.submitted) == 1
    assert run.trials()[1].measurement == known.measurement


def test_baseline_stays_uniform_under_a_tight_cap(tmp_path: Path) -> None:
    """No mutation of what was found may stand in for a uniform draw."""
    run = make_run(tmp_path, "digits", trials=10)
    sampler = make_sampler(run.experiment, run.space)
    with run.locked():
        result = go(run, sampler=sampler, max_macs=round(smallest(run.space, price)[2].macs * 3))
    alone = make_sampler(run.experiment, run.space)
    asked = [alone.ask() for _ in range(10 + sum(result.rejected.values()))]
    assert all(trial.decisions in asked for trial in run.trials())
    assert result.rejected["cap"] > 20


def test_search_never_trains_what_the_baseline_has(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=SMALL_VALID)
    with run.locked():
        go(run, baseline=True, trials=30)
        result = go(run, baseline=False)
    assert result.trained == SMALL_VALID - 30


def test_same_seed_trains_the_same(tmp_path: Path) -> None:
    trained = []
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        run = make_run(tmp_path / str(i), "digits", sampler="tpe", seed=4, trials=25, max_macs=300_000)
        with run.locked():
            go(run)
        trained.append(fingerprints(run))
    assert trained[0] == trained[1]
