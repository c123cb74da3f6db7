"""Where things stand in a picture, the same for both renderers: points as believed or measured, lines, the band."""

from __future__ import annotations

import math

from invnas.measurement import Phase
from invnas.objective import SMALLEST, Objective
from invnas.report.collect import ReportData
from invnas.report.point import Point
from invnas.report.units import limits

#: What a hypervolume is drawn over, with the title of that axis.
OVER = {"trials": "Finished trials", "epochs": "Epochs trained"}

COVERED = "Hypervolume (share of its box)"


def at(point: Point, pair: tuple[Objective, Objective]) -> list[float]:
    """Return where a point stands in a panel: on the front and as a reference as believed, elsewhere as measured."""
    return [objective.plotted(standing(point, objective)) for objective in pair]


def standing(point: Point, objective: Objective) -> float:
    """Return where a point is drawn along an axis."""
    compared = point.on_front or point.trial.phase == "reference"
    return point.standing(objective) if compared else point.value(objective)


def band(data: ReportData, pair: tuple[Objective, Objective]) -> tuple[list[float], list[float], list[float]]:
    """Return x, lower and upper ends of the band about the front of the search, empty where nothing is believed."""
    x, y = pair
    if y not in data.belief.objectives:
        return [], [], []
    steps = data.steps(pair, "search")
    ends = [point.ends(y) for point in steps]
    low, high = ([y.plotted(end[i]) for end in ends] for i in (0, 1))
    return [x.plotted(point.standing(x)) for point in steps], low, high


def spanned(data: ReportData, objective: Objective) -> list[float]:
    """Return all numbers that an axis has to hold."""
    values = [standing(point, objective) for point in data.drawn]
    values += [point.value(objective) for point in data.observed_front]
    return values + [end for point in data.front for end in point.ends(objective)]


def line(
    data: ReportData, pair: tuple[Objective, Objective], phase: Phase, observed: bool = False
) -> list[tuple[float, float]]:
    """Return the corners of a front as a panel counts them."""
    value = Point.value if observed else Point.standing
    steps = data.steps(pair, phase, observed)
    return [(pair[0].plotted(value(point, pair[0])), pair[1].plotted(value(point, pair[1]))) for point in steps]


def knee_offset(data: ReportData, point: Point, pair: tuple[Objective, Objective]) -> tuple[int, int]:
    """Return pixels (right, up) from the knee to its label: to the corner no trial reached, inside the frame."""
    left, below = (_share(data, point, name) for name in pair)
    up = int(pair[1].sign)
    room = 1 - below if up > 0 else below
    if left > 0.25:
        return -40, (34 * up if room > 0.15 else 0)
    # Never straight to the right: there the front goes on.
    return (4, 64 * up) if room > 0.25 else (14, 30 * up)


def _share(data: ReportData, point: Point, objective: Objective) -> float:
    """Return where a point stands on an axis, 0 to 1."""
    low, high = limits(spanned(data, objective), objective)
    value = objective.plotted(standing(point, objective))
    if objective.log:
        low, high, value = (math.log10(max(number, SMALLEST)) for number in (low, high, value))
    return (value - low) / (high - low)
