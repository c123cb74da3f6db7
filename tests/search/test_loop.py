from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import BadInput, DiskFailed, InvnasError
from invnas.measurement import BASELINES, Measurement, Phase
from invnas.messages import Ended, Failure, Halt, Job, Message
from invnas.run import Run
from invnas.search.events import Advanced, Event, Failed, Finished, Rejected, Started, Stopped
from invnas.search.proposer import ASKS
from invnas.search.sampler import Context, Told
from invnas.search.samplers import make_sampler
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

    uniform = False

    def ask(self, context: Context) -> Decisions:
        return self.decisions

    def tell(self, told: Told) -> None:
        self.told.append(told.outcome)


def fingerprints(run: Run, *phases: Phase) -> list[str]:
    return [trial.architecture.fingerprint for trial in run.trials(*phases)]


@settings(max_examples=15, deadline=None)
@given(
    sampler=st.sampled_from(["random", "evolution", "tpe", "known-cost"]),
    seed=st.integers(0, 99),
    trials=st.integers(1, 40),
    workers=st.integers(1, 4),
    max_macs=st.none() | st.integers(60_000, 300_000),
    failing=st.integers(2, 9),
)
def test_any_search_trains_only_what_is_new_valid_and_within_the_caps(
    sampler: str, seed: int, trials: int, workers: int, max_macs: int | None, failing: int
) -> None:
    def outcome(trial: Job) -> Measurement | str:
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
    assert sampler.told == ["measured", *["known"] * ASKS, "measured"]
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
    for sampler in ("random", "evolution", "tpe", "known-cost", "stratified"):
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
        result = go(run, caps=Caps.of(macs=round(cost.macs * 1.02)))
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
            CheapEngine(
                outcome=lambda trial: replace(measure(trial), values={"top1": top1}) if trial.number else measure(trial)
            ),
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
    def outcome(trial: Job) -> Measurement | str:
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


def test_progress_is_told_and_a_trial_that_is_stopped_is_recorded_with_its_part(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=4)
    engine = CheapEngine(2, epochs=3)
    events: list[Event] = []

    def follow(event: Event) -> None:
        events.append(event)
        if isinstance(event, Advanced) and event.trial.number == 1 and event.epoch == 2:
            engine.stop(1)

    with run.locked():
        result = go(run, engine, on_event=follow)
    assert (result.trained, result.stopped, result.failed) == (3, 1, 0)
    assert [trial.state for trial in run.trials()] == ["complete", "stopped", "complete", "complete"]
    told = [(event.trial.number, event.epoch, event.of) for event in events if isinstance(event, Advanced)]
    assert told[:5] == [(0, 1, 3), (0, 2, 3), (0, 3, 3), (1, 1, 3), (1, 2, 3)]
    assert (1, 3, 3) not in told
    assert [event.trial.number for event in events if isinstance(event, Stopped)] == [1]
    (stopped,) = [trial for trial in Run.open(run.folder).trials() if trial.state == "stopped"]
    assert stopped == run.trials()[1]
    assert stopped.measurement is not None
    assert (stopped.measurement.epochs, stopped.measurement.planned_epochs) == (2, 3)
    assert 1 not in [trial.number for trial in run.front()]
    with run.locked():  # it is done: neither trained again nor taken over as a whole measurement
        assert go(run, engine).trained == 0
        go(run, engine, phase="random", trials=SMALL_VALID)
    assert all(trial.measurement != stopped.measurement for trial in run.trials("random"))


def test_a_halted_worker_stops_the_search_and_blames_no_trial(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=9)
    engine = CheapEngine(3, lambda job: Halt("the disk is full") if job.number == 4 else measure(job))
    with run.locked(), pytest.raises(DiskFailed, match="the disk is full"):
        go(run, engine)
    assert engine.closed
    assert [trial.state for trial in run.trials()] == ["complete"] * 4 + ["running"] * 3
    with run.locked():
        go(run)
    assert [trial.state for trial in run.trials()] == ["complete"] * 9


def test_an_answer_of_nobody_is_not_heard(tmp_path: Path) -> None:
    class Confused(CheapEngine):
        def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
            tell(Ended(99, Failure("of another run")))
            super().wait(timeout, lambda message: (tell(message), tell(message)))

    run = make_run(tmp_path, trials=3)
    with run.locked():
        assert go(run, Confused()).trained == 3


def test_baseline_takes_over_what_the_search_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler="evolution", trials=20)
    engine = CheapEngine(outcome=lambda trial: measure(trial) if trial.number != 3 else "diverged")
    with run.locked():
        go(run, engine)
        baseline = make_sampler(replace(run.experiment, sampler="random", seed=1), run.space)
        result = go(run, engine, baseline, phase="random")
    found = run.trials("random")
    assert len(found) == 20 == result.trained + result.reused
    assert result.reused > 0
    assert len(set(fingerprints(run, "random"))) == 20
    trained = [trial.architecture.fingerprint for trial in engine.submitted]
    assert len(trained) == len(set(trained)) == 20 + result.trained
    measured = {trial.architecture.fingerprint: trial.measurement for trial in run.trials("search")}
    for trial in found:
        assert measured.get(trial.architecture.fingerprint, trial.measurement) == trial.measurement


def test_a_second_baseline_takes_over_what_both_have_measured_and_draws_less_deep_networks(tmp_path: Path) -> None:
    run = make_run(tmp_path, "digits", trials=40)
    with run.locked():
        go(run, trials=2)
        for phase, sampler in BASELINES.items():
            go(run, sampler=make_sampler(replace(run.experiment, sampler=sampler, seed=1), run.space), phase=phase)
        known = run.trials("random")[0]
        run.start(known.architecture, known.decisions, known.cost, "branch")
        again = go(run, sampler=make_sampler(run.experiment, run.space), phase="branch", trials=41)
    assert (again.trained, again.reused) == (0, 1)
    assert run.trials("branch")[-1].measurement == known.measurement
    blocks = {
        phase: statistics.fmean(
            sum(len(stage.blocks) for stage in trial.architecture.network.stages) for trial in found
        )
        for phase in BASELINES
        if (found := run.trials(phase))
    }
    assert blocks["branch"] < blocks["random"] - 0.5


def test_baseline_that_was_killed_between_start_and_reuse_is_not_trained(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1)
    engine = CheapEngine()
    with run.locked():
        go(run, engine)
        known = run.trials()[0]
        run.start(known.architecture, known.decisions, known.cost, "random")
        go(run, engine, phase="random")
    assert len(engine.submitted) == 1
    assert run.trials()[1].measurement == known.measurement


def test_baseline_stays_uniform_under_a_tight_cap(tmp_path: Path) -> None:
    """No mutation of what was found may stand in for a uniform draw."""
    run = make_run(tmp_path, "digits", trials=10)
    sampler = make_sampler(run.experiment, run.space)
    with run.locked():
        result = go(run, sampler=sampler, caps=Caps.of(macs=round(smallest(run.space, price)[2].macs * 3)))
    alone = make_sampler(run.experiment, run.space)
    for number, trial in enumerate(run.trials()):
        asked = [alone.ask(Context(number)) for _ in range(1 + sum(result.rejected.values()))]
        assert trial.decisions in asked
    assert result.rejected["cap"] > 20


def test_search_never_trains_what_the_baseline_has(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=SMALL_VALID)
    with run.locked():
        go(run, phase="random", trials=30)
        result = go(run, phase="search")
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


UNINTERRUPTED = [
    {"sampler": "random"},
    {"sampler": "evolution", "sampler_args": {"population": 4}},
    {"sampler": "tpe", "sampler_args": {"n_startup_trials": 3}},
    {"sampler": "known-cost", "sampler_args": {"start": 4}},
    {"sampler": "optuna.samplers.NSGAIISampler", "sampler_args": {"population_size": 4}},
    {"sampler": "optuna.samplers.NSGAIIISampler", "sampler_args": {"population_size": 4}},
]


def decided(run: Run) -> list[tuple[Decisions, bool]]:
    return [(trial.decisions, trial.baseline) for trial in run.trials()]


class Killed(Exception):
    """Ends a search where a kill would."""


@pytest.mark.parametrize("asked", UNINTERRUPTED, ids=lambda asked: asked["sampler"].split(".")[-1])
@pytest.mark.parametrize(
    ("space", "trials", "options"),
    [("digits", 14, {}), ("digits", 12, {"max_macs": 300_000}), (SMALL, 40, {})],
    ids=["free", "capped", "exhausted"],
)
def test_the_record_decides_the_next_proposal(
    asked: dict[str, Any], space: str, trials: int, options: dict[str, Any], tmp_path: Path
) -> None:
    """A search that is stopped after every single trial, in the middle of one, ends with the same architectures."""

    def outcome(job: Job) -> Measurement | str:
        return "diverged" if job.number % 5 == 3 else measure(job)

    def both_phases(run: Run, engine: CheapEngine) -> None:
        phase: Phase
        for phase in ("search", "random"):
            go(run, engine, phase=phase)

    def made(name: str) -> Run:
        (tmp_path / name).mkdir()
        return make_run(tmp_path / name, space, trials=trials, seed=3, random_baseline=True, **asked, **options)

    whole = made("whole")
    with whole.locked():
        both_phases(whole, CheapEngine(outcome=outcome))
    torn = made("torn")
    for number in range(len(whole.trials()) + 1):

        def until(job: Job, number: int = number) -> Measurement | str:
            if job.number == number:
                raise Killed
            return outcome(job)

        again = Run.open(torn.folder)
        with again.locked(), suppress(Killed):
            both_phases(again, CheapEngine(outcome=until))
    torn = Run.open(torn.folder)
    assert [trial.state for trial in torn.trials()] == [trial.state for trial in whole.trials()]
    assert decided(torn) == decided(whole)
