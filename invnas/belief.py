"""What a record says of its architectures when the luck of single trainings is taken out: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.measurement import Cost, Trial
from invnas.objective import Objective
from invnas.pareto import front

#: Complete architectures below which nothing is believed but what was measured.
LEAST = 8
#: Standard deviations to each side of a mean that hold 95 %.
SIDE = 1.96


@dataclass(frozen=True)
class Estimate:
    """What one architecture is believed to reach on average over trainings with other seeds, in natural units.

    Attributes:
        mean: The posterior mean.
        low: Where the 95 % band of that mean begins (the smaller number).
        high: Where it ends.
        training: Standard deviation of one more training about it: the uncertainty of the mean and the luck of a seed.
    """

    mean: float
    low: float
    high: float
    training: float

    @property
    def deviation(self) -> float:
        """Standard deviation of the mean, as the band has it."""
        return (self.high - self.low) / (2 * SIDE)

    @classmethod
    def of(cls, objective: Objective, gain: float, deviation: float, training: float) -> Estimate:
        """Return it from a gain and the standard deviations of the mean and of one training on that scale."""

        def ends(spread: float) -> list[float]:
            return sorted(objective.at_gain(gain + side * spread) for side in (-SIDE, SIDE))

        (low, high), (least, most) = ends(deviation), ends(training)
        return cls(objective.at_gain(gain), low, high, (most - least) / (2 * SIDE))


class Predictor(Protocol):
    """Says what any architecture is believed to reach."""

    @property
    def luck(self) -> float:
        """Standard deviation of one training about its architecture, as a gain."""
        ...

    def predict(self, many: Sequence[Decisions], costs: Sequence[Cost]) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations of the mean, as gains."""
        ...


@dataclass(frozen=True)
class Belief:
    """What is believed of the architectures of a record.

    Attributes:
        objectives: The learned objectives there are estimates of; empty where too little was trained to believe
            anything but what was measured.
        estimates: An estimate by name of the objective and fingerprint of the architecture.
        seeds: Whole trainings by fingerprint.
        rank: Rank correlation of what was measured with what the others alone predict, by name (leave-one-out); None
            where all predictions are one.
        predictors: Who says it of architectures that were not trained, by name.

    >>> Belief().known
    False
    """

    objectives: tuple[Objective, ...] = ()
    estimates: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    rank: Mapping[str, float | None] = field(default_factory=dict)
    predictors: Mapping[str, Predictor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether anything is believed but what was measured."""
        return bool(self.estimates)

    def estimate(self, trial: Trial, name: str) -> Estimate | None:
        """Return what is believed of the architecture of a trial; None where that is what was measured."""
        return self.estimates.get(name, {}).get(trial.architecture.fingerprint)

    def of(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """Return trials with what is believed of them in place of what was measured; their costs are exact."""
        return tuple(self._of(trial) for trial in trials) if self.known else tuple(trials)

    def front(self, trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[Trial, ...]:
        """Return the complete trials that no other one is believed to beat, as they were given, cheapest first."""
        given = {trial.number: trial for trial in trials}
        return tuple(given[trial.number] for trial in front(self.of(trials), objectives))

    def _of(self, trial: Trial) -> Trial:
        if trial.state != "complete" or trial.measurement is None:
            return trial
        found = {name: one.mean for name in self.estimates if (one := self.estimate(trial, name)) is not None}
        return replace(trial, measurement=replace(trial.measurement, values={**trial.measurement.values, **found}))


@dataclass(frozen=True)
class Influence:
    """What a decision is believed to do along the front, at the same costs.

    Attributes:
        path: The decision, with a star for the copies of a stage, such as `stages.0.blocks.*.spatial`.
        matters: Standard deviation of what its options (with all that is decided under them) are believed to reach, on
            average over the front, in natural units.
        best: The label of the option believed to be best.
        gain: How much better than the middle of all it is believed to be, in natural units.
    """

    path: str
    matters: float
    best: str
    gain: float


@dataclass(frozen=True)
class Prospect:
    """An architecture that was not trained and is believed to be worth it.

    Attributes:
        architecture: What it is.
        cost: Its price.
        estimates: What it is believed to reach, by name of the objective.
        share: What it is expected to add to the front, as a share of what that covers.
    """

    architecture: Architecture
    cost: Cost
    estimates: Mapping[str, Estimate]
    share: float


@dataclass(frozen=True)
class Outlook:
    """What a belief says beyond what was trained.

    Attributes:
        influences: What decisions do along the front, those of a stage together, by the order of their paths.
        prospects: The most promising untrained architectures, the best first.
    """

    influences: tuple[Influence, ...] = ()
    prospects: tuple[Prospect, ...] = ()
