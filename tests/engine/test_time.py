"""The time limit of a trial counts what the trial takes: no wait for others, no hold, no clock that is set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.acting import EXPERIMENT, follow, job, make_run, until
from invnas.commands import run_search
from invnas.engine import local
from invnas.engine.local import Workers
from invnas.epochs import HELD, Clock
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.measurement import Measurement
from invnas.messages import Failure, Job, Message, Progress
from invnas.run import Run

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
#: A limit of 2.4 s.
TIMED = replace(EXPERIMENT, recipe=replace(EXPERIMENT.recipe, max_minutes=0.04))
LONGER = 3.9


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


@pytest.fixture
def workers(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(local, "STEP", 0.5)
    engine = Workers(run.folder, TIMED, grace=2.0)
    yield engine
    engine.close()


def timed(run: Run, how: str, number: int = 0, epochs: int = 4, **experiment: Any) -> Job:
    made = job(run, how, number, max_minutes=0.04, epochs=epochs)
    return replace(made, experiment=replace(made.experiment, **experiment))


def test_a_worker_that_waits_for_the_verdict_of_a_rung_does_not_hang(run: Run, workers: Workers) -> None:
    waits: list[float] = []

    def slow(message: Message) -> None:
        if isinstance(message, Progress) and message.rung is not None and not waits:
            waits.append(LONGER)
            time.sleep(LONGER)

    workers.submit(timed(run, "fine", stopper="halving"))
    outcome = follow(workers, 1, slow)[0]
    assert waits
    assert isinstance(outcome, Measurement), outcome
    assert (outcome.epochs, outcome.train_seconds < LONGER) == (4, True)


@pytest.mark.skipif(not local.PAUSES, reason="processes cannot be held here")
def test_neither_a_busy_search_nor_one_that_holds_its_workers_counts(run: Run, workers: Workers) -> None:
    told: list[Message] = []
    workers.submit(timed(run, "slow", epochs=6))
    until(lambda: (workers.wait(0.1, told.append), any(isinstance(m, Progress) and m.epoch for m in told))[1])
    with workers.quiet():
        time.sleep(LONGER)
    workers.wait(0.0, told.append)
    (worker,) = workers._all()
    worker.pause()  # as a suspended job of a cluster, the search and its workers
    time.sleep(LONGER)
    workers.wait(0.0, told.append)
    worker.proceed()
    assert all(isinstance(message, Progress) for message in told)
    time.sleep(1)  # busy: it has ended by now, and nobody has read it
    outcome = follow(workers)[0]
    assert isinstance(outcome, Measurement), outcome
    # One that does hang is ended still, however often somebody looks.
    workers.submit(timed(run, "sleep", 1))
    ended = follow(workers)[1]
    assert isinstance(ended, Failure)
    assert "took longer than max_minutes=0.04 and did not end by itself" in ended.reason


HOLDS = """
import time
from invnas.epochs import Clock
with Clock(None) as endless, Clock(1.0) as limited:
    while True:
        time.sleep(0.05)
        print(endless.seconds, limited.seconds, flush=True)
"""


@pytest.mark.skipif(not local.PAUSES, reason="processes cannot be held here")
def test_a_clock_with_a_limit_stands_while_its_process_is_held() -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDS], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        seen = [child.stdout.readline()]
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(HELD + 0.5)
        os.kill(child.pid, signal.SIGCONT)
        seen += [child.stdout.readline() for _ in range(10)]
    finally:
        child.kill()
        child.communicate()
    endless, limited = zip(*(map(float, line.split()) for line in seen), strict=True)
    assert endless[-1] - endless[0] > HELD
    assert 0.2 < limited[-1] - limited[0] < endless[-1] - endless[0] - HELD
    assert sorted(limited) == list(limited)


def test_a_clock_leaves_out_what_it_waits_for() -> None:
    with Clock(1.0) as clock:
        with clock.waiting():
            time.sleep(0.3)
        assert clock.seconds < 0.2
        time.sleep(0.1)
        assert clock.seconds >= 0.1


JUMPING = """
import itertools, time
from torch import nn
from invnas import Choice
real, jumps = time.time, itertools.cycle((0, 7_200, -7_200, 90_000))
time.time = lambda: real() + next(jumps)

class Network(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))

    def forward(self, x):
        assert len({time.time() for _ in range(4)}) > 1
        return self.layers(x)

def space(input_shape, classes, width=Choice(4, 5, 6)):
    return Network(classes, width)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_clock_that_is_set_back_and_forth_by_hours_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    """In the search and, through the file of the space, in its workers."""
    monkeypatch.setattr(time, "time", time.time)  # put back at the end
    (tmp_path / "jumping.py").write_text(JUMPING)
    run = run_search(
        Experiment(
            str(tmp_path / "jumping.py"), DataSource("HardDigits", {"batch_size": 512}),
            Recipe(epochs=2, threads=1, max_minutes=5 if workers > 1 else None), trials=3, workers=workers,
        ),
        tmp_path / "run",
    )  # fmt: skip
    assert [trial.state for trial in run.trials()] == ["complete"] * 3
    assert all(0 < trial.measurement.train_seconds < 60 for trial in run.trials() if trial.measurement is not None)
    assert "search 3/3: trial " in capsys.readouterr().err
