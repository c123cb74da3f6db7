"""Jobs here and in worker processes: the same answers, and no crash takes the search along."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.acting import EXPERIMENT, alive, follow, job, make_run, trained_here, until
from invnas.engine import local
from invnas.engine.evaluate import reason_of
from invnas.engine.local import InProcess, Workers, local_engine, threads_of
from invnas.errors import TrialFailed
from invnas.experiment import Recipe
from invnas.measurement import Measurement
from invnas.messages import Ended, Failure, Halt, Message, Progress, to_dict
from invnas.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


@pytest.fixture
def workers(run: Run) -> Iterator[Workers]:
    engine = Workers(run.folder, replace(EXPERIMENT, workers=2))
    yield engine
    engine.close()


def pids(engine: Workers) -> list[int]:
    return [worker.pid for worker in engine._all()]


def test_nothing_to_do(run: Run, workers: Workers) -> None:
    told: list[Message] = []
    InProcess(run.folder, EXPERIMENT).wait(0.01, told.append)
    workers.wait(0.01, told.append)
    assert told == []


def test_here_and_in_workers_the_same_measurement_messages_and_weights(run: Run, workers: Workers) -> None:
    theirs: list[Message] = []
    mine, weights = trained_here(run, epochs=2)
    (run.folder / "run.json").unlink()  # a worker is told all that it needs
    (run.folder / "space.py").unlink()
    workers.submit(job(run, "fine", epochs=2))
    follow(workers, 1, theirs.append)
    assert [(m.number, m.attempt) for m in (*mine, *theirs)] == [(0, 0)] * 8
    assert [(m.epoch, m.of) for m in mine if isinstance(m, Progress)] == [(0, 2), (1, 2), (2, 2)]
    assert [m for m in mine if isinstance(m, Progress)] == [m for m in theirs if isinstance(m, Progress)]
    first, second = (messages[-1].outcome for messages in (mine, theirs) if isinstance(messages[-1], Ended))
    assert isinstance(first, Measurement)
    assert isinstance(second, Measurement)
    assert (second.values, second.epochs, second.planned_epochs) == (first.values, 2, 2)
    assert not first.stopped
    assert run.weights_path(0).read_bytes() == weights


def test_a_users_failure_is_a_reason_and_a_full_disk_is_no_failure(run: Run, workers: Workers) -> None:
    expected = {
        "raise": Failure("RuntimeError: on purpose"),
        "nan": Failure("the training loss became nan in epoch 1"),
        "full": Halt("somewhere cannot be written or read: No space left on device"),
    }
    here = InProcess(run.folder, EXPERIMENT)
    for engine in (here, workers):
        for number, how in enumerate(expected):
            engine.submit(job(run, how, number))
            assert follow(engine)[number] == expected[how]
    here.submit(job(run, "die", 6))
    assert follow(here)[6] == Failure("the data module or the network called os._exit(3)")
    assert len(pids(workers)) == 1  # none of them costs the worker
    workers.submit(job(run, "exit", 7))
    left = follow(workers)[7]
    assert left == Failure("the data module or the network called sys.exit(0)")
    assert len(pids(workers)) == 1


@pytest.mark.parametrize("kind", [InProcess, Workers])
def test_a_stopped_trial_has_the_measurement_of_a_part(run: Run, kind: Any) -> None:
    engine = kind(run.folder, EXPERIMENT)

    def stop(message: Message) -> None:
        if isinstance(message, Progress) and message.epoch == 1:
            engine.stop(0)

    try:
        engine.stop(3)  # not running: not heard
        engine.submit(job(run, "fine", epochs=200))
        outcome = follow(engine, 1, stop)[0]
    finally:
        engine.close()
    assert isinstance(outcome, Measurement)
    assert 1 <= outcome.epochs < 200 == outcome.planned_epochs
    assert outcome.stopped
    assert 0 <= outcome.top1 <= 1


def test_what_the_search_raises_is_not_the_trials_failure(run: Run) -> None:
    def refuse(message: Message) -> None:
        raise OSError("the screen is gone")

    engine = InProcess(run.folder, EXPERIMENT)
    engine.submit(job(run, "fine"))
    with pytest.raises(OSError, match="the screen is gone"):
        engine.wait(1, refuse)


# Deaths.


def test_a_worker_that_dies_once_costs_nothing_and_twice_the_trial(run: Run, workers: Workers, tmp_path: Path) -> None:
    workers.submit(job(run, f"die once {tmp_path / 'marker'}", 0))
    workers.submit(job(run, "die", 1))
    told: list[Message] = []
    ended = follow(workers, 2, told.append)
    assert isinstance(ended[0], Measurement)
    assert isinstance(ended[1], Failure)
    assert "died with exit code 3" in ended[1].reason
    assert "(tried 2 times)" in ended[1].reason
    assert {m.number: m.attempt for m in told} == {0: 1, 1: 1}


def test_a_killed_worker_is_replaced_and_its_trial_goes_on_from_its_checkpoint(run: Run, workers: Workers) -> None:
    started: list[int] = []

    def kill(message: Message) -> None:
        if isinstance(message, Progress) and message.attempt == 0 and message.epoch == 3:
            os.kill(pids(workers)[0], signal.SIGTERM)
        if isinstance(message, Progress) and message.attempt == 1:
            started.append(message.epoch)

    workers.submit(job(run, "fine", epochs=30))
    outcome = follow(workers, 1, kill)[0]
    assert isinstance(outcome, Measurement)
    assert outcome.epochs == 30
    assert started[0] == 0
    assert 4 <= started[1] <= 30


def test_the_death_of_an_idle_worker_costs_the_next_trial_nothing(run: Run, workers: Workers, tmp_path: Path) -> None:
    workers.submit(job(run, "fine"))
    follow(workers)
    (pid,) = pids(workers)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    # Nobody has looked yet. The trial has its one retry still.
    workers.submit(job(run, f"die once {tmp_path / 'marker'}", 1))
    assert isinstance(follow(workers)[1], Measurement)


def test_a_job_sent_to_a_worker_that_dies_before_it_reads_is_not_a_try(
    run: Run, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.submit(job(run, "fine"))
    follow(workers)
    (worker,) = workers._idle
    os.kill(worker.pid, signal.SIGSTOP)
    workers.submit(job(run, f"die once {tmp_path / 'marker'}", 1))
    os.kill(worker.pid, signal.SIGKILL)
    assert isinstance(follow(workers)[1], Measurement)


def test_a_worker_that_answers_and_dies_before_anyone_looks_is_not_idle(run: Run, workers: Workers) -> None:
    workers.submit(job(run, "fine"))
    (pid,) = pids(workers)
    until(lambda: any(line and '"measurement"' in line for _, line in list(workers._inbox.queue)))
    os.kill(pid, signal.SIGKILL)
    until(lambda: any(line is None for _, line in list(workers._inbox.queue)))
    assert isinstance(follow(workers)[0], Measurement)
    assert pids(workers) == []
    workers.submit(job(run, "fine", 1))
    assert isinstance(follow(workers)[1], Measurement)


def test_an_answer_is_never_taken_for_another_trials(run: Run, workers: Workers) -> None:
    workers.submit(job(run, "sleep", 4))
    (worker,) = workers._all()
    told: list[Message] = []
    right = Ended(4, Failure("it says so"))
    for wrong in (replace(right, number=5), replace(right, attempt=1)):
        workers._inbox.put((worker, json.dumps(to_dict(wrong))))
    for rubbish in ("", "rubbish\n", "[]\n", '{"kind": "measurement"}\n', '{"number": 4, "attempt": 0, "kind": 3}\n'):
        workers._inbox.put((worker, rubbish))
    workers.wait(0.1, told.append)
    assert [m for m in told if isinstance(m, Ended)] == []
    workers._inbox.put((worker, json.dumps(to_dict(right))))
    until(lambda: (workers.wait(0.1, told.append), right in told)[1])


def test_closing_stops_every_process(run: Run) -> None:
    engine = Workers(run.folder, EXPERIMENT)
    engine.submit(job(run, "spin"))
    (pid,) = pids(engine)
    engine.close()
    assert not alive(pid)


def test_a_trial_that_never_ends_is_ended(run: Run) -> None:
    timed = replace(EXPERIMENT, recipe=replace(EXPERIMENT.recipe, max_minutes=0.05))
    assert isinstance(local_engine(run.folder, timed), Workers)
    engine = Workers(run.folder, timed, grace=0.5)
    try:
        engine.submit(job(run, "spin"))
        (pid,) = pids(engine)
        outcome = follow(engine)[0]
        assert isinstance(outcome, Failure)
        assert "took longer than max_minutes=0.05 and did not end by itself" in outcome.reason
        until(lambda: not alive(pid), 5)
        engine.submit(job(run, "fine", 1))
        assert isinstance(follow(engine)[1], Measurement)
    finally:
        engine.close()


# Quiet, devices, threads.


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see what a process does")
def test_in_quiet_no_worker_computes_and_afterwards_all_go_on(run: Run, workers: Workers) -> None:
    begun: list[Message] = []
    workers.submit(job(run, "spin", 0))
    workers.submit(job(run, "fine", 1))
    until(lambda: (workers.wait(0.1, begun.append), len({m.number for m in begun}) == 2)[1])
    before = {number: running.spent for number, running in workers._running.items()}
    with workers.quiet():
        assert [state(pid) for pid in pids(workers)] == ["T"] * len(pids(workers))
        time.sleep(0.2)
    assert all(state(pid) != "T" for pid in pids(workers))
    held = time.monotonic()
    workers.wait(0.0, begun.append)
    held = time.monotonic() - held + 0.1
    assert all(running.spent < before[number] + held for number, running in workers._running.items())
    if 1 in workers._running:
        assert isinstance(follow(workers)[1], Measurement)
    with workers.quiet():
        os.kill(pids(workers)[0], signal.SIGKILL)  # one that is killed meanwhile harms nobody


def test_without_such_signals_quiet_waits_until_all_are_idle(
    run: Run, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PAUSES", False)
    workers.submit(job(run, "fine"))
    with workers.quiet():
        assert workers._running == {}
    assert isinstance(follow(workers)[0], Measurement)


def test_each_worker_sees_one_gpu_in_turn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    engine = Workers(run.folder, replace(EXPERIMENT, workers=3))
    try:
        for number in range(3):
            engine.submit(job(run, "sleep", number))
        assert [seen(pid) for pid in pids(engine)] == ["3", "GPU-5", "3"]
        os.kill(pids(engine)[1], signal.SIGKILL)
        engine.wait(5, lambda message: None)
        assert sorted(seen(pid) for pid in pids(engine)) == ["3", "3", "GPU-5"]  # its successor takes the free one
    finally:
        engine.close()


def seen(pid: int) -> str:
    entries: list[bytes] = []
    until = time.monotonic() + 120
    while len(entries) < 2 and time.monotonic() < until:  # empty while the process is being made
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(entry for entry in entries if entry.startswith(b"CUDA_VISIBLE_DEVICES=")).decode().partition("=")[2]


def test_threads_and_kind_follow_the_experiment(run: Run) -> None:
    assert isinstance(local_engine(run.folder, EXPERIMENT), InProcess)
    assert isinstance(local_engine(run.folder, replace(EXPERIMENT, workers=3)), Workers)
    assert threads_of(EXPERIMENT) == 1
    assert threads_of(replace(EXPERIMENT, recipe=Recipe(threads=0), workers=10**6)) == 1


def test_reasons_are_one_sentence() -> None:
    assert reason_of(TrialFailed("the loss is nan")) == "the loss is nan"
    assert reason_of(ValueError("two\nlines")) == "ValueError: two lines"
    assert reason_of(torch.OutOfMemoryError("no more")).startswith("out of memory")
    assert reason_of(MemoryError()) == "out of memory"


@pytest.mark.parametrize("first", [[], [""]], ids=["as it is", "the current folder first"])
def test_workers_import_the_invnas_of_this_process(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: list[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*first, *sys.path])  # as notebooks, `python -c` and Ray have it
    shadow = tmp_path / "elsewhere" / "invnas"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise RuntimeError('a source tree in the current folder')")
    monkeypatch.chdir(shadow.parent)
    engine = Workers(run.folder, EXPERIMENT)
    try:
        engine.submit(job(run, "fine"))
        assert isinstance(follow(engine)[0], Measurement)
    finally:
        engine.close()
