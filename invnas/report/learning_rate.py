"""The range test of a run: how its rate was found, as a section of the page, its figure, and a picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from invnas.rates import RateSearch, Sweep
from invnas.report.units import FONT, GRID, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Place of the figure in the page.
PLOT = "plot-rates"

_COLOURS = ("#9aa0a6", "#5f6368", "#202124")
_X, _Y = "learning rate", "training loss (averaged)"


def section(rates: RateSearch | None) -> str:
    """Return the section of the page; nothing where the rate was given."""
    if rates is None:
        return ""
    said = f"Found before the search by a range test: {rates.words}. One rate serves all trials."
    return (
        f'<section id="rate">\n<h2>The learning rate</h2>\n<p class="note">{escape(said)}</p>'
        f'<div class="plot" id="{PLOT}"></div>\n</section>'
    )


def figure(rates: RateSearch) -> dict[str, Any]:
    """Return data and layout of the interactive figure."""
    traces = [
        {
            "x": one.rates,
            "y": one.smoothed,
            "mode": "lines",
            "name": _name(one),
            "line": {"color": colour, "width": 1.5},
        }
        for one, colour in zip(rates.sweeps, _COLOURS, strict=False)
    ]
    low, high = _limits(rates)
    line = {"type": "line", "x0": rates.rate, "x1": rates.rate, "yref": "paper", "y0": 0, "y1": 1}
    axis: dict[str, Any] = {"gridcolor": GRID, "zeroline": False}
    layout = {
        "height": 320,
        "margin": {"l": 64, "r": 16, "t": 24, "b": 52},
        "plot_bgcolor": "#ffffff",
        "font": FONT,
        "xaxis": {**axis, "type": "log", "title": {"text": _X}},
        "yaxis": {**axis, "range": [low, high], "title": {"text": _Y}},
        "shapes": [{**line, "line": {"dash": "dash", "width": 1.2, "color": SOFT}}],
        "legend": {"orientation": "h", "y": 1.12},
    }
    return {"data": traces, "layout": layout}


def draw(rates: RateSearch, axes: Axes) -> None:
    """Draw the picture."""
    for one, colour in zip(rates.sweeps, _COLOURS, strict=False):
        axes.plot(one.rates, one.smoothed, color=colour, label=_name(one))
    axes.axvline(rates.rate, color=SOFT, linestyle="--", linewidth=1.2, label=f"taken: {rates.rate:g}")
    axes.set(xscale="log", xlabel=_X, ylabel=_Y, ylim=_limits(rates))
    axes.grid(color=GRID)
    axes.legend(frameon=False, fontsize=9)


def _name(one: Sweep) -> str:
    return f"{one.macs:,} MACs"


def _limits(rates: RateSearch) -> tuple[float, float]:
    """Return a range that shows the valleys: beyond them a loss may be of any size."""
    low = min(min(one.smoothed) for one in rates.sweeps)
    start = max(one.smoothed[0] for one in rates.sweeps)
    room = max(start - low, 1e-3)
    return low - 0.1 * room, start + 0.6 * room
