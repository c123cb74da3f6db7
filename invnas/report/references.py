"""What a front is compared with: the names of reference architectures, and whether one of them makes it pointless."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from invnas.architecture import Architecture
from invnas.measurement import Trial
from invnas.objective import MACS, Objective
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


def luck_of(trials: Sequence[Trial], objective: Objective) -> float | None:
    """Return the standard deviation of a training between seeds, pooled; None where no architecture has two seeds."""
    values: dict[str, dict[int | None, float]] = {}
    for trial in trials:
        found = trial.value(objective.name)
        if trial.state == "complete" and found is not None and math.isfinite(found):
            values.setdefault(trial.architecture.fingerprint, {})[trial.seed] = found
    groups = [list(group.values()) for group in values.values() if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    squares = sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(squares / freedom)


def verdict(data: ReportData) -> str:
    """Return whether a reference beats the best or the knee of the front, in a sentence; empty without references.

    It beats what costs no less and is at most as good. The front was chosen among many trainings and the reference was
    not, so that luck speaks for the front. What the search has found itself beats nothing.
    """
    if not data.references or data.knee is None:
        return ""
    learned, spent = data.headline
    found = {point.trial.architecture.fingerprint for point in data.points if point.trial.phase == "search"}
    others = [one for one in data.references if one.trial.architecture.fingerprint not in found]
    best = max(data.front, key=lambda point: learned.gain(point.value(learned)))
    cost = "multiply-adds" if spent is MACS else spent.label
    for point, called in ((best, "the best"), (data.knee, "the knee")):
        beating = [one for one in others if _beats(one, point, learned, spent)]
        if beating:
            winner = max(beating, key=lambda one: learned.gain(one.value(learned)))
            return (
                f"Do not search: {name_of(winner.trial.architecture)} ({_values(winner, learned, spent)}) is at least "
                f"as accurate at no more {cost} than {called} of the front ({_values(point, learned, spent)})"
                f"{_noise(data, winner.value(learned) - point.value(learned), learned)}."
            )
    number = len(data.references)
    return (
        f"None of {number} reference architecture{'' if number == 1 else 's'} is as accurate at no more {cost} as the "
        f"best or the knee of the front{_noise(data, None, learned)}."
    )


def _beats(one: Point, other: Point, learned: Objective, spent: Objective) -> bool:
    cheap = one.value(spent) <= other.value(spent)
    return cheap and learned.gain(one.value(learned)) >= learned.gain(other.value(learned))


def _values(point: Point, learned: Objective, spent: Objective) -> str:
    return f"{learned.label} {point.shown(learned)}, {point.shown(spent)}"


def _noise(data: ReportData, gap: float | None, learned: Objective) -> str:
    if data.luck is None:
        return "; one seed each"
    said = f"; one training is known to {learned.show(data.luck)} (standard deviation between seeds)"
    if gap is None:
        return said
    beyond = abs(gap) > 1.96 * math.sqrt(2) * data.luck
    return f"{said}, so the difference is {'more' if beyond else 'no more'} than luck"
