"""The interactive figures of the page, as the plain data plotly.js draws."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from invnas.measurement import OBJECTIVES
from invnas.report.collect import Point, ReportData
from invnas.report.drawing import summary
from invnas.report.units import AXES, GRID, INK, LOOKS, SOFT, is_log, limits, show, tick_text, ticks

_FONT = {
    "family": "system-ui, 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif",
    "size": 13,
    "color": INK,
}


def figures(data: ReportData) -> dict[str, Any]:
    """Return data and layout of each figure by the id of its place in the page."""
    if not data.points:
        return {}
    panels = {f"plot-{i}": _panel(data, pair) for i, pair in enumerate(data.panels)}
    return {**panels, "plot-hypervolume": _hypervolume(data)}


def at(point: Point, pair: tuple[str, str]) -> list[float]:
    """Return where a point stands in a panel: accuracy in per cent, costs as they are."""
    return [100 * point.value(name) if name == "top1" else point.value(name) for name in pair]


def _panel(data: ReportData, pair: tuple[str, str]) -> dict[str, Any]:
    traces = [_line(data, pair, baseline=True)] if data.baseline_front else []
    traces += [_line(data, pair, baseline=False)] if data.front else []
    for baseline in (True, False):
        for kind in LOOKS:
            traces += _markers([p for p in data.points if p.kind == kind and p.trial.baseline == baseline], pair, kind)
    ring = {"symbol": "circle-open", "size": 21, "color": INK, "line": {"width": 2}}
    traces.append({"x": [], "y": [], "mode": "markers", "marker": ring, "hoverinfo": "skip"})
    layout = _layout(_axis(data, pair[0]), _axis(data, pair[1]))
    if data.knee:
        layout["annotations"] = [_knee(data, data.knee, pair)]
    return {"data": traces, "layout": layout}


def _line(data: ReportData, pair: tuple[str, str], baseline: bool) -> dict[str, Any]:
    x, y = zip(*(at(point, pair) for point in data.steps(pair, baseline)), strict=True)
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "name": "front of the random baseline" if baseline else "front of the search",
        "line": {
            "shape": "hv",
            "width": 1.6,
            "color": SOFT if baseline else INK,
            "dash": "dash" if baseline else "solid",
        },
        "hoverinfo": "skip",
    }


def _markers(points: list[Point], pair: tuple[str, str], kind: str) -> list[dict[str, Any]]:
    if not points:
        return []
    look, baseline = LOOKS[kind], points[0].trial.baseline
    # The front last, so that it lies on top.
    points = sorted(points, key=lambda point: point.on_front)
    x, y = zip(*(at(point, pair) for point in points), strict=True)
    marker = {
        "symbol": look.plotly + ("-open" if baseline else ""),
        "color": look.colour,
        "size": [look.size * (11 if point.on_front and not baseline else 8) for point in points],
        "opacity": [(0.7 if baseline else 1.0) if point.on_front else 0.33 for point in points],
        "line": {"width": 1.2, "color": look.colour if baseline else "#ffffff"},
    }
    trace = {
        "x": x,
        "y": y,
        "mode": "markers",
        "name": look.name + (" (baseline)" if baseline else ""),
        "marker": marker,
        "customdata": [point.number for point in points],
        "text": [_hover(point) for point in points],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "bordercolor": look.colour, "font": {"color": INK}},
    }
    return [trace]


def _hover(point: Point) -> str:
    measured = point.measurement
    test = f" (test {show('top1', point.test_top1)})" if point.test_top1 is not None else ""
    latency = f", {show('latency_ms', measured.latency_ms)}" if measured.latency_ms is not None else ""
    lines = [
        f"<b>trial {point.number}</b>, {LOOKS[point.kind].name}"
        + (", random baseline" if point.trial.baseline else ""),
        f"top-1 {show('top1', measured.top1)}{test}",
        f"{show('macs', measured.macs)} multiply-adds, {show('parameters', measured.parameters)} parameters{latency}",
        *(escape(line if len(line) < 72 else line[:71] + "…") for line in summary(point.trial.architecture)[:6]),
    ]
    return "<br>".join(lines)


def knee_offset(data: ReportData, point: Point, pair: tuple[str, str]) -> tuple[int, int]:
    """Return pixels (right, up) from the knee to its label: to the corner no trial reached, inside the frame."""
    left, below = (_share(data, point, name) for name in pair)
    up = 1 if OBJECTIVES[pair[1]] == "maximize" else -1
    room = 1 - below if up > 0 else below
    if left > 0.25:
        return -40, (34 * up if room > 0.15 else 0)
    # Never straight to the right: there the front goes on.
    return (4, 64 * up) if room > 0.25 else (14, 30 * up)


def _share(data: ReportData, point: Point, objective: str) -> float:
    """Return where a point stands on an axis, 0 to 1."""
    scale = 100 if objective == "top1" else 1
    low, high = limits([scale * other.value(objective) for other in data.points], objective)
    value = scale * point.value(objective)
    if is_log(objective):
        low, high, value = (math.log10(max(number, 1e-3)) for number in (low, high, value))
    return (value - low) / (high - low)


def _knee(data: ReportData, point: Point, pair: tuple[str, str]) -> dict[str, Any]:
    x, y = at(point, pair)
    right, up = knee_offset(data, point, pair)
    return {
        "x": math.log10(x) if is_log(pair[0]) and x > 0 else x,
        "y": math.log10(y) if is_log(pair[1]) and y > 0 else y,
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


def _axis(data: ReportData, objective: str) -> dict[str, Any]:
    scale = 100 if objective == "top1" else 1
    low, high = limits([scale * point.value(objective) for point in data.points], objective)
    style = {
        "title": {"text": AXES[objective]},
        "gridcolor": GRID,
        "linecolor": SOFT,
        "ticks": "outside",
        "tickcolor": SOFT,
        "zeroline": False,
    }
    if not is_log(objective):
        return {**style, "range": [low, high]}
    values = ticks(low, high)
    text = [tick_text(objective, value) for value in values]
    bounds = [math.log10(low), math.log10(high)]
    return {**style, "type": "log", "range": bounds, "tickvals": values, "ticktext": text}


def _layout(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "xaxis": x,
        "yaxis": y,
        "font": _FONT,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 66, "r": 14, "t": 30, "b": 54},
        "hovermode": "closest",
        "showlegend": False,
        "dragmode": "zoom",
    }


def _hypervolume(data: ReportData) -> dict[str, Any]:
    traces = []
    for name, curve, colour, dash in (
        ("random baseline", data.baseline_hypervolume, SOFT, "dash"),
        ("search", data.hypervolume, INK, "solid"),
    ):
        if curve:
            trace = {
                "x": list(range(1, len(curve) + 1)),
                "y": [100 * share for share in curve],
                "name": name,
                "mode": "lines" if len(curve) > 1 else "markers",
                "line": {"shape": "hv", "width": 2, "color": colour, "dash": dash},
                "hovertemplate": f"{name}, after %{{x}} trials: %{{y:.1f}} %<extra></extra>",
            }
            traces.append(trace)
    shares = [100 * share for share in (*data.hypervolume, *data.baseline_hypervolume)]
    longest = max(len(data.hypervolume), len(data.baseline_hypervolume))
    style = {"gridcolor": GRID, "linecolor": SOFT, "ticks": "outside", "tickcolor": SOFT, "zeroline": False}
    layout = _layout(
        {
            **style,
            "title": {"text": "Finished trials"},
            "tickformat": "d",
            **({"dtick": 1} if longest < 13 else {}),
        },
        {**style, "title": {"text": "Hypervolume (% of the box)"}, "range": limits(shares, "top1")},
    )
    return {"data": traces, "layout": {**layout, "hovermode": "x"}}
