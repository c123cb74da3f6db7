"""The tables of the page: where involution is used, the front in numbers, what was stopped, failures, configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from html import escape
from typing import Any

from invnas.blocks import BasicBlock
from invnas.measurement import PHASES
from invnas.objective import COSTS, DASH, Objective
from invnas.operators import OPERATORS, kind_of
from invnas.report.collect import ReportData
from invnas.report.drawing import operator_label
from invnas.report.point import Point
from invnas.report.references import name_of
from invnas.report.sections import Section
from invnas.report.units import LOOKS

#: Stopped and failed trials that the page lists; trials.csv has all.
_LISTED = 100


def usage(data: ReportData) -> str:
    """Return the operators of the front, one row per architecture, one column per part."""
    if not data.front:
        return empty("The search has no front yet.")
    learned, spent = data.headline
    names = list(dict.fromkeys(part.name for point in data.front for part in point.parts))
    if not names:
        return empty("The architectures of the front have no spatial operator that invnas knows.")
    head = "".join(f'<th class="text">{escape(name)}</th>' for name in names)
    rows = ""
    for point in data.front:
        parts = {part.name: part for part in point.parts}
        cells = "".join(_part(parts.get(name)) for name in names)
        values = f"<td>{point.shown(spent)}</td><td>{learned.show(point.standing(learned))}</td>"
        rows += f'<tr data-trial="{point.number}"><td>{button(point)}</td>{values}{cells}</tr>'
    means = "".join(f'<td class="part">{_mean(data.front, name)}</td>' for name in names)
    foot = f'<tr><td colspan="3">mean share on the front</td>{means}</tr>{_prior(data, names)}'
    note = (
        "One row per architecture of the front, cheapest first. Each block is a spatial operator with its kernel size: "
        '<span class="chip convolution">3</span> convolution, <span class="chip involution">7</span> involution; '
        "a name is an operator of your own. "
        "The percentage, and the depth of the tint, is the share of involution. "
        "Below: what draws of the space hold that nobody chose; only a difference from them says something."
    )
    return (
        f'<p class="note">{note}</p><div class="scroll"><table class="usage"><thead><tr><th>trial</th>'
        f"<th>{spent.label}</th><th>{learned.label}</th>{head}</tr></thead><tbody>{rows}</tbody>"
        f"<tfoot>{foot}</tfoot></table></div>"
    )


def _prior(data: ReportData, names: Iterable[str]) -> str:
    prior, rows = data.beyond.prior, ""
    for i, what in enumerate(("drawn uniformly over architectures", "drawn uniformly over the options of each choice")):
        shares = [prior.get(name, (math.nan, math.nan))[i] for name in names]
        cells = "".join(
            f'<td class="part"><span class="share">{DASH if math.isnan(share) else f"{100 * share:.0f} %"}</span></td>'
            for share in shares
        )
        rows += f'<tr><td colspan="3">{what}</td>{cells}</tr>' if prior else ""
    return rows


def _part(part: Section | None) -> str:
    if part is None:
        return f'<td class="part">{DASH}</td>'
    chips = ""
    for operator in part.operators:
        kind, known = kind_of(operator), isinstance(operator, (*OPERATORS, BasicBlock))
        text = str(operator.kernel_size) if known else type(operator).__name__
        title = escape(operator_label(operator))
        chips += f'<span class="chip {kind}" title="{title}">{escape(text)}</span>'
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
    tested = any(point.tested for point in data.front)
    note = "Sorted by FLOPs (multiply-adds of one image). Test accuracy was measured once, after the search."
    front = _table(data.front, data) if data.front else empty("The search has no complete trial.")
    all_of_them = len(data.shown) == len(data.points)
    which = f"all {len(data.points)}" if all_of_them else f"{len(data.shown)} of {len(data.points)}"
    rest = "" if all_of_them else '<p class="note">The fronts and an even sample; all are in trials.csv.</p>'
    everything = f"<details><summary>Complete trials, {which}</summary>{rest}{_table(data.shown, data)}</details>"
    compared = f"<h3>References</h3>{_references(data)}" if data.references else ""
    return f'<p class="note">{note if tested else note.split(". ")[0] + "."}</p>{front}{compared}{everything}'


def _references(data: ReportData) -> str:
    beliefs, every = data.belief.objectives, (*data.learned, *COSTS)
    shown = [axis for axis in every if any(point.shown(axis) != DASH for point in data.references)]
    rows = ""
    for point in sorted(data.references, key=lambda point: (point.trial.cost.macs, point.number)):
        cells = "".join(f"<td>{believed(axis, point)}</td>" for axis in beliefs)
        cells += "".join(f"<td>{point.shown(axis)}</td>" for axis in shown) + f"<td>{point.seeds}</td>"
        name = f'<td class="text">{escape(name_of(point.trial.architecture))}</td>'
        rows += f'<tr data-trial="{point.number}"><td>{button(point)}</td>{name}{cells}</tr>'
    head = "".join(f"<th>{axis.label} believed</th>" for axis in beliefs)
    head += "".join(f"<th>{axis.label}</th>" for axis in shown) + "<th>seeds</th>"
    note = "Trained by the same recipe and seed, shown to no sampler, on no front; invnas confirm adds seeds."
    return (
        f'<p class="note">{note}</p><div class="scroll">'
        f'<table><thead><tr><th>trial</th><th class="text">network</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _table(points: Iterable[Point], data: ReportData) -> str:
    columns: dict[str, Callable[[Point], str]] = {
        **{f"{axis.label} believed": partial(believed, axis) for axis in data.belief.objectives},
        **{f"test {axis.label}": partial(_tested, axis) for axis in data.learned},
        **{axis.label: partial(_shown, axis) for axis in (*data.learned, *COSTS)},
        "inherited": _inherited,
        "seeds": lambda point: str(point.seeds),
    }
    ordered = sorted(points, key=lambda point: (point.trial.cost.macs, point.number))
    columns = {name: cell for name, cell in columns.items() if any(cell(point) != DASH for point in ordered)}
    head = "".join(f"<th>{name}</th>" for name in columns)
    baseline = any(point.trial.baseline for point in ordered)
    rows = ""
    for point in ordered:
        cells = "".join(f"<td>{escape(cell(point))}</td>" for cell in columns.values())
        origin = f'<td class="text">{PHASES[point.trial.phase]}</td>' if baseline else ""
        knee = " (knee)" if data.knee and point.number == data.knee.number else ""
        kind = f'<td class="text"><span class="kind {point.kind}">{LOOKS[point.kind].name}</span>{knee}</td>'
        rows += f'<tr data-trial="{point.number}"><td>{button(point)}</td>{kind}{cells}{origin}</tr>'
    origin = '<th class="text">found by</th>' if baseline else ""
    return (
        '<div class="scroll"><table><thead><tr><th>trial</th><th class="text">operators</th>'
        f"{head}{origin}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def believed(axis: Objective, point: Point) -> str:
    """Return what is believed of a point with its band, a dash where that is what was measured."""
    if axis.name not in point.believed:
        return DASH
    low, high = (axis.show(end) for end in point.ends(axis))
    return f"{axis.show(point.standing(axis))} ({low} to {high})"


def _tested(axis: Objective, point: Point) -> str:
    return axis.show(point.tested.get(axis.name))


def _shown(axis: Objective, point: Point) -> str:
    return point.shown(axis)


def _inherited(point: Point) -> str:
    share = point.measurement.inherited
    return DASH if share is None else f"{100 * share:.0f} %"


def button(point: Point) -> str:
    """Return the number of a trial as what opens it in the panel."""
    return f'<button type="button" class="trial" data-trial="{point.number}">{point.number}</button>'


def stopped(data: ReportData) -> str:
    """Return the stopped trials with the budget they had, what they reached in it, and who continues them."""
    if not data.stopped:
        return '<p class="note">No trial was stopped early.</p>'
    shown = (*data.learned, data.headline[1])
    rows = ""
    for trial in data.stopped[:_LISTED]:
        assert trial.measurement is not None
        kind = trial.architecture.kind
        values = "".join(f"<td>{axis.show(trial.value(axis.name))}</td>" for axis in shown)
        by = data.continued.get(trial.number)
        rows += (
            f'<tr><td>{trial.number}</td><td class="text"><span class="kind {kind}">{LOOKS[kind].name}</span></td>'
            f"<td>{trial.measurement.epochs} of {trial.measurement.planned_epochs}</td>{values}"
            f'<td class="text">{DASH if by is None else f"trial {by.number} ({by.state})"}</td></tr>'
        )
    note = (
        "Ended early by the stopper. What stands here is what they had reached by then, so none of them is "
        "on a front; one that was continued goes on as a trial of its own."
    )
    columns = "".join(f"<th>{axis.label}</th>" for axis in shown)
    head = f'<th>trial</th><th class="text">operators</th><th>epochs</th>{columns}<th class="text">continued by</th>'
    return f'<p class="note">{note}</p>{_listed(head, rows, len(data.stopped))}'


def _listed(head: str, rows: str, number: int) -> str:
    more = number - _LISTED
    rest = f'<p class="note">The first {_LISTED}; {more} more are in trials.csv.</p>' if more > 0 else ""
    return f'{rest}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def failed(data: ReportData) -> str:
    """Return the failed trials with their reasons."""
    if not data.failed:
        return '<p class="note">No trial failed.</p>'
    rows = "".join(
        f'<tr><td>{trial.number}</td><td class="text">{PHASES[trial.phase]}</td>'
        f'<td class="text long">{escape(trial.reason)}</td></tr>'
        for trial in data.failed[:_LISTED]
    )
    head = '<th>trial</th><th class="text">found by</th><th class="text">reason</th>'
    return _listed(head, rows, len(data.failed))


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
