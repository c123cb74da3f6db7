"""The interactive figures of the page, as the plain data plotly.js draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from invnas.measurement import PHASES, Phase
from invnas.objective import COSTS, HYPERVOLUME, Objective
from invnas.report import html_confusion, learning_rate
from invnas.report.collect import ReportData
from invnas.report.drawing import summary
from invnas.report.places import OVER, at, band, knee_offset, line, spanned
from invnas.report.point import Point
from invnas.report.references import name_of
from invnas.report.units import FONT, GRID, INK, LOOKS, SOFT, STROKES, limits, ticks

#: What of a marker says that nobody chose the architecture: hollow, or hollow with a dot.
_HOLLOW: Mapping[Phase, str] = {"random": "-open", "branch": "-open-dot"}


def figures(data: ReportData) -> dict[str, Any]:
    """Return data and layout of each figure by the id of its place in the page."""
    rates = {learning_rate.PLOT: learning_rate.figure(data.beyond.rates)} if data.beyond.rates else {}
    if not data.points:
        return rates
    panels = {f"plot-{i}": _panel(data, pair) for i, pair in enumerate(data.panels)}
    return {**panels, "plot-hypervolume": _hypervolume(data), **html_confusion.figures(data), **rates}


def _panel(data: ReportData, pair: tuple[Objective, Objective]) -> dict[str, Any]:
    traces = [_line(data, pair, course.phase) for course in data.baselines if course.front]
    traces += [*_band(data, pair), _line(data, pair, "search")] if data.front else []
    traces += [_line(data, pair, "search", observed=True)] if data.front and data.belief.known else []
    for phase in STROKES:
        for kind in LOOKS:
            traces += _markers(data, [p for p in data.shown if p.kind == kind and p.trial.phase == phase], pair)
    traces += [_references(data, pair)] if data.references else []
    ring = {"symbol": "circle-open", "size": 21, "color": INK, "line": {"width": 2}}
    traces.append({"x": [], "y": [], "mode": "markers", "marker": ring, "hoverinfo": "skip"})
    layout = _layout(_axis(data, pair[0]), _axis(data, pair[1]))
    if data.knee:
        layout["annotations"] = [_knee(data, data.knee, pair)]
    return {"data": traces, "layout": layout}


def _line(data: ReportData, pair: tuple[Objective, Objective], phase: Phase, observed: bool = False) -> dict[str, Any]:
    x, y = zip(*line(data, pair, phase, observed), strict=True)
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "name": "observed front" if observed else f"front of the {PHASES[phase]}",
        "line": {
            "shape": "hv",
            "width": 1 if observed else 1.6,
            "color": SOFT if observed else STROKES[phase].colour,
            "dash": "dot" if observed else STROKES[phase].plotly,
        },
        "hoverinfo": "skip",
    }


def _band(data: ReportData, pair: tuple[Objective, Objective]) -> list[dict[str, Any]]:
    x, low, high = band(data, pair)
    shared = {"x": x, "mode": "lines", "line": {"shape": "hv", "width": 0}, "hoverinfo": "skip"}
    name = "95 % band of the front"
    fill = {"fill": "tonexty", "fillcolor": "rgba(32,33,36,0.09)"}
    return [{**shared, "y": low, "name": name}, {**shared, **fill, "y": high, "name": name}] if x else []


def _markers(data: ReportData, points: list[Point], pair: tuple[Objective, Objective]) -> list[dict[str, Any]]:
    if not points:
        return []
    look, baseline = LOOKS[points[0].kind], points[0].trial.baseline
    # The front last, so that it lies on top.
    points = sorted(points, key=lambda point: point.on_front)
    x, y = zip(*(at(point, pair) for point in points), strict=True)
    marker = {
        "symbol": look.plotly + _HOLLOW.get(points[0].trial.phase, ""),
        "color": look.colour,
        "size": [look.size * (11 if point.on_front and not baseline else 8) for point in points],
        "opacity": [(0.7 if baseline else 1.0) if point.on_front else 0.33 for point in points],
        "line": {"width": 1.2, "color": look.colour if baseline else "#ffffff"},
    }
    trace = {
        "x": x,
        "y": y,
        "mode": "markers",
        "name": look.name + (f" ({PHASES[points[0].trial.phase]})" if baseline else ""),
        "marker": marker,
        "customdata": [point.number for point in points],
        "text": [_hover(data, point) for point in points],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "bordercolor": look.colour, "font": {"color": INK}},
    }
    return [trace]


def _references(data: ReportData, pair: tuple[Objective, Objective]) -> dict[str, Any]:
    x, y = zip(*(at(point, pair) for point in data.references), strict=True)
    colours = [LOOKS[point.kind].colour for point in data.references]
    return {
        "x": x,
        "y": y,
        "mode": "markers",
        "name": "reference",
        "marker": {"symbol": "star-open", "size": 13, "color": colours, "line": {"width": 1.6}},
        "customdata": [point.number for point in data.references],
        "text": [_hover(data, point) for point in data.references],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "bordercolor": colours, "font": {"color": INK}},
    }


def _hover(data: ReportData, point: Point) -> str:
    main = data.headline[0]
    test = f" (test {main.show(point.tested[main.name])})" if main.name in point.tested else ""
    costs = ", ".join(f"{cost.label} {point.shown(cost)}" for cost in COSTS if cost.name in point.trial.cost)
    lines = [
        f"<b>trial {point.number}</b>, {LOOKS[point.kind].name}"
        + (f", {PHASES[point.trial.phase]}" if point.trial.baseline else "")
        + (f", reference: {name_of(point.trial.architecture)}" if point.trial.phase == "reference" else ""),
        f"{main.label} {_told_of(point, main)}{test}",
        costs,
        *(escape(line if len(line) < 72 else line[:71] + "…") for line in summary(point.trial.architecture)[:6]),
    ]
    return "<br>".join(lines)


def _told_of(point: Point, objective: Objective) -> str:
    if objective.name not in point.believed:
        return point.shown(objective)
    low, high = (objective.show(end) for end in point.ends(objective))
    seeds = "" if point.seeds == 1 else f" (one of {point.seeds} seeds)"
    said = f"believed {objective.show(point.standing(objective))} ({low} to {high})"
    return f"{said}, measured {point.shown(objective)}{seeds}"


def _knee(data: ReportData, point: Point, pair: tuple[Objective, Objective]) -> dict[str, Any]:
    x, y = at(point, pair)
    right, up = knee_offset(data, point, pair)
    return {
        "x": math.log10(x) if pair[0].log and x > 0 else x,
        "y": math.log10(y) if pair[1].log and y > 0 else y,
        "text": f"knee: trial {point.number}",
        "bgcolor": "rgba(255,255,255,0.8)",
        "ax": right,
        "ay": -up,
        "xanchor": "right" if right < 0 else "left",
        "arrowcolor": SOFT,
        "arrowwidth": 1,
        "arrowhead": 0,
        "standoff": 11,
    }


def _axis(data: ReportData, objective: Objective) -> dict[str, Any]:
    low, high = limits(spanned(data, objective), objective)
    style = {
        "title": {"text": objective.axis},
        "gridcolor": GRID,
        "linecolor": SOFT,
        "ticks": "outside",
        "tickcolor": SOFT,
        "zeroline": False,
    }
    if not objective.log:
        return {**style, "range": [low, high]}
    values = ticks(low, high)
    text = [objective.tick(value) for value in values]
    bounds = [math.log10(low), math.log10(high)]
    return {**style, "type": "log", "range": bounds, "tickvals": values, "ticktext": text}


def _layout(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "xaxis": x,
        "yaxis": y,
        "font": FONT,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 66, "r": 14, "t": 30, "b": 54},
        "hovermode": "closest",
        "showlegend": False,
        "dragmode": "zoom",
    }


def _corners(curve: Sequence[float]) -> list[int]:
    """Return where a stepped line of thousands of points changes, and its ends."""
    if len(curve) <= 1_000:
        return list(range(len(curve)))
    last = len(curve) - 1
    return [i for i, share in enumerate(curve) if i in (0, last) or share != curve[i - 1]]


def _hypervolume(data: ReportData) -> dict[str, Any]:
    traces: list[dict[str, Any]] = []
    x: dict[str, list[list[int]]] = {over: [] for over in OVER}
    for course in data.curves:
        name, curve, epochs = course.name, course.hypervolume, course.epochs
        corners = _corners(curve)
        x["trials"].append([i + 1 for i in corners])
        x["epochs"].append([epochs[i] for i in corners])
        stroke = STROKES[course.phase]
        trace = {
            "x": x["trials"][-1],
            "y": [curve[i] for i in corners],
            "name": name,
            "mode": "lines" if len(curve) > 1 else "markers",
            "line": {"shape": "hv", "width": 2, "color": stroke.colour, "dash": stroke.plotly},
            "hovertemplate": _told(name, "trials"),
        }
        traces.append(trace)
    shares = [share for course in data.curves for share in course.hypervolume]
    style = {"gridcolor": GRID, "linecolor": SOFT, "ticks": "outside", "tickcolor": SOFT, "zeroline": False}
    few = {"dtick": 1} if max(column[-1] for column in x["trials"]) < 13 else {}
    layout = _layout(
        {**style, "title": {"text": OVER["trials"]}, "tickformat": "d", **few},
        {
            **style,
            "title": {"text": "Hypervolume (share of its box)"},
            "range": limits(shares, HYPERVOLUME),
        },
    )
    if data.epochs_known:
        layout["updatemenus"] = [_switch(data, x, few)]
        layout["margin"] = {**layout["margin"], "t": 46}
    return {"data": traces, "layout": {**layout, "hovermode": "x"}}


def _told(name: str, over: str) -> str:
    return f"{name}, after %{{x}} {over}: %{{y:.3f}}<extra></extra>"


def _switch(data: ReportData, x: Mapping[str, list[list[int]]], few: Mapping[str, int]) -> dict[str, Any]:
    """Return two buttons that draw the shares over trials or over epochs."""
    buttons = []
    for over, title in OVER.items():
        told = [_told(course.name, over) for course in data.curves]
        ticks = few.get("dtick") if over == "trials" else None
        axis = {"xaxis.title.text": title, "xaxis.dtick": ticks, "xaxis.autorange": True}
        buttons.append(
            {"label": f"over {over}", "method": "update", "args": [{"x": x[over], "hovertemplate": told}, axis]}
        )
    # To the left: plotly's own buttons lie to the right.
    place = {"x": 0, "xanchor": "left", "y": 1.03, "yanchor": "bottom", "pad": {}}
    return {**place, "type": "buttons", "direction": "right", "buttons": buttons, "font": {"size": 12}}
