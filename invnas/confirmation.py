"""What further seeds say of a front and its references: how good they are when nobody chose the seed, and what holds.

Who was chosen because one seed did well was in part lucky. So the seed of the search is left out here: means and
differences are those of the further seeds alone, and what the search saw is only set beside them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from invnas.measurement import Trial
from invnas.objective import Objective

#: The level of the intervals.
LEVEL = 0.95


@dataclass(frozen=True)
class Repeated:
    """An architecture with what its further seeds measured.

    Attributes:
        trial: The trial of the search.
        first: What the search measured, with the seed of the run.
        values: What further seeds measured; trials that failed are left out.
    """

    trial: Trial
    first: float
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the further seeds; NaN without any."""
        return statistics.fmean(self.values) if self.values else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        mean = self.mean if self.values else None
        return {"trial": self.trial.number, "first": self.first, "values": list(self.values), "mean": mean}


@dataclass(frozen=True)
class Difference:
    """What a dearer architecture gains over a cheaper one.

    Attributes:
        cheaper: Number of a trial.
        dearer: Number of the next one on the front.
        gain: Difference of their means, positive where the dearer one is better.
        margin: Half of the interval at the level of 95 %, by the spread that all members share; infinite where there
            is no spread to judge by.
    """

    cheaper: int
    dearer: int
    gain: float
    margin: float

    @property
    def holds(self) -> bool:
        """Whether the interval leaves out zero on the better side."""
        return self.gain > self.margin


@dataclass(frozen=True)
class Confirmation:
    """What further seeds say of a front.

    Attributes:
        objective: What was learned.
        members: The members of the front, cheapest first.
        deviation: Standard deviation between seeds that all of them share; None where none has two seeds.
        differences: Each member of which further seeds are known against the next cheaper one.
        references: What the front is compared with, cheapest first.
    """

    objective: Objective
    members: tuple[Repeated, ...]
    deviation: float | None
    differences: tuple[Difference, ...]
    references: tuple[Repeated, ...] = ()

    @property
    def optimism(self) -> float | None:
        """By how much the search saw the members better than further seeds do, on average; None without any."""
        gaps = [self.objective.sign * (one.first - one.mean) for one in self.members if one.values]
        return statistics.fmean(gaps) if gaps else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "objective": self.objective.name,
            "members": [one.to_dict() for one in self.members],
            "references": [one.to_dict() for one in self.references],
            "deviation": self.deviation,
            "optimism": self.optimism,
            "differences": [
                {
                    **asdict(one),
                    "margin": one.margin if math.isfinite(one.margin) else None,
                    "holds": one.holds,
                }
                for one in self.differences
            ],
        }


def confirmation(
    front: Sequence[Trial], trials: Sequence[Trial], objective: Objective, references: Sequence[Trial] = ()
) -> Confirmation:
    """Return what the further seeds in a record say of a front.

    Args:
        front: Its members, cheapest first.
        trials: All trials of the run.
        objective: What was learned.
        references: What the front is compared with, complete.
    """
    values: dict[str, list[float]] = {}
    for trial in trials:
        found = trial.value(objective.name)
        if trial.phase == "confirm" and trial.state == "complete" and found is not None:
            values.setdefault(trial.architecture.fingerprint, []).append(found)
    members, compared = (
        tuple(
            Repeated(trial, trial.values([objective])[0], tuple(values.get(trial.architecture.fingerprint, ())))
            for trial in some
        )
        for some in (front, sorted(references, key=lambda trial: (trial.cost.macs, trial.number)))
    )
    deviation, freedom = _spread([one.values for one in (*members, *compared)])
    known = [one for one in members if one.values]
    differences = tuple(_difference(*pair, objective, deviation, freedom) for pair in pairwise(known))
    return Confirmation(objective, members, deviation, differences, compared)


def _spread(groups: Sequence[Sequence[float]]) -> tuple[float | None, int]:
    """Return the standard deviation within groups, and by how many free differences it is known."""
    freedom = sum(len(group) - 1 for group in groups if group)
    if not freedom:
        return None, 0
    squares = sum((value - statistics.fmean(group)) ** 2 for group in groups if group for value in group)
    return math.sqrt(squares / freedom), freedom


def _difference(
    cheaper: Repeated, dearer: Repeated, objective: Objective, deviation: float | None, freedom: int
) -> Difference:
    from scipy.stats import t

    gain = objective.sign * (dearer.mean - cheaper.mean)
    margin = math.inf
    if deviation is not None:
        spread = deviation * math.sqrt(1 / len(cheaper.values) + 1 / len(dearer.values))
        margin = float(t.ppf((1 + LEVEL) / 2, freedom)) * spread
    return Difference(cheaper.trial.number, dearer.trial.number, gain, margin)
