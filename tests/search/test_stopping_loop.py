"""Halving in the loop: what is stopped, what the record says of it, and that a kill changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.storages.journal import JournalFileBackend

from invnas.engine.local import InProcess, Workers
from invnas.experiment import DataSource, Recipe
from invnas.measurement import Measurement, Trial
from invnas.messages import Job
from invnas.run import Run
from invnas.search.events import Event, Stopped
from invnas.search.halving import promising
from invnas.search.journal import Journal
from search.cheap import SMALL, CheapEngine, go, make_run, measure, partial

HALVED: dict[str, Any] = {"recipe": Recipe(epochs=8), "stopper": "halving", "stopper_args": {"eta": 2}}


def stopped(run: Run) -> list[Any]:
    return [trial for trial in run.trials() if trial.state == "stopped"]


@pytest.mark.parametrize("sampler", ["random", "evolution", "tpe"])
@pytest.mark.parametrize("workers", [1, 3])
def test_stopped_trials_are_recorded_with_their_budget_and_are_on_no_front(
    sampler: str, workers: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "digits", sampler=sampler, trials=20, random_baseline=True, **HALVED)
    engine, events = CheapEngine(workers), list[Event]()
    with run.locked():
        result = go(run, engine, on_event=events.append)
    ended = stopped(run)
    assert result.stopped == len(ended) > 2
    assert result.trained == 20 - len(ended) > 0
    assert [event.trial for event in events if isinstance(event, Stopped)] == sorted(ended, key=lambda t: t.number)
    for trial in run.trials():
        assert trial.measurement is not None
        assert trial.measurement.epochs == engine.trained[trial.number]  # not an epoch more
        assert trial.measurement.planned_epochs == 8
        assert [rung.epochs for rung in trial.rungs] == [e for e in (1, 2, 4) if e <= trial.measurement.epochs]
        assert trial.measurement.stopped == (trial.state == "stopped")
    assert {trial.measurement.epochs for trial in ended} <= {1, 2, 4}
    assert all(trial.measurement == trial.rungs[-1] for trial in ended)
    assert not {trial.number for trial in ended} & {trial.number for trial in run.front()}
    assert Run.open(run.folder).trials() == run.trials()


def test_the_baseline_is_never_stopped(tmp_path: Path) -> None:
    run = make_run(tmp_path, "digits", trials=12, random_baseline=True, **HALVED)
    engine = CheapEngine()
    with run.locked():
        go(run, engine)
        known = len(engine.submitted)
        go(run, engine, phase="random")
    assert stopped(run)
    assert all(job.experiment.rungs.epochs for job in engine.submitted[:known])
    assert not any(job.experiment.rungs.epochs for job in engine.submitted[known:])
    assert all(trial.state == "complete" and not trial.rungs for trial in run.trials("random"))


def test_what_cannot_be_compared_at_a_rung_is_trained_on_also_after_a_kill(tmp_path: Path) -> None:
    def odd(job: Job, epoch: int) -> Measurement:
        return replace(partial(job, epoch), values={"top1": float("nan")}) if job.number == 1 else partial(job, epoch)

    def until(job: Job) -> Measurement:
        if job.number == 6:
            raise Killed
        return measure(job)

    run = make_run(tmp_path, "digits", trials=12, **HALVED)
    with run.locked(), suppress(Killed):
        go(run, CheapEngine(outcome=until, partial=odd))
    again = Run.open(run.folder)
    with again.locked():
        go(again, CheapEngine(partial=odd))
    assert again.trials()[1].state == "complete"
    assert [trial.state for trial in again.trials()].count("running") == 0


class Killed(Exception):
    """Ends a search where a kill would."""


@pytest.mark.parametrize(
    "asked",
    [
        {"sampler": "random"},
        {"sampler": "evolution", "sampler_args": {"population": 3}},
        {"sampler": "tpe", "sampler_args": {"n_startup_trials": 3}},
    ],
    ids=lambda asked: asked["sampler"],
)
def test_a_search_killed_after_every_write_proposes_and_stops_as_an_undisturbed_one(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str) -> Run:
        (tmp_path / name).mkdir()
        return make_run(tmp_path / name, "digits", trials=14, seed=3, **asked, **HALVED)

    whole, torn = made("whole"), made("torn")
    with whole.locked():
        go(whole)
    assert 1 < len(stopped(whole)) < 13
    written: set[str] = set()
    append = JournalFileBackend.append_logs

    def append_and_die(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        append(backend, logs)
        fresh = {str({k: v for k, v in log.items() if k not in ("worker_id", "datetime_start")}) for log in logs}
        if fresh - written:
            written.update(fresh)
            raise Killed

    lives, trained = 0, dict[int, int]()
    with monkeypatch.context() as patched:
        patched.setattr(JournalFileBackend, "append_logs", append_and_die)
        while lives < 300:
            lives += 1
            again, engine = Run.open(torn.folder), CheapEngine()
            with again.locked(), suppress(Killed):
                go(again, engine)
                break
            for number, epochs in engine.trained.items():
                trained[number] = max(trained.get(number, 0), epochs)
    torn = Run.open(torn.folder)
    assert lives > 40
    assert torn.trials() == whole.trials()
    # One that was judged, but not recorded as stopped when the search was killed, is not trained any further.
    assert trained == {trial.number: trial.measurement.epochs for trial in whole.trials() if trial.measurement}


def test_one_that_was_judged_but_not_recorded_as_stopped_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(journal: Journal, trial: Trial, measurement: Measurement) -> Trial:
        raise Killed

    run = make_run(tmp_path, "digits", trials=14, **HALVED)
    with monkeypatch.context() as patched, run.locked(), suppress(Killed):
        patched.setattr(Journal, "stop", die)
        go(run)
    again, engine = Run.open(run.folder), CheapEngine()
    (left,) = [trial for trial in again.trials() if trial.state == "running"]
    with again.locked():
        go(again, engine)
    assert left.number not in [job.number for job in engine.submitted]
    assert again.trials()[left.number] == replace(left, state="stopped", measurement=left.rungs[-1])


def real(folder: Path, **options: Any) -> Run:
    """Make a run of real trainings: narrow networks, few large batches."""
    asked = {
        "data": DataSource("HardDigits", {"batch_size": 512}),
        "recipe": Recipe(epochs=4, learning_rate=0.1, threads=1),
        "stopper": "halving",
        "stopper_args": {"eta": 2, "images": 100},
    }
    return make_run(folder, SMALL, trials=6, **{**asked, **options})


@pytest.mark.parametrize("kind", [InProcess, Workers])
def test_real_trainings_end_at_their_rung_and_a_promoted_one_goes_on_to_the_end(kind: Any, tmp_path: Path) -> None:
    run = real(tmp_path)
    engine = kind(run.folder, run.experiment)
    try:
        with run.locked():
            go(run, engine)
    finally:
        engine.close()
    ended = stopped(run)
    assert ended
    for trial in ended:
        last = run.checkpoint_folder(trial.number) / "last.ckpt"
        kept = torch.load(last, weights_only=True)
        assert trial.measurement is not None
        assert kept["epoch"] + 1 == trial.measurement.epochs == trial.rungs[-1].epochs < 4  # exactly there
        assert trial.measurement == trial.rungs[-1]
    assert not {trial.number for trial in ended} & {trial.number for trial in run.front()}
    if kind is Workers:
        return
    first = promising(run.trials(), run.experiment.axes)[0]
    # What it would have come to, had nobody stopped it.
    (tmp_path / "whole").mkdir()
    whole = real(tmp_path / "whole", stopper="none", stopper_args={})
    with whole.locked():
        go(whole, InProcess(whole.folder, whole.experiment))
    expected = next(t for t in whole.trials() if t.architecture.fingerprint == first.architecture.fingerprint)
    with run.locked():
        run.promote(1)
        job = run.job(run.trials()[-1])
    assert job.experiment.rungs.epochs == ()
    kept = torch.load(run.checkpoint_folder(job.number) / "last.ckpt", weights_only=True)
    assert kept["epoch"] + 1 == first.rungs[-1].epochs  # it begins where the other one was stopped
    with run.locked():
        go(run, InProcess(run.folder, run.experiment))
    last = run.trials()[-1]
    assert (last.state, last.continues, last.number) == ("complete", first.number, 6)
    assert last.measurement is not None
    assert expected.measurement is not None
    assert last.measurement.values == expected.measurement.values
    assert run.trials()[first.number] == first
    assert first.number not in [trial.number for trial in promising(run.trials(), run.experiment.axes)]
