"""The table of the page that says what the front reaches class by class."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from invnas.objective import DASH, Objective
from invnas.report.collect import ReportData
from invnas.report.html_tables import button
from invnas.report.point import Point

#: Classes that the table shows: of more, those that are worst on average over the front.
SHOWN = 20


def classes(data: ReportData) -> str:
    """Return a section with one row for each member of the front; nothing where no class was told apart."""
    known = [point for point in data.front if point.measurement.by_class]
    if not known:
        return ""
    axis, number = data.learned[0], max(len(point.measurement.by_class) for point in known)
    means = [_mean(known, i) for i in range(number)]
    shown = _worst(means, axis)
    rows = "".join(_row(point, shown, axis) for point in known)
    head = "".join(f"<th>{escape(data.beyond.class_name(i))}</th>" for i in shown)
    foot = "".join(f"<td>{axis.show(means[i])}</td>" for i in shown)
    return (
        f'<section id="classes">\n<h2>The front class by class</h2>\n<p class="note">{escape(_note(data, number))}</p>'
        f'<div class="scroll"><table><thead><tr><th>trial</th><th>{escape(axis.label)}</th>{head}</tr></thead>'
        f'<tbody>{rows}</tbody><tfoot><tr><td colspan="2">mean of the front</td>{foot}</tr></tfoot></table></div>\n'
        "</section>"
    )


def _mean(points: Sequence[Point], place: int) -> float | None:
    found = [point.measurement.by_class[place] for point in points if place < len(point.measurement.by_class)]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known else None


def _worst(means: Sequence[float | None], axis: Objective) -> list[int]:
    """Return the classes that are shown, in their own order."""
    known = [(axis.sign * value, i) for i, value in enumerate(means) if value is not None]
    return sorted(i for _, i in sorted(known)[:SHOWN]) if len(means) > SHOWN else list(range(len(means)))


def _row(point: Point, shown: Sequence[int], axis: Objective) -> str:
    found = point.measurement.by_class
    values = [found[i] if i < len(found) else None for i in shown]
    known = [value for value in values if value is not None]
    worst = min(known, key=lambda value: axis.sign * value, default=None)
    cells = "".join(
        f"<td>{DASH if value is None else f'<b>{axis.show(value)}</b>' if value == worst else axis.show(value)}</td>"
        for value in values
    )
    return f'<tr data-trial="{point.number}"><td>{button(point)}</td><td>{point.shown(axis)}</td>{cells}</tr>'


def _note(data: ReportData, number: int) -> str:
    images, some = data.beyond.images, "" if number <= SHOWN else f" Of {number} classes the {SHOWN} worst are shown."
    each = ""
    if images and data.experiment.what.objectives[0].of_images:  # an image is of one class; a mask holds several
        each = f" A class has about {max(round(images / number), 1):,} of the {images:,} images."
    return (
        f"{data.learned[0].title}, as a single training measured it: one row for each architecture of the front, "
        f"cheapest first, one column for each class, its worst in bold.{each}{some}"
    )
