"""What a run answers, with its uncertainty: whether hybrids pay, and how much of a front is chance."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invnas.belief import SIDE, Belief
from invnas.measurement import Trial
from invnas.objective import Objective

#: Costs along the common range at which the best of two kinds are compared.
_PLACES = 33


@dataclass(frozen=True)
class Comparison:
    """The best hybrid against the best network of one operator, at equal cost, as believed.

    Attributes:
        kind: "convolution" or "involution".
        hybrids: Hybrids that were trained.
        pure: Networks of the one operator that were trained.
        low: Where the common range of costs begins; NaN where there is none.
        high: Where it ends.
        gain: By how much the hybrids are better, positive where they are, in natural units, on average over the range.
        margin: Half of its 95 % interval.
    """

    kind: str
    hybrids: int
    pure: int
    low: float = math.nan
    high: float = math.nan
    gain: float = math.nan
    margin: float = math.nan

    def sentence(self, learned: Objective, cost: Objective) -> str:
        """Return the answer in words."""
        if not self.pure:
            return f"No pure {self.kind} was trained, so it cannot be said whether the best hybrid beats one."
        counted = f"{_counted(self.hybrids, 'hybrid')} and {_counted(self.pure, f'pure {self.kind}')} were trained"
        if math.isnan(self.gain):
            return f"No hybrid and pure {self.kind} can be compared at equal {cost.label} ({counted})."
        verdict = "beats" if self.gain > self.margin else "does not beat"
        unsure = "" if abs(self.gain) > self.margin else ", which cannot be told from none"
        return (
            f"At equal {cost.label} ({cost.show(self.low)} to {cost.show(self.high)}) the best hybrid {verdict} the "
            f"best pure {self.kind} here: {signed(self.gain, self.margin, learned)}{unsure} ({counted})."
        )


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def signed(gain: float, margin: float, learned: Objective) -> str:
    """Return a difference with half of its interval."""
    if learned.unit == "share":
        return f"{100 * gain:+.1f} ± {100 * margin:.1f} points of {learned.label}"
    return f"{gain:+.3g} ± {margin:.3g} of {learned.label}"


def comparisons(belief: Belief, trials: Sequence[Trial], learned: Objective, cost: Objective) -> tuple[Comparison, ...]:
    """Compare the best hybrid with the best pure networks; nothing where nothing is believed or no hybrid was trained.

    Args:
        belief: What is believed of them.
        trials: Complete ones.
        learned: What is compared.
        cost: At equal values of this.
    """
    if not belief.known or learned not in belief.objectives:
        return ()
    of: dict[str, dict[str, Trial]] = {}
    for trial in trials:
        if belief.estimate(trial, learned.name) is not None and cost.name in trial.cost:
            of.setdefault(trial.architecture.kind, {}).setdefault(trial.architecture.fingerprint, trial)
    hybrids = list(of.get("hybrid", {}).values())
    if not hybrids:
        return ()
    kinds = ("convolution", "involution")
    return tuple(_compared(belief, kind, hybrids, list(of.get(kind, {}).values()), learned, cost) for kind in kinds)


def _compared(
    belief: Belief, kind: str, hybrids: Sequence[Trial], pure: Sequence[Trial], learned: Objective, cost: Objective
) -> Comparison:
    found = Comparison(kind, len(hybrids), len(pure))
    if not pure:
        return found
    spent = [[trial.cost[cost.name] for trial in group] for group in (hybrids, pure)]
    low, high = max(map(min, spent)), min(map(max, spent))
    if low > high or low <= 0:
        return found
    places = np.geomspace(low, high, _PLACES)
    (ours, our_spread), (theirs, their_spread) = (
        _best(belief, group, places, learned, cost) for group in (hybrids, pure)
    )
    # Neighbours along the range are often the same two networks: the spread of a mean is taken for that of each.
    margin = SIDE * float(np.sqrt(our_spread**2 + their_spread**2).mean())
    gain = learned.sign * float((ours - theirs).mean())
    return Comparison(kind, len(hybrids), len(pure), low, high, gain, margin)


def _best(
    belief: Belief, trials: Sequence[Trial], places: np.ndarray, learned: Objective, cost: Objective
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the believed best within each cost."""
    means: list[float] = []
    spreads: list[float] = []
    best = -math.inf
    ordered = sorted(trials, key=lambda trial: trial.cost[cost.name])
    costs = [trial.cost[cost.name] for trial in ordered]
    for trial in ordered:
        one = belief.estimate(trial, learned.name)
        assert one is not None
        better = learned.sign * one.mean > best
        best = max(best, learned.sign * one.mean)
        means.append(one.mean if better else means[-1])
        spreads.append(one.deviation if better else spreads[-1])
    at = [max(bisect_right(costs, place * (1 + 1e-9)) - 1, 0) for place in places.tolist()]
    return np.array(means)[at], np.array(spreads)[at]


@dataclass(frozen=True)
class Chance:
    """How many of the trials that are not on the front of what was measured may only have been unlucky.

    Attributes:
        images: Validation images.
        off: Trials that are not on it.
        alike: Those of them whose binomial interval of 95 % reaches the front at their cost.
    """

    images: int
    off: int
    alike: int

    def sentence(self, learned: Objective) -> str:
        """Return it in words."""
        return (
            f"By single trainings, {self.alike} of the {self.off} trials that are not on the observed front cannot be "
            f"told from it: their {learned.label} on {self.images:,} validation images has a 95 % interval that "
            f"reaches the front at their cost. {self.off - self.alike} can."
        )


def chance(
    trials: Sequence[Trial], front: Sequence[Trial], learned: Objective, costs: Sequence[Objective], images: int | None
) -> Chance | None:
    """Return how much of a front is chance.

    Args:
        trials: The complete trials of the search.
        front: The front of what was measured.
        learned: What is compared.
        costs: At equal values of these: all that the front has.
        images: Validation images.

    Returns:
        None where the number is no share of images, their number is unknown, or nothing has a cost.
    """
    if not learned.of_images or not images or not front or not costs:
        return None
    members = {trial.number for trial in front}
    off = [trial for trial in trials if trial.number not in members]
    reached = [(trial.values(costs), trial.values([learned])[0]) for trial in front]
    alike = 0
    for trial in off:
        spent = trial.values(costs)
        within = [value for theirs, value in reached if np.less_equal(theirs, spent).all()]
        low, high = wilson(trial.values([learned])[0], images)
        alike += not within or low <= max(within, key=lambda value: learned.sign * value) <= high
    return Chance(images, len(off), alike)


def wilson(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of so many.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> [round(end, 3) for end in wilson(0.8, 287)]
    [0.75, 0.842]
    """
    z2 = SIDE * SIDE
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = SIDE / (1 + z2 / number) * math.sqrt(share * (1 - share) / number + z2 / (4 * number * number))
    return middle - half, middle + half


def sizes(counts: Mapping[str, int], origins: Mapping[str, str]) -> str:
    """Return how many images trained, validated and tested a run, as far as is known."""
    known = {"train": "trained on", "validation": "validated on", "test": "tested on"}
    parts = []
    for split, words in known.items():
        number = counts.get(split)
        if number is None and (first := origins.get(split, "").split(" ")[0].replace(",", "")).isdecimal():
            number = int(first)
        if number is not None:
            parts.append(f"{words} {number:,}")
    return f"{', '.join(parts)} images" if parts else ""
