"""Memory that runs out costs a trial half of its batch, once; and no trial leaves tensors behind."""

from __future__ import annotations

import gc
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from engine.acting import EXPERIMENT, follow, job, make_run
from invnas.engine.evaluate import run_job
from invnas.engine.local import InProcess, Workers
from invnas.measurement import Measurement
from invnas.messages import Failure, Message, Outcome, Progress
from invnas.run import Run
from invnas.store import FolderStore


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def come(messages: list[Message]) -> list[int]:
    return [message.epoch for message in messages if isinstance(message, Progress)]


@pytest.mark.parametrize("after", [0, 4, 5])
def test_what_does_not_fit_a_gpu_goes_on_from_its_checkpoint_with_half_a_batch(run: Run, after: int) -> None:
    """Three steps an epoch: before the first one, in the second epoch, at its end."""
    told: list[Message] = []
    engine = InProcess(run.folder, EXPERIMENT)
    engine.submit(job(run, f"fits 256 {after}", epochs=3))
    outcome = follow(engine, 1, told.append)[0]
    assert isinstance(outcome, Measurement)
    assert (outcome.epochs, outcome.planned_epochs, outcome.micro_batches) == (3, 3, 2)
    assert come(told) == [0, 1, 2, 3]  # no epoch twice


@pytest.mark.parametrize("kind", [InProcess, Workers])
def test_what_does_not_fit_even_so_fails_with_its_reason(run: Run, kind: Any) -> None:
    engine = kind(run.folder, EXPERIMENT)
    try:
        engine.submit(job(run, "fits 0 0"))
        outcome = follow(engine)[0]
        engine.submit(job(run, "fine", 1))
        assert isinstance(follow(engine)[1], Measurement)
    finally:
        engine.close()
    assert isinstance(outcome, Failure)
    assert outcome.reason == (
        "out of memory: CUDA out of memory. Tried to allocate 256 images (with half a batch at a time, too)"
    )


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc and limits of memory")
def test_a_real_limit_of_memory(run: Run) -> None:
    """Half of a batch does not fit either; then half of it does; no worker dies of it."""
    engine, ended = Workers(run.folder, EXPERIMENT), dict[int, Outcome]()
    try:
        for number, how in enumerate(("greedy 60", "greedy 270", "fine")):
            engine.submit(job(run, how, number, epochs=2))
            (pid, *others) = [worker.pid for worker in engine._all()]
            assert not others
            ended |= follow(engine)
            assert [worker.pid for worker in engine._all()] == [pid]
    finally:
        engine.close()
    none, half, fine = ended.values()
    assert isinstance(none, Failure)
    assert none.reason.startswith("out of memory: ")
    assert none.reason.endswith(" (with half a batch at a time, too)")
    assert isinstance(half, Measurement)
    assert isinstance(fine, Measurement)
    assert (half.epochs, half.micro_batches, fine.micro_batches) == (2, 2, 1)


def test_a_worker_that_is_killed_goes_on_with_half_a_batch(run: Run) -> None:
    """The kernel kills who takes too much; only SIGKILL says so."""
    engine, kills = Workers(run.folder, replace(EXPERIMENT, workers=2)), {(0, 0), (1, 0), (1, 1)}

    def kill(message: Message) -> None:
        attempt = message.number, message.attempt
        if isinstance(message, Progress) and message.epoch >= 2 and attempt in kills:
            kills.remove(attempt)
            os.kill(engine._running[message.number].worker.pid, signal.SIGKILL)

    try:
        for number in (0, 1):  # killed once, killed twice
            engine.submit(job(run, "slow", number, epochs=12))
        ended = follow(engine, 2, kill)
    finally:
        engine.close()
    assert isinstance(ended[0], Measurement)
    assert (ended[0].epochs, ended[0].micro_batches) == (12, 2)
    assert ended[1] == Failure(
        "the worker was killed, most likely because memory ran out (tried 2 times, at last with half a batch at a time)"
    )


def tensors() -> tuple[int, int]:
    """Return how many tensors there are, and the bytes they hold together."""
    # Those of an earlier test that has exported something stand for no memory.
    kinds = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    found = [one for one in kinds if not issubclass(type(one), FakeTensor)]
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in found}
    return len(found), sum(storages.values())


#: Bytes of metrics, rates and the like that may wait for the next collection.
SMALL = 2**14


@pytest.mark.parametrize(
    ("how", "stop"),
    [("fine heavy", 9), ("fine heavy", 1), ("raise heavy", 9), ("nan heavy", 9), ("exit heavy", 9), ("full heavy", 9),
     ("fits 256 4 heavy", 9), ("fits 0 0 heavy", 9)],
    ids=["complete", "stopped", "failed", "nan", "exit", "full disk", "half a batch", "out of memory"],
)  # fmt: skip
def test_no_trial_leaves_tensors_behind(run: Run, how: str, stop: int) -> None:
    """Weights and momentum have 4 MB, a batch 131 kB; the images of the process are there before and after."""
    kinds = set()

    def trained(how: str, stop: int) -> None:
        progress: list[Message] = []
        outcome = run_job(
            job(run, how, epochs=3), FolderStore(run.folder), run.folder, progress.append,
            lambda: len(progress) > stop,
        )  # fmt: skip
        kinds.add((type(outcome), isinstance(outcome, Measurement) and outcome.stopped))
        for path in run.checkpoint_folder(0).iterdir():
            path.unlink()

    trained("fine", 9)
    gc.collect()
    before, left = tensors(), []
    gc.disable()
    try:
        for _ in range(3):
            kinds.clear()
            trained(how, stop)
            assert tensors()[1] - before[1] < SMALL  # now, not at the next collection
            gc.collect()
            left.append(tensors())
    finally:
        gc.enable()
    assert left == [before] * 3
    assert len(kinds) == 1
