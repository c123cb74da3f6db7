"""What a front is compared with: the names of reference architectures, and whether one of them makes it pointless."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from invnas.architecture import Architecture
from invnas.belief import SIDE, Belief, Estimate
from invnas.measurement import Trial
from invnas.objective import MACS, Objective
from invnas.report.answers import signed
from invnas.zoo import small_networks

if TYPE_CHECKING:
    from invnas.report.collect import ReportData
    from invnas.report.point import Point


@cache
def _small() -> dict[str, str]:
    return {architecture.fingerprint: name for name, architecture in small_networks().items()}


def name_of(architecture: Architecture) -> str:
    """Return what to call a reference: a well-known network, or what a member of the space is made of.

    >>> name_of(small_networks()["small ResNet-8 x 0.5"])
    'small ResNet-8 x 0.5'
    """
    return _small().get(architecture.fingerprint) or f"pure {architecture.kind} of the space"


def seeds_of(trials: Sequence[Trial], objective: Objective) -> dict[str, tuple[float, ...]]:
    """Return what each architecture measured with each of its seeds, by fingerprint; NaN is left out."""
    values: dict[str, dict[int | None, float]] = {}
    for trial in trials:
        found = trial.value(objective.name)
        if trial.state == "complete" and found is not None and math.isfinite(found):
            values.setdefault(trial.architecture.fingerprint, {})[trial.seed] = found
    return {fingerprint: tuple(group.values()) for fingerprint, group in values.items()}


def luck_of(seeds: Mapping[str, Sequence[float]]) -> float | None:
    """Return the standard deviation of a training between seeds, pooled; None where no architecture has two seeds."""
    groups = [group for group in seeds.values() if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / freedom)


def believed_from(values: Sequence[float], belief: Belief, objective: Objective) -> Estimate | None:
    """Return what a network outside of the space is believed to reach: the mean of its seeds, with the luck known."""
    predictor = belief.predictors.get(objective.name)
    if predictor is None or not values:
        return None
    luck, number = predictor.luck, len(values)
    gain = objective.gain(statistics.fmean(values))
    return Estimate.of(objective, gain, luck / math.sqrt(number), luck * math.sqrt(1 + 1 / number))


@dataclass(frozen=True)
class _Rival:
    """A reference that costs no more than a member of the front.

    Attributes:
        reference: The reference.
        member: The member.
        called: What the member is.
        gap: By how much the reference is better, in natural units, positive where it is.
        margin: Half of the 95 % interval of that; None where nothing is known of the luck of a training.
    """

    reference: Point
    member: Point
    called: str
    gap: float
    margin: float | None


def verdict(data: ReportData) -> str:
    """Return whether a reference beats the best or the knee of the front, in a sentence; empty without references.

    It beats what costs no less and is believed to be at most as good (the mean of its seeds, where nothing is
    believed). What the search has found itself beats nothing.
    """
    if not data.references or data.knee is None:
        return ""
    learned, spent = data.headline
    rivals = _rivals(data, data.knee)
    beating = [one for one in rivals if one.gap >= 0]
    cost = "multiply-adds" if spent is MACS else spent.label
    if beating:
        # What is of no space first, then who beats the best.
        won = max(beating, key=lambda one: (not one.reference.trial.decisions, one.called == "the best", one.gap))
        return _won(data, won, cost)
    number = len(data.references)
    nearest = max(rivals, key=lambda one: one.gap, default=None)
    near = ""
    if nearest is not None:
        name = name_of(nearest.reference.trial.architecture)
        near = f"; the nearest is {name} beside {nearest.called}{_told(nearest, learned)}"
    return (
        f"None of {number} reference architecture{'' if number == 1 else 's'} is as accurate at no more {cost} as the "
        f"best or the knee of the front{near}."
    )


def _rivals(data: ReportData, knee: Point) -> list[_Rival]:
    learned, spent = data.headline
    found = {point.trial.architecture.fingerprint for point in data.points if point.trial.phase == "search"}
    others = [one for one in data.references if one.trial.architecture.fingerprint not in found]
    best = max(data.front, key=lambda point: learned.gain(point.standing(learned)))
    rivals = []
    for member, called in ((best, "the best"), (knee, "the knee")):
        theirs, their_spread = _reached(data, member)
        for one in others:
            if one.value(spent) <= member.value(spent):
                value, spread = _reached(data, one)
                known = spread is not None and their_spread is not None
                margin = SIDE * math.hypot(spread or 0.0, their_spread or 0.0) if known else None
                rivals.append(_Rival(one, member, called, learned.sign * (value - theirs), margin))
    return rivals


def _reached(data: ReportData, point: Point) -> tuple[float, float | None]:
    """Return what is believed of a point, or the mean of its seeds, with the standard deviation of that."""
    learned = data.headline[0]
    if (one := point.believed.get(learned.name)) is not None:
        return one.mean, one.deviation
    values = data.seeds.get(point.trial.architecture.fingerprint, (point.value(learned),))
    return statistics.fmean(values), None if data.luck is None else data.luck / math.sqrt(len(values))


def _won(data: ReportData, won: _Rival, cost: str) -> str:
    learned, _ = data.headline
    kind, name = won.reference.trial.architecture.kind, name_of(won.reference.trial.architecture)
    better = (
        f"({_values(data, won.reference)}) is at least as accurate at no more {cost} than {won.called} of the front "
        f"({_values(data, won.member)}){_told(won, learned)}."
    )
    if not won.reference.trial.decisions:
        return f"Do not search: {name} {better}"
    return (
        f"The search has missed a member of its own space that was found without it: a pure {kind}, picked among pure "
        f"networks by what is believed of them, {better} Search on, or among pure networks alone."
    )


def _values(data: ReportData, point: Point) -> str:
    learned, spent = data.headline
    return f"{learned.label} {learned.show(_reached(data, point)[0])}, {point.shown(spent)}"


def _told(rival: _Rival, learned: Objective) -> str:
    if rival.margin is None:
        return "; one seed each"
    unsure = "" if abs(rival.gap) > rival.margin else ", which cannot be told from none"
    return f": {signed(rival.gap, rival.margin, learned)}{unsure}"
