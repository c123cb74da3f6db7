"""The box in which hypervolumes of different runs and moments are compared: fixed before the first training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from invnas.caps import Caps
from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.pareto import Box, Objectives, box

#: Where a space ends: worst and best by the name of a cost.
Ends = Mapping[str, tuple[float, float]]

#: Complete trials that an axis has its ends of when nothing else is known of it.
FIRST = 8


def fixed_box(
    trials: Sequence[Trial], objectives: Objectives, caps: Caps | None = None, ends: Ends | None = None
) -> Box:
    """Return the box of a run, which no later trial moves: an axis ends at its cap, as stated, or where the space ends.

    Where none of these is known, it has the ends of the first eight complete trials, as they were measured.

    Args:
        trials: Those of the search.
        objectives: The axes.
        caps: Largest cost allowed.
        ends: Where the space ends.
    """
    stated = []
    for axis in objectives:
        worst, best = (ends or {}).get(axis.name, (None, None))
        worst, best = worst if axis.worst is None else axis.worst, best if axis.best is None else axis.best
        stated.append(replace(axis, worst=worst, best=best))
    complete = sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.number)
    return box(complete[:FIRST], stated, caps)


def unfixed(objectives: Objectives, caps: Caps | None = None, ends: Ends | None = None) -> tuple[Objective, ...]:
    """Return the axes that have ends of the first trials in a `fixed_box`: another run has others."""

    def fixed(axis: Objective) -> bool:
        capped = caps is not None and caps.limits.get(axis.name) is not None
        return axis.name in (ends or {}) or ((capped or axis.worst is not None) and axis.best is not None)

    return tuple(axis for axis in objectives if not fixed(axis))
