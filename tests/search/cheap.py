"""A search without training: prices and measurements by formula, and an engine that answers at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invnas.architecture import Architecture, Involution
from invnas.experiment import Experiment
from invnas.measurement import Cost, Measurement, Trial
from invnas.run import Run
from invnas.search.loop import SearchOutcome, search
from invnas.search.sampler import Sampler, make_sampler

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
    return Cost(macs, parameters, 4 * area * width)


def measure(trial: Trial) -> Measurement:
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
    cost = trial.cost
    top1 = 1 - math.exp(-0.4 * worth)
    return Measurement(top1, -math.log(top1), cost.macs, cost.parameters, cost.activation_bytes, train_seconds=0.5)


class CheapEngine:
    """Answers in the order of submission.

    Args:
        workers: Trials it takes at a time.
        outcome: What to answer instead of the formula; may raise.
        seconds: Pause before each answer.
    """

    def __init__(
        self, workers: int = 1, outcome: Callable[[Trial], Measurement | str] = measure, seconds: float = 0.0
    ) -> None:
        self.workers = workers
        self.submitted: list[Trial] = []
        self.closed = False
        self._outcome, self._seconds = outcome, seconds
        self._waiting: list[Trial] = []

    def submit(self, trial: Trial) -> None:
        assert len(self._waiting) < self.workers
        self.submitted.append(trial)
        self._waiting.append(trial)

    def wait(self, timeout: float) -> list[tuple[Trial, Measurement | str]]:
        time.sleep(self._seconds)
        trial = self._waiting.pop(0)
        return [(trial, self._outcome(trial))]

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
    return Run.create(folder / "run", asked, path, input_shape=(1, 8, 8), classes=10, environment={"python": "3"})


def go(
    run: Run, engine: CheapEngine | None = None, sampler: Sampler | None = None, baseline: bool = False, **options: Any
) -> SearchOutcome:
    """Search in a run, as its experiment asks."""
    asked = run.experiment
    sampler = sampler or make_sampler(asked, run.space, run.trials(baseline))
    options = {"trials": asked.trials, "max_macs": asked.max_macs, "max_parameters": asked.max_parameters, **options}
    return search(
        run.space, sampler, price, engine or CheapEngine(), run,
        objectives=asked.objectives, baseline=baseline, rng_seed=asked.seed, **options,
    )  # fmt: skip
