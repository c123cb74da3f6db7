"""The page: one HTML file that holds its style, its script, plotly.js and every drawing, and needs no network."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

from invnas.errors import MissingExtra
from invnas.features import chosen
from invnas.fixed_box import FIRST
from invnas.measurement import MAC_CONVENTION
from invnas.objective import HYPERVOLUME, Objective
from invnas.report import html_belief, html_classes, html_confusion, html_pictures, html_tables, learning_rate
from invnas.report.collect import ReportData
from invnas.report.drawing import drawing_of
from invnas.report.figures import figures
from invnas.report.panel import facts
from invnas.report.places import at
from invnas.report.point import Point
from invnas.report.references import verdict
from invnas.report.units import LOOKS, STROKES


def write(data: ReportData, folder: Path) -> Path:
    """Write index.html into a folder and return its path."""
    path = folder / "index.html"
    path.write_text(render(data), encoding="utf-8")
    return path


def render(data: ReportData) -> str:
    """Return the whole page.

    Raises:
        MissingExtra: If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingExtra("plotly", "report") from None
    resources = files("invnas.report")
    parts = {
        "title": escape(data.name),
        "css": (resources / "page.css").read_text(encoding="utf-8"),
        "js": (resources / "page.js").read_text(encoding="utf-8"),
        "plotly": get_plotlyjs(),
        "created": escape(data.created),
        "convention": escape(MAC_CONVENTION),
        "lead": _lead(data),
        "figures": _figures(data),
        "front_title": escape(_title(data)),
        "front": _front(data),
        "answers": html_belief.answers(data),
        "belief": html_belief.belief(data),
        "retrained": html_belief.retrained(data),
        "hypervolume": _hypervolume(data),
        "usage": html_tables.usage(data),
        "classes": html_classes.classes(data),
        "pictures": html_pictures.section(data),
        "confusion": html_confusion.section(data),
        "rate": learning_rate.section(data.beyond.rates),
        "table": html_tables.tables(data),
        "drawings": _drawings(data),
        "stopped": html_tables.stopped(data),
        "failed": html_tables.failed(data),
        "configuration": html_tables.configuration(data),
        "templates": _templates(data),
        "data": _data(data),
    }
    page = (resources / "page.html").read_text(encoding="utf-8")
    # One pass, so that text which happens to look like a marker stays text.
    return re.sub(r"<!--(\w+)-->", lambda match: parts[match[1]], page)


def _plain(objective: Objective) -> str:
    return objective.title.split(" (")[0].removesuffix(" on validation").removesuffix(" of one image")


def _title(data: ReportData) -> str:
    first = next((axis for axis in data.objectives if axis.source == "learned"), data.objectives[0])
    others = " and ".join(axis.label for axis in data.objectives if axis is not first)
    return f"{_plain(first)} versus {others}"


def _legend(data: ReportData, lines: Mapping[str, str], kinds: bool) -> str:
    """Return the key of a figure: a line (dashed, dotted or neither) and its name, then the kinds that occur."""
    items = [f'<span><i class="line {style}"></i>{name}</span>' for name, style in lines.items()]
    present = {point.kind for point in data.drawn} if kinds else set()
    items += [
        f'<span><b class="{kind}">{look.glyph}</b>{look.name}</span>' for kind, look in LOOKS.items() if kind in present
    ]
    if kinds:
        how = {"random": "<b>○</b>hollow", "branch": "<b>⊙</b>with a dot"}
        items += [f"<span>{how[course.phase]}: {course.name}</span>" for course in data.baselines if course.front]
    if kinds and data.references:
        items.append("<span><b>☆</b>star: reference architecture</span>")
    return f'<p class="legend">{"".join(items)}</p>'


def _lead(data: ReportData) -> str:
    experiment, search = data.experiment, [point for point in data.points if not point.trial.baseline]
    counts = [f"{len(search)} architecture{'' if len(search) == 1 else 's'} trained by the search"]
    drawn = Counter(point.trial.phase for point in data.points)
    counts += [f"{drawn[course.phase]} by the {course.name}" for course in data.baselines]
    continued = f", {len(data.continued)} of them continued" if data.continued else ""
    counts += [f"{len(data.stopped)} stopped early{continued}"] if data.stopped else []
    counts += [f"{len(data.references)} references"] if data.references else []
    counts += [f"{len(data.failed)} failed"] if data.failed else []
    counts += [f"{data.running} not finished"] if data.running else []
    return escape(
        f"Space {experiment.space}, images from {experiment.data.class_path}, sampler {experiment.sampler}, "
        f"seed {experiment.seed}. {', '.join(counts)}.{_sizes(data)}{_start(data)} Written {data.created}."
    )


def _sizes(data: ReportData) -> str:
    """Return how many images and seeds stand behind the numbers."""
    further = sum(len(values) > 1 for values in data.seeds.values())
    seeds = f"One seed each, {further} architectures with further ones." if further else "One seed each."
    sizes = data.beyond.sizes
    ended = f" The search was ended, {data.beyond.ended}." if data.beyond.ended else ""
    return f" {sizes[0].upper()}{sizes[1:]}. {seeds}{ended}" if sizes else f" {seeds}{ended}"


def _start(data: ReportData) -> str:
    """Return how much of the weights it started from a search has used."""
    shares = [100 * one for p in data.points if (one := p.measurement.inherited) is not None]
    if not shares:
        return ""
    return (
        f" Trainings started from the weights of {data.experiment.init_from}: their networks inherited "
        f"{min(shares):.0f} to {max(shares):.0f} % of their parameters, {sum(shares) / len(shares):.0f} % on average."
    )


def _figures(data: ReportData) -> str:
    shown: list[tuple[str, str]] = []
    if data.front and data.knee:
        learned, spent = data.headline
        best = max(data.front, key=lambda point: learned.sign * point.standing(learned))
        how = "believed" if learned in data.belief.objectives else "on validation"
        believed = ", believed" if data.belief.known else ""
        shown += [
            (f"best {learned.label} {how} (trial {best.number})", _with_band(best, learned)),
            (f"{learned.label} of the knee (trial {data.knee.number})", _with_band(data.knee, learned)),
            (f"{spent.label} of the knee", data.knee.shown(spent)),
            ("architectures on the front", str(len(data.front))),
            (f"hypervolume of the front{believed}", HYPERVOLUME.show(data.search.covered)),
        ]
        shown += [
            (f"that of the {course.name}{believed}", HYPERVOLUME.show(course.covered)) for course in data.baselines
        ]
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in shown)


def _with_band(point: Point, axis: Objective) -> str:
    low, high = point.ends(axis)
    half = (high - low) / 2
    if not half:
        return point.shown(axis)
    return (
        f"{axis.show(point.standing(axis))} ± {100 * half:.1f}"
        if axis.unit == "share"
        else (f"{axis.show(point.standing(axis))} ± {half:.2g}")
    )


def _front(data: ReportData) -> str:
    if not data.points:
        return html_tables.empty("No trial is complete, so there is no front to show.")
    lines = {"front of the search": ""} if data.front else {}
    lines |= {"observed front": "dotted"} if data.front and data.belief.known else {}
    lines |= {f"front of the {course.name}": STROKES[course.phase].css for course in data.baselines if course.front}
    plots = _legend(data, lines, kinds=True) + "".join(
        f'<h3>{escape(_plain(pair[1]))} versus {escape(pair[0].label)}</h3><div class="plot" id="plot-{i}"></div>'
        if len(data.panels) > 1
        else f'<div class="plot" id="plot-{i}"></div>'
        for i, pair in enumerate(data.panels)
    )
    single = " There is one architecture only." if len(data.points) == 1 else ""
    three = " Each line is the front of its two objectives alone; full colour marks the front of all three."
    sample = f" Of the others {len(data.shown)} of {len(data.points)} are drawn." if data.shown != data.points else ""
    believed = (
        "The front is that of what architectures are believed to reach on average over seeds, its band 95 % of that "
        "mean; dotted is the front by what single trainings measured, and pale points stand where they measured. "
        if data.belief.known
        else ""
    )
    note = (
        "Full colour: on the front. Pale: beaten by another architecture. Click a point to see its architecture. "
        f"{believed}Accuracy is that of the validation images.{three if len(data.panels) > 1 else ''}{single}{sample}"
    )
    return (
        f'{_verdict(data)}<p class="note">{escape(note)} {escape(MAC_CONVENTION)}.</p>'
        f'<div class="split"><div>{plots}</div>'
        '<aside id="panel" aria-live="polite"><p class="note">Click a point to see its architecture.</p></aside></div>'
    )


def _verdict(data: ReportData) -> str:
    said = verdict(data)
    return f'<p class="verdict"><strong>{escape(said)}</strong></p>' if said else ""


def _hypervolume(data: ReportData) -> str:
    if not data.points:
        return html_tables.empty("No trial is complete, so nothing is covered yet.")
    pairs = zip(data.objectives, data.box.worst, data.box.best, strict=True)
    edges = "; ".join(f"{axis.label} from {axis.show(worst)} to {axis.show(best)}" for axis, worst, best in pairs)
    believed = (
        f" As believed now, the front of the search covers {HYPERVOLUME.show(data.search.covered)}."
        if data.belief.known
        else ""
    )
    others = " and ".join(axis.label for axis in data.unfixed)
    fixed = (
        f"The ends of {others} are those of the first {FIRST} complete trials, since nothing else is known of them: "
        "another run has another box. "
        if others
        else "It is the same for all runs of this question on this space, however long they are. "
    )
    baseline = "" if data.baselines else " This run has no random baseline to compare with."
    note = (
        "Share of a box that the front dominates after each trial, by what single trainings measured, costs on a "
        f"logarithm. It is no accuracy.{believed} The box goes from worst to best: {edges}; no trial moves it. {fixed}"
        "A failed or stopped trial counts as a trial and adds nothing; its epochs count, and one that continues a "
        f"stopped one counts the epochs it adds.{baseline}"
    )
    lines = {"search": ""} if data.search.hypervolume else {}
    lines |= {course.name: STROKES[course.phase].css for course in data.baselines if course.hypervolume}
    legend = _legend(data, lines, kinds=False)
    return f'<p class="note">{escape(note)}</p>{legend}<div class="plot low" id="plot-hypervolume"></div>'


def _drawings(data: ReportData) -> str:
    if not data.front:
        return html_tables.empty("The search has no front yet.")
    shown, (learned, spent) = "", data.headline
    for point in data.front:
        values = f"{learned.show(point.standing(learned))}, {spent.label} {point.shown(spent)}"
        shown += (
            f'<figure id="drawing-{point.number}"><h3>Trial {point.number}</h3><figcaption>{LOOKS[point.kind].name}, '
            f"{values}</figcaption>{drawing_of(point.trial.architecture)}</figure>"
        )
    note = (
        "Cheapest first. inv 7×7 g8 r2 is an involution with a 7×7 kernel, 8 channels per group and reduction ratio 2; "
        "conv 3×3 g4 is a convolution with 4 groups; 1×1 → 16 is a pointwise convolution to 16 channels; "
        "the first block of a stage carries its stride; × 3 stands for three equal blocks."
    )
    return f'<p class="note">{escape(note)}</p><div class="gallery">{shown}</div>'


def _templates(data: ReportData) -> str:
    on_page = {point.number for point in data.front}
    hidden = (point for point in (*data.shown, *data.references) if point.number not in on_page)
    return "".join(f'<template id="drawing-{p.number}">{drawing_of(p.trial.architecture)}</template>' for p in hidden)


def _data(data: ReportData) -> str:
    trials = {
        point.number: {
            "title": f"Trial {point.number}: {LOOKS[point.kind].name}",
            "facts": facts(data, point),
            "decisions": [
                [path, chosen(point.trial.architecture.network, path, i)] for path, i in point.trial.decisions.items()
            ],
            "at": [at(point, pair) for pair in data.panels],
        }
        for point in (*data.shown, *data.references)
    }
    selected = data.knee.number if data.knee else data.points[0].number if data.points else None
    text = json.dumps({"figures": figures(data), "trials": trials, "selected": selected}, separators=(",", ":"))
    # Nothing in a script element may look like its end.
    return text.replace("<", "\\u003c")
