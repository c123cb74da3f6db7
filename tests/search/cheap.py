"""A search without training: prices and measurements by formula, and an engine that answers at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from invnas.architecture import Architecture, Involution
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement, Phase, Trial
from invnas.messages import Ended, Failure, Job, Message, Outcome, Progress
from invnas.run import Run
from invnas.search.halving import HalvingStopper
from invnas.search.loop import SearchOutcome, search
from invnas.search.sampler import Sampler
from invnas.search.samplers import make_sampler
from invnas.space_check import Price
from invnas.stopping import halving_of

# 36 values; groups=4 does not divide the middle of a block of width 6: 32 of them are valid.
SMALL = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Repeat, Stage
spatial = Choice(Convolution(Choice(3, 5), groups=Choice(1, 4)), Involution(Choice(3, 5), 2, 1))
space = HybridNet(
    PlainStem(Choice(8, 16), 3, 1, False),
    [Stage(Choice(6, 8, 16), (Bottleneck(spatial, expansion=1),))],
)
"""
SMALL_VALID = 32
ONE_POINT = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Stage
space = HybridNet(PlainStem(Choice(8), 3, 1, False), [Stage(8, (Bottleneck(Convolution(3), expansion=1),))])
"""


def price(architecture: Architecture) -> Cost:
    """Return a cost that grows as a real one does."""
    network: Any = architecture.network
    area, width = 64, network.stem.width
    parameters = 27 * width
    macs = parameters * area
    for stage in network.stages:
        for position, block in enumerate(stage.blocks):
            area //= stage.stride**2 if position == 0 else 1
            middle, k2 = stage.width // block.expansion, block.spatial.kernel_size**2
            if isinstance(block.spatial, Involution):
                groups = middle // block.spatial.group_channels
                weights = (middle * middle + middle * k2 * groups) // block.spatial.reduction_ratio
                spent = weights + k2 * middle
            else:
                weights = spent = k2 * middle * middle // block.spatial.groups
            ends = (width + stage.width) * middle
            parameters += weights + ends
            macs += (spent + ends) * max(area, 1)
            width = stage.width
    return Cost.counted(macs, parameters, 4 * area * width)


def measure(trial: Trial | Job) -> Measurement:
    """Return a top1 that depends on every choice: large windows pay late, involution pays late, width saturates."""
    network: Any = trial.architecture.network
    worth = 0.0
    for s, stage in enumerate(network.stages):
        for block in stage.blocks:
            spatial = block.spatial
            if isinstance(spatial, Involution):
                gain = (0.6 + 0.5 * s) * (1 + 0.1 * spatial.kernel_size) / spatial.reduction_ratio**0.1
            else:
                gain = 1.2 - 0.05 * spatial.kernel_size - 0.02 * spatial.groups
            worth += gain * math.log2(stage.width) / 5 / block.expansion**0.2
    top1 = 1 - math.exp(-0.4 * worth)
    return Measurement({"top1": top1, "loss": -math.log(top1)}, train_seconds=0.5)


def partial(job: Job, epoch: int) -> Measurement:
    """Return what a training is worth at a rung: narrow networks learn faster."""
    network: Any = job.architecture.network
    whole, of = measure(job), job.experiment.recipe.epochs
    learned = (epoch / of) ** (network.stages[-1].width / 32)
    values = {"top1": whole["top1"] * learned, "loss": whole["loss"] + 1 - learned}
    return replace(whole, values=values, epochs=epoch, planned_epochs=of)


class CheapEngine:
    """Answers in the order of submission; `trained` says how many epochs each trial had.

    Args:
        workers: Jobs it takes at a time.
        outcome: What to answer instead of the formula, a str is the reason of a failure; may raise.
        seconds: Pause before each answer.
        epochs: Epochs it tells of before each answer; those of the recipe where a job has rungs.
        partial: What to tell at a rung; may raise.
    """

    def __init__(
        self,
        workers: int = 1,
        outcome: Callable[[Job], Outcome | str] = measure,
        seconds: float = 0.0,
        epochs: int = 0,
        partial: Callable[[Job, int], Measurement] = partial,
    ) -> None:
        self.workers = workers
        self.submitted: list[Job] = []
        self.stopped: set[int] = set()
        self.closed = False
        self.trained: dict[int, int] = {}
        self._outcome, self._seconds, self._epochs, self._partial = outcome, seconds, epochs, partial
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        assert len(self._waiting) < self.workers
        self.submitted.append(job)
        self._waiting.append(job)

    def stop(self, number: int) -> None:
        self.stopped.add(number)

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        time.sleep(self._seconds)
        job = self._waiting.pop(0)
        outcome, rungs = self._outcome(job), job.experiment.rungs.epochs
        epochs = job.experiment.recipe.epochs if rungs else self._epochs
        for epoch in range(1, epochs + 1):
            self.trained[job.number] = epoch
            rung = self._partial(job, epoch) if epoch in rungs else None
            tell(Progress(job.number, epoch, epochs, {"train_loss": 1 / epoch}, job.attempt, rung))
            if job.number in self.stopped and isinstance(outcome, Measurement):
                outcome = rung or replace(outcome, epochs=epoch, planned_epochs=epochs)
                break
        else:
            if rungs and isinstance(outcome, Measurement):
                outcome = replace(outcome, epochs=epochs, planned_epochs=epochs)
        tell(Ended(job.number, Failure(outcome) if isinstance(outcome, str) else outcome, job.attempt))

    def quiet(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        self.closed = True


def make_run(folder: Path, space: str = SMALL, **experiment: Any) -> Run:
    """Make a run folder `folder/run` on a space given as source, or by its shipped name."""
    if "\n" in space:
        path = folder / "my_space.py"
        path.write_text(space)
    else:
        from invnas.shipped import find

        path = find("search_spaces", space)
    asked = Experiment(**{"space": str(path), "sampler": "random", **experiment})
    return Run.create(folder / "run", asked, path, facts=DataFacts((1, 8, 8), 10), environment={"python": "3"})


def go(
    run: Run,
    engine: CheapEngine | None = None,
    sampler: Sampler | None = None,
    phase: Phase = "search",
    price: Price = price,
    **options: Any,
) -> SearchOutcome:
    """Search in a run, as its experiment asks."""
    asked = run.experiment
    sampler = sampler or make_sampler(asked, run.space, run.trials(phase))
    stopper = None
    if asked.stopper == "halving" and phase == "search":
        stopper = HalvingStopper(asked.axes, halving_of(asked.stopper_args).eta, run.trials(phase))
    options = {"trials": asked.trials, "caps": asked.caps, "stopper": stopper, **options}
    return search(
        run.space, sampler, price, engine or CheapEngine(), run,
        objectives=asked.axes, phase=phase, rng_seed=asked.seed, **options,
    )  # fmt: skip
