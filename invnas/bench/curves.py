"""How good what a search chose is after each training, over many seeds: how many times fewer trainings one needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from invnas.architecture import Architecture
from invnas.bench.replay import Answer
from invnas.errors import BadInput, shown
from invnas.measurement import Measurement, Trial
from invnas.objective import Objective
from invnas.pareto import Box, hypervolume, non_dominated

#: Draws of seeds with replacement, and the share of them that an interval holds.
RESAMPLED, HELD = 2_000, 0.95
_GAIN = Objective("gain", "gain", "Gain", "maximize", "number", log=False)


def scored(
    found: Sequence[tuple[Architecture, Measurement]],
    true: Callable[[Architecture], Answer],
    objectives: Sequence[Objective],
    box: Box,
    *,
    linear: bool = False,
) -> np.ndarray:
    """Return the hypervolume after each training of the front that was chosen by what the search saw.

    The front is chosen by what trainings found, luck included, and is worth what its members truly are. It is measured
    on the scale on which each objective is modelled (`Objective.gain`): halving the error is the same step everywhere.

    Args:
        found: What `replay` returned.
        true: Cost and true measurement of an architecture.
        objectives: The axes.
        box: The range of the hypervolume, in natural units; it must not come from the searches that are compared.
        linear: Whether shares count as they are, as in the hypervolume of a report.

    Returns:
        (n,) shares of the box; not always rising, because a lucky network may take the place of a better one.

    Raises:
        BadInput: If the box is none of these axes, or an objective of one was not measured.
    """
    _check_box(box, objectives)
    costs = [true(architecture) for architecture, _ in found]
    seen = _values([(cost, measured) for (cost, _), (_, measured) in zip(costs, found, strict=True)], found, objectives)
    real = _values(costs, found, objectives)
    axes = objectives
    if not linear:
        real, box = (
            _gains(real, objectives),
            Box(*(tuple(_gains(np.array([e]), objectives)[0]) for e in (box.worst, box.best))),
        )
        axes = [_GAIN] * len(objectives)
    shares = np.zeros(len(found))
    front = np.zeros(0, dtype=int)
    for n in range(len(found)):
        # Who was beaten stays beaten: the front of a front and one more is that of all.
        front = np.append(front, n)
        front = front[non_dominated(seen[front], objectives)]
        shares[n] = hypervolume(real[front], axes, box)
    return shares


def _check_box(box: Box, objectives: Sequence[Objective]) -> None:
    for end, numbers in (("worst", box.worst), ("best", box.best)):
        if len(numbers) != len(objectives) or not np.isfinite(numbers).all():
            raise BadInput(f"the {end} of the box must be {len(objectives)} finite numbers, but got {shown(numbers)}")
    for axis, worst, best in zip(objectives, box.worst, box.best, strict=True):
        if axis.sign * (best - worst) < 0:
            more = "more" if axis.sign > 0 else "less"
            raise BadInput(
                f"of {axis.name} {more} is better, but the box goes from {worst:g} (worst) to {best:g} (best): "
                "exchange the two"
            )


def _values(
    answers: Sequence[Answer], found: Sequence[tuple[Architecture, Measurement]], objectives: Sequence[Objective]
) -> np.ndarray:
    trials = [
        Trial(i, architecture, {}, cost, "complete", measured)
        for i, ((architecture, _), (cost, measured)) in enumerate(zip(found, answers, strict=True))
    ]
    return np.array([trial.values(objectives) for trial in trials], dtype=float).reshape(len(found), len(objectives))


def _gains(values: np.ndarray, objectives: Sequence[Objective]) -> np.ndarray:
    rows = [[one.gain(value) for one, value in zip(objectives, row, strict=True)] for row in values.tolist()]
    return np.array(rows, dtype=float).reshape(values.shape)


@dataclass(frozen=True)
class TimesFewer:
    """How many times fewer trainings one sampler needs for what another one has in the end.

    Attributes:
        ratio: Trainings of the other one over those of the first; 0 where the first did not get there in its trainings.
        low: Lower end of the 95 % interval, by drawing the seeds of both again.
        high: Upper end.
    """

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.1f} ({self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True, eq=False)
class Curves:
    """What one sampler reached after each training, a row for each seed.

    Attributes:
        values: (seeds, trainings) scores; more is better.

    >>> quick, slow = Curves([[0.2, 0.6, 0.8, 0.8]]), Curves([[0.1, 0.2, 0.4, 0.6]])
    >>> quick.trainings_to(0.6), quick.times_fewer(slow).ratio, slow.times_fewer(quick).ratio
    (2.0, 2.0, 0.0)
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=float)
        if values.ndim != 2 or not values.size:
            raise BadInput(f"curves must be a table of seeds x trainings, but got the shape {values.shape}")
        if not np.isfinite(values).all():
            raise BadInput("a curve must hold finite numbers, but one is NaN or infinite")
        object.__setattr__(self, "values", values)

    @property
    def seeds(self) -> int:
        """How many searches there were."""
        return len(self.values)

    @property
    def trainings(self) -> int:
        """How long each of them was."""
        return int(self.values.shape[1])

    @property
    def mean(self) -> np.ndarray:
        """The mean over the seeds, (trainings,)."""
        mean: np.ndarray = self.values.mean(axis=0)
        return mean

    def at(self, trainings: int) -> float:
        """Return the mean after so many trainings.

        Raises:
            BadInput: If no search was that long.
        """
        if not 1 <= trainings <= self.trainings:
            raise BadInput(f"the curves have 1 to {self.trainings} trainings, but {trainings} was asked for")
        return float(self.mean[trainings - 1])

    def trainings_to(self, target: float) -> float:
        """Return after how many trainings the mean is at a target and stays there; infinity where it never does.

        Between two trainings it is a straight line.

        Raises:
            BadInput: If the target is no number.
        """
        if math.isnan(target):
            raise BadInput("the target must be a number, but is NaN")
        return _reached(self.mean, target)

    def times_fewer(self, other: Curves, trainings: int | None = None, seed: int = 0) -> TimesFewer:
        """Return how many times fewer trainings these need for what the other curves have after so many.

        Args:
            other: What is compared with.
            trainings: Of the other; all by default.
            seed: Of the resampling.
        """
        at = other.trainings if trainings is None else trainings
        ratio = at / self.trainings_to(other.at(at))
        rng = np.random.default_rng(seed)
        drawn = []
        for _ in range(RESAMPLED):
            target = other.values[rng.integers(other.seeds, size=other.seeds), at - 1].mean()
            mine = self.values[rng.integers(self.seeds, size=self.seeds)].mean(axis=0)
            drawn.append(at / _reached(mine, target))
        outside = (1 - HELD) / 2
        low, high = np.quantile(drawn, [outside, 1 - outside])
        return TimesFewer(ratio, float(low), float(high))

    def surely_below(self, other: Curves) -> tuple[int, ...]:
        """Return after how many trainings the mean is below that of the other by over two standard errors."""
        n = min(self.trainings, other.trainings)
        mine, theirs = self.values[:, :n], other.values[:, :n]
        error = np.sqrt(_squared_error(mine) + _squared_error(theirs))
        below = mine.mean(axis=0) < theirs.mean(axis=0) - 2 * error
        return tuple(int(i) + 1 for i in np.flatnonzero(below))


def _squared_error(values: np.ndarray) -> np.ndarray:
    if len(values) < 2:
        return np.zeros(values.shape[1])
    spread: np.ndarray = values.var(axis=0, ddof=1) / len(values)
    return spread


def _reached(curve: np.ndarray, target: float) -> float:
    below = np.flatnonzero(curve < target)
    if not len(below):
        return 1.0
    last = int(below[-1])
    if last + 1 == len(curve):
        return math.inf
    step = (target - curve[last]) / (curve[last + 1] - curve[last])
    return float(last + 1 + step)
