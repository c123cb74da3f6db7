"""The tables of the page: where involution is used, the front in numbers, failures, configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from invnas.architecture import INVOLUTIONS, OPERATORS
from invnas.report.collect import Part, Point, ReportData
from invnas.report.drawing import operator_label
from invnas.report.units import DASH, LOOKS, NAMES, show


def usage(data: ReportData) -> str:
    """Return the operators of the front, one row per architecture, one column per part."""
    if not data.front:
        return empty("The search has no front yet.")
    names = list(dict.fromkeys(part.name for point in data.front for part in point.parts))
    if not names:
        return empty("The architectures of the front have no spatial operator that invnas knows.")
    head = "".join(f'<th class="text">{escape(name)}</th>' for name in names)
    rows = ""
    for point in data.front:
        parts = {part.name: part for part in point.parts}
        cells = "".join(_part(parts.get(name)) for name in names)
        values = f"<td>{show('macs', point.measurement.macs)}</td><td>{show('top1', point.measurement.top1)}</td>"
        rows += f'<tr data-trial="{point.number}"><td>{_button(point)}</td>{values}{cells}</tr>'
    means = "".join(f'<td class="part">{_mean(data.front, name)}</td>' for name in names)
    note = (
        "One row per architecture of the front, cheapest first. Each block is a spatial operator with its kernel size: "
        '<span class="chip convolution">3</span> convolution, <span class="chip involution">7</span> involution. '
        "The percentage, and the depth of the tint, is the share of involution."
    )
    return (
        f'<p class="note">{note}</p><div class="scroll"><table class="usage"><thead><tr><th>trial</th><th>FLOPs</th>'
        f"<th>top-1</th>{head}</tr></thead><tbody>{rows}</tbody>"
        f'<tfoot><tr><td colspan="3">mean share</td>{means}</tr></tfoot></table></div>'
    )


def _part(part: Part | None) -> str:
    if part is None:
        return f'<td class="part">{DASH}</td>'
    chips = ""
    for operator in part.operators:
        kind = "involution" if isinstance(operator, INVOLUTIONS) else "convolution"
        known = isinstance(operator, OPERATORS)
        text = str(operator.kernel_size) if known else type(operator).__name__
        title = escape(operator_label(operator))
        chips += f'<span class="chip {kind if known else ""}" title="{title}">{escape(text)}</span>'
    tint = f"background: rgba(196, 78, 0, {0.16 * part.share:.3f})"
    inside = f'<span class="share">{100 * part.share:.0f} %</span><span class="chips">{chips}</span>'
    return f'<td class="part" style="{tint}">{inside}</td>'


def _mean(points: Iterable[Point], name: str) -> str:
    shares = [part.share for point in points for part in point.parts if part.name == name]
    return f'<span class="share">{100 * sum(shares) / len(shares):.0f} %</span>'


def tables(data: ReportData) -> str:
    """Return the front in numbers, and all complete trials below it."""
    if not data.points:
        return empty("No trial is complete, so there is nothing to list.")
    tested = any(point.test_top1 is not None for point in data.front)
    note = "Sorted by FLOPs (multiply-adds of one image). Test accuracy was measured once, after the search."
    front = _table(data.front, data) if data.front else empty("The search has no complete trial.")
    everything = (
        f"<details><summary>Complete trials, all {len(data.points)}</summary>{_table(data.points, data)}</details>"
    )
    return f'<p class="note">{note if tested else note.split(". ")[0] + "."}</p>{front}{everything}'


def _table(points: Iterable[Point], data: ReportData) -> str:
    columns: dict[str, Any] = {"test top-1": lambda point: show("top1", point.test_top1)}
    columns["top-1"] = lambda point: show("top1", point.measurement.top1)
    columns["top-5"] = lambda point: show("top1", point.measurement.top5)
    for name in ("macs", "parameters", "activation_bytes", "latency_ms"):
        columns[NAMES[name]] = lambda point, name=name: show(name, getattr(point.measurement, name))
    ordered = sorted(points, key=lambda point: (point.measurement.macs, point.number))
    columns = {name: cell for name, cell in columns.items() if any(cell(point) != DASH for point in ordered)}
    head = "".join(f"<th>{name}</th>" for name in columns)
    baseline = any(point.trial.baseline for point in ordered)
    rows = ""
    for point in ordered:
        cells = "".join(f"<td>{escape(cell(point))}</td>" for cell in columns.values())
        origin = f'<td class="text">{"random baseline" if point.trial.baseline else "search"}</td>' if baseline else ""
        knee = " (knee)" if data.knee and point.number == data.knee.number else ""
        kind = f'<td class="text"><span class="kind {point.kind}">{LOOKS[point.kind].name}</span>{knee}</td>'
        rows += f'<tr data-trial="{point.number}"><td>{_button(point)}</td>{kind}{cells}{origin}</tr>'
    origin = '<th class="text">found by</th>' if baseline else ""
    return (
        '<div class="scroll"><table><thead><tr><th>trial</th><th class="text">operators</th>'
        f"{head}{origin}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _button(point: Point) -> str:
    return f'<button type="button" class="trial" data-trial="{point.number}">{point.number}</button>'


def failed(data: ReportData) -> str:
    """Return the failed trials with their reasons."""
    if not data.failed:
        return '<p class="note">No trial failed.</p>'
    rows = "".join(
        f'<tr><td>{trial.number}</td><td class="text">{"random baseline" if trial.baseline else "search"}</td>'
        f'<td class="text long">{escape(trial.reason)}</td></tr>'
        for trial in data.failed
    )
    head = '<th>trial</th><th class="text">found by</th><th class="text">reason</th>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def configuration(data: ReportData) -> str:
    """Return the experiment, the versions and the hardware."""
    settings = dict(_flat(data.experiment.to_dict()))
    ran = {**data.environment, "operator backend that ran": "; ".join(data.backends) or "none"}
    return (
        f'<div class="two"><div><h3>Experiment</h3>{_pairs(settings)}</div>'
        f"<div><h3>Versions and hardware</h3>{_pairs(ran)}</div></div>"
    )


def _pairs(values: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><td class="text">{escape(name)}</td><td class="text">{escape(value)}</td></tr>'
        for name, value in values.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{prefix}{name}", "none" if value is None or value == {} else shown


def empty(sentence: str) -> str:
    """Return a sentence in the place of something there is nothing of."""
    return f'<p class="empty">{escape(sentence)}</p>'
