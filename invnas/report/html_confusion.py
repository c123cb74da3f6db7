"""What the front takes for what: the section of the page, and its interactive figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import Any

from invnas.confusion import Confusion, together
from invnas.report.collect import ReportData
from invnas.report.confusion import short_names
from invnas.report.html_tables import button
from invnas.report.point import Point
from invnas.report.units import FONT, GRID, INK

#: Place of the figure in the page.
PLOT = "plot-confusion"

#: Classes that the figure shows: of more, those in the most frequent mistakes; classes up to which cells hold counts.
SHOWN, _COUNTED = 30, 20
#: Mistakes that the table lists.
_LISTED = 20
_LONGEST = 18  # letters of a name at an axis

_SHARES = (0, 0.01, 0.05, 0.2, 0.5, 1)


def section(data: ReportData) -> str:
    """Return a section with the matrix of one member at a time and a table of mistakes; nothing where none is known."""
    known = _known(data)
    if not known:
        return ""
    whole = together(told for _, told in known)
    height = _height(len(_shown(data, whole)))
    return (
        f'<section id="confusion">\n<h2>What the front takes for what</h2>\n<p class="note">{escape(_note(data))}</p>'
        f'<div class="plot" id="{PLOT}" style="height:{height}px;max-width:{height + 80}px"></div>'
        f"{_mistakes(data, known, whole)}\n</section>"
    )


def _known(data: ReportData) -> list[tuple[Point, Confusion]]:
    """Return the members of the front of which it is known, cheapest first."""
    found = data.beyond.confusions
    return [(point, told) for point in data.front if (told := found.get(point.number))]


def _shown(data: ReportData, whole: Confusion) -> tuple[int, ...]:
    every = whole.classes(len(data.beyond.classes))
    return every if len(every) <= SHOWN else whole.most_mistaken(SHOWN)


def _height(classes: int) -> int:
    """Return pixels: enough for the menu above few classes, and for the names of many."""
    return 230 + 30 * min(max(classes, 8), 12) + 14 * max(classes - 12, 0)


def _note(data: ReportData) -> str:
    known, members = _known(data), len(data.front)
    whole = together(told for _, told in known)
    every, shown = whole.classes(len(data.beyond.classes)), _shown(data, whole)
    some = "" if len(known) == members else f" Counts of {len(known)} of the {members} members are recorded."
    few = "" if len(shown) == len(every) else (
        f" Of {len(every):,} classes the {len(shown)} that are in the most frequent mistakes of the front are shown."
    )  # fmt: skip
    return (
        "A row for each true class, a column for what it was taken for, counted on the test images, once for each "
        "architecture; nothing is chosen by them. A cell is coloured by the root of its share of the true class, so "
        f"that rare mistakes are seen too.{some}{few}"
    )


def _mistakes(data: ReportData, known: Sequence[tuple[Point, Confusion]], whole: Confusion) -> str:
    """Return the mistakes that the front makes most often, and who makes them how often."""
    listed = whole.mistakes[:_LISTED]
    if not listed:
        return '<p class="empty">No member of the front took anything for anything else.</p>'
    knee = next((told for point, told in known if data.knee and point.number == data.knee.number), None)
    rows = ""
    for pair in listed:
        counts = [(told.counts.get(pair, 0), point) for point, told in known]
        (least, few), (most, many) = min(counts, key=_count), max(counts, key=_count)
        of = max(told.seen[pair[0]] for _, told in known)
        at_knee = "" if knee is None else f"<td>{knee.counts.get(pair, 0):,}</td>"
        rows += (
            f'<tr><td class="text">{escape(data.beyond.class_name(pair[0]))}</td>'
            f'<td class="text">{escape(data.beyond.class_name(pair[1]))}</td><td>{of:,}</td>{at_knee}'
            f"<td>{statistics.fmean(count for count, _ in counts):,.1f}</td>"
            f"<td>{least:,} (trial {button(few)})</td><td>{most:,} (trial {button(many)})</td></tr>"
        )
    head = '<th class="text">true class</th><th class="text">taken for</th><th>of the true class</th>'
    head += "" if knee is None else "<th>knee</th>"
    head += "<th>mean of the front</th><th>fewest</th><th>most</th>"
    some = "" if len(whole.mistakes) == len(listed) else f" {len(listed)} of {len(whole.mistakes):,} are listed."
    return (
        f'<h3>The most frequent mistakes</h3><p class="note">By how often the front makes them in all.{some}</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _count(counted: tuple[int, Point]) -> int:
    return counted[0]


def figures(data: ReportData) -> dict[str, Any]:
    """Return data and layout of the figure by its place in the page; nothing where there is none."""
    known = _known(data)
    if not known:
        return {}
    shown = _shown(data, together(told for _, told in known))
    knee = next((i for i, (point, _) in enumerate(known) if data.knee and point.number == data.knee.number), 0)
    drawn = [_drawn(told, shown) for _, told in known]
    names = [escape(name) for name in short_names(shown, data.beyond.classes, _LONGEST)]
    trace = {
        **{name: values[0] for name, values in drawn[knee].items()},
        "type": "heatmap",
        "x": names,
        "y": names,
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "#ffffff"], [0.1, "#deebf7"], [0.5, "#6baed6"], [1, "#08306b"]],
        "xgap": 1,
        "ygap": 1,
        "texttemplate": "%{text}" if len(shown) <= _COUNTED else "",
        "hovertemplate": "%{y} taken for %{x}: %{customdata}<extra></extra>",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"color": INK}},
        "colorbar": {
            "title": {"text": "share of the true class", "side": "right"},
            "tickvals": [math.sqrt(share) for share in _SHARES],
            "ticktext": [f"{100 * share:.0f} %" for share in _SHARES],
            "thickness": 14,
            "outlinewidth": 0,
        },
    }
    axis = {"type": "category", "dtick": 1, "showgrid": False, "ticks": "", "constrain": "domain", "automargin": True}
    layout = {
        "xaxis": {**axis, "title": {"text": "taken for"}},
        "yaxis": {**axis, "title": {"text": "true class"}, "autorange": "reversed", "scaleanchor": "x"},
        "font": {**FONT, "size": 13 if len(shown) <= 12 else 11},
        "plot_bgcolor": GRID,
        "margin": {"l": 66, "r": 14, "t": 46, "b": 54},
        "updatemenus": [_menu(data, known, drawn, knee)],
    }
    return {PLOT: {"data": [trace], "layout": layout}}


def _drawn(told: Confusion, shown: Sequence[int]) -> dict[str, Any]:
    """Return what differs between the members: colours, counts in the cells, and what a cell says when it is asked."""
    colours, counts, said = [], [], []
    for true, row in zip(shown, told.matrix(shown), strict=True):
        of = told.seen[true] or 1
        colours.append([round(math.sqrt(count / of), 3) for count in row])
        counts.append([str(count) if count else "" for count in row])
        said.append([f"{count:,} of {of:,} ({100 * count / of:.1f} %)" if count else "0" for count in row])
    return {"z": [colours], "text": [counts], "customdata": [said]}


def _menu(
    data: ReportData, known: Sequence[tuple[Point, Confusion]], drawn: Sequence[dict[str, Any]], active: int
) -> dict[str, Any]:
    """Return a menu of the members of the front."""
    buttons = []
    for (point, told), arrays in zip(known, drawn, strict=True):
        knee = ", the knee" if data.knee and point.number == data.knee.number else ""
        label = f"trial {point.number}{knee}: {told.right:,} of {told.total:,} right"
        buttons.append({"label": label, "method": "restyle", "args": [arrays]})
    place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "pad": {}}
    return {**place, "type": "dropdown", "active": active, "buttons": buttons, "font": {"size": 12}}
