"""How numbers look in a report: limits, ticks, and the colour and marker of each kind of network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from invnas.measurement import Phase
from invnas.objective import SMALLEST, Objective


@dataclass(frozen=True)
class Look:
    """Colour and marker of one kind of network (after Okabe and Ito: told apart by colour-blind readers).

    Attributes:
        name: What the legend says.
        colour: As #rrggbb.
        plotly: Name of the marker in plotly.
        matplotlib: Name of the marker in matplotlib.
        glyph: The marker as a character.
        size: Factor by which the marker grows to look as large as a circle.
    """

    name: str
    colour: str
    plotly: str
    matplotlib: str
    glyph: str
    size: float = 1.0


#: Colours of what is written, of what stands back, and of the lines of a grid.
INK, SOFT, GRID = "#202124", "#5f6368", "#e8eaed"

#: The font of the page, for its figures.
FONT = {
    "family": "system-ui, 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif",
    "size": 13,
    "color": INK,
}

#: Settings of matplotlib for every picture.
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    # The same data gives the same file.
    "svg.hashsalt": "invnas",
}


@dataclass(frozen=True)
class Stroke:
    """Colour and dashes of a line.

    Attributes:
        colour: As #rrggbb.
        plotly: What plotly calls the dashes.
        matplotlib: What matplotlib calls them.
        css: The class of the page for them; empty for a line without.
    """

    colour: str
    plotly: str
    matplotlib: Literal["-", "--", "-."]
    css: str


#: The lines of the phases that have a front of their own; what is drawn later lies above.
STROKES: Mapping[Phase, Stroke] = {
    "random": Stroke(SOFT, "dash", "--", "dashed"),
    "branch": Stroke(SOFT, "dashdot", "-.", "dashdot"),
    "search": Stroke(INK, "solid", "-", ""),
}

LOOKS = {
    "convolution": Look("convolution only", "#0072B2", "circle", "o", "●"),
    "hybrid": Look("hybrid", "#009E73", "square", "s", "■", 0.95),
    "involution": Look("involution only", "#C44E00", "triangle-up", "^", "▲", 1.2),
    "own": Look("own operators", "#5f6368", "cross", "P", "✚"),
}


def ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers for a logarithmic axis that shows `low` to `high`.

    >>> ticks(1e5, 2e6)
    [100000.0, 200000.0, 500000.0, 1000000.0, 2000000.0]
    """
    low, high = max(low, SMALLEST), max(high, SMALLEST)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [
            float(f"{d}e{e}")
            for e in decades
            for d in digits
            if low <= float(f"{d}e{e}") * 1.0000001 <= high * 1.000001
        ]
        if len(found) >= 4:
            return found if len(found) <= 9 else found[:: math.ceil(len(found) / 9)]
    step = 10 ** math.floor(math.log10((high - low) / 3)) if high > low else 0
    if not step:
        return [low]
    step *= next((m for m in (5, 2, 1) if (high - low) / (m * step) >= 3), 1)
    return [round(i * step, 9) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def limits(values: list[float], objective: Objective) -> tuple[float, float]:
    """Return where an axis starts and ends, as it counts, so that no marker touches the frame."""
    low, high = objective.plotted(min(values)), objective.plotted(max(values))
    if objective.log:
        low, high = max(low, SMALLEST), max(high, SMALLEST)
        pad = max(0.06 * math.log10(high / low), 0.03)
        return low / 10**pad, high * 10**pad
    # An axis of equal values is given some room; one per cent where it counts in per cent.
    pad = max(0.08 * (high - low), 1.0 if objective.unit == "share" else 0.05 * abs(high) or 1.0)
    return low - pad, high + pad
