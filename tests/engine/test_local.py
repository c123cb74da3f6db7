"""Trials here and in worker processes: the same answers, and no crash takes the search along."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from invnas.cost import cost
from invnas.engine.evaluate import reason_of
from invnas.engine.local import InProcess, Workers, local_engine, threads_of
from invnas.errors import TrialFailed
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.measurement import Measurement, Trial
from invnas.run import Run
from invnas.shipped import find
from invnas.space import load_space

EXPERIMENT = Experiment(
    data=DataSource("HardDigits", {"batch_size": 64}), recipe=Recipe(epochs=1, learning_rate=0.2, threads=1)
)

FAILS = """
from dataclasses import dataclass
from invnas import Choice, Space

@dataclass(frozen=True)
class Fails:
    how: str
    width: int = Choice(1, 2)

    def build(self, input_shape, classes):
        from torch import nn

        class Net(nn.Module):
            def __init__(net):
                super().__init__()
                net.layer = nn.Linear(input_shape[1] * input_shape[2], classes)

            def forward(net, x):
                scores = net.layer(x.flatten(1))
                if self.how == "raise":
                    raise RuntimeError("on purpose")
                print("a user's print does not mix with the answers")
                return scores * float(self.how)

        return Net()

space = Fails(Choice("raise", "nan", "1"))
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    space = find("search_spaces", "digits")
    return Run.create(tmp_path / "run", EXPERIMENT, space, input_shape=(1, 8, 8), classes=10, environment={})


def trial(run: Run, number: int = 0) -> Trial:
    decisions, architecture = run.space.sample(random.Random(number))
    return Trial(number, architecture, decisions, cost(architecture, (1, 8, 8), 10))


@pytest.fixture
def workers(run: Run) -> Iterator[Workers]:
    engine = Workers(run.folder, replace(run.experiment, workers=2))
    yield engine
    engine.close()


def wait(engine: Any, number: int = 1) -> dict[int, Any]:
    outcomes: dict[int, Any] = {}
    until = time.monotonic() + 120
    while len(outcomes) < number and time.monotonic() < until:
        outcomes.update({one.number: outcome for one, outcome in engine.wait(1.0)})
    return outcomes


def test_nothing_to_do(run: Run, workers: Workers) -> None:
    assert InProcess(run.folder, EXPERIMENT).wait(0.01) == []
    assert workers.wait(0.01) == []


def test_here_and_in_workers_the_same_measurement_and_weights(run: Run, workers: Workers) -> None:
    here = InProcess(run.folder, EXPERIMENT)
    here.submit(trial(run))
    mine = wait(here)[0]
    weights = run.weights_path(0).read_bytes()
    run.weights_path(0).unlink()
    for path in run.checkpoint_folder(0).iterdir():
        path.unlink()
    workers.submit(trial(run))
    workers.submit(trial(run, 1))
    theirs = wait(workers, 2)
    assert isinstance(mine, Measurement)
    assert theirs[0].top1 == mine.top1
    assert isinstance(theirs[1], Measurement)
    assert run.weights_path(0).read_bytes() == weights
    assert run.weights_path(1).is_file()


def test_a_killed_worker_ends_one_trial_only(run: Run, workers: Workers) -> None:
    workers.submit(trial(run))
    (pid,) = workers._busy
    os.kill(pid, signal.SIGKILL)
    assert "killed" in wait(workers)[0]
    workers.submit(trial(run, 1))
    assert isinstance(wait(workers)[1], Measurement)
    (pid,) = [worker.pid for worker in workers._idle]
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert workers.wait(0.5) == []
    workers.submit(trial(run, 2))
    assert isinstance(wait(workers)[2], Measurement)


def test_a_users_failure_is_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "fails.py"
    path.write_text(FAILS)
    run = Run.create(tmp_path / "run", EXPERIMENT, path, input_shape=(1, 8, 8), classes=10, environment={})
    engine = Workers(run.folder, EXPERIMENT)
    try:
        found = {}
        for _, architecture in load_space(path).enumerate():
            if architecture.network.width == 1:
                number = len(found)
                price = cost(architecture, (1, 8, 8), 10) if architecture.network.how != "raise" else trial_cost()
                engine.submit(Trial(number, architecture, {}, price))
                found[architecture.network.how] = wait(engine)[number]
    finally:
        engine.close()
    assert found["raise"] == "RuntimeError: on purpose"
    assert found["nan"] == "the training loss became nan in epoch 1"
    assert isinstance(found["1"], Measurement)


def trial_cost() -> Any:
    from invnas.measurement import Cost

    return Cost(0, 0, 0)


def test_latency_is_measured_when_it_is_an_objective(run: Run) -> None:
    engine = InProcess(run.folder, replace(EXPERIMENT, objectives=("top1", "latency_ms")))
    engine.submit(trial(run))
    measured = wait(engine)[0]
    assert measured.latency_ms > 0


def test_closing_stops_every_process(run: Run) -> None:
    engine = Workers(run.folder, EXPERIMENT)
    engine.submit(trial(run))
    (pid,) = engine._busy
    engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


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


def test_workers_import_the_invnas_of_this_process(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = tmp_path / "elsewhere" / "invnas"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise RuntimeError('a source tree in the current folder')")
    monkeypatch.chdir(shadow.parent)
    engine = Workers(run.folder, EXPERIMENT)
    try:
        engine.submit(trial(run))
        assert isinstance(wait(engine)[0], Measurement)
    finally:
        engine.close()
