"""The page: one HTML file that holds its style, its script, plotly.js and every drawing, and needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

from invnas.errors import MissingExtra
from invnas.measurement import MAC_CONVENTION
from invnas.report import html_tables
from invnas.report.collect import ReportData
from invnas.report.drawing import draw
from invnas.report.figures import at, figures
from invnas.report.panel import chosen, facts
from invnas.report.units import AXES, LOOKS, NAMES, show


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
        "hypervolume": _hypervolume(data),
        "usage": html_tables.usage(data),
        "table": html_tables.tables(data),
        "drawings": _drawings(data),
        "failed": html_tables.failed(data),
        "configuration": html_tables.configuration(data),
        "templates": _templates(data),
        "data": _data(data),
    }
    page = (resources / "page.html").read_text(encoding="utf-8")
    # One pass, so that text which happens to look like a marker stays text.
    return re.sub(r"<!--(\w+)-->", lambda match: parts[match[1]], page)


def _plain(objective: str) -> str:
    return AXES[objective].split(" (")[0].removesuffix(" on validation").removesuffix(" of one image")


def _title(data: ReportData) -> str:
    first, *others = data.objectives
    if "top1" in others:
        return "Top-1 accuracy versus " + " and ".join(NAMES[name] for name in (first, *others) if name != "top1")
    return f"{_plain(first)} versus {' and '.join(NAMES[name] for name in others)}"


def _legend(data: ReportData, lines: Mapping[str, bool], kinds: bool) -> str:
    """Return the key of a figure: a line (dashed or not) and its name, then the kinds that occur."""
    items = [f'<span><i class="line{" dashed" if dashed else ""}"></i>{name}</span>' for name, dashed in lines.items()]
    present = {point.kind for point in data.points} if kinds else set()
    items += [
        f'<span><b class="{kind}">{look.glyph}</b>{look.name}</span>' for kind, look in LOOKS.items() if kind in present
    ]
    if kinds and data.baseline_front:
        items.append("<span><b>○</b>hollow: random baseline</span>")
    return f'<p class="legend">{"".join(items)}</p>'


def _lead(data: ReportData) -> str:
    experiment, search = data.experiment, [point for point in data.points if not point.trial.baseline]
    baseline = len(data.points) - len(search)
    counts = [f"{len(search)} architecture{'' if len(search) == 1 else 's'} trained by the search"]
    counts += [f"{baseline} by the random baseline"] if baseline else []
    counts += [f"{len(data.failed)} failed"] if data.failed else []
    counts += [f"{data.running} not finished"] if data.running else []
    return escape(
        f"Space {experiment.space}, images from {experiment.data.class_path}, sampler {experiment.sampler}, "
        f"seed {experiment.seed}. {', '.join(counts)}. Written {data.created}."
    )


def _figures(data: ReportData) -> str:
    shown: list[tuple[str, str]] = []
    if data.front and data.knee:
        best = max(data.front, key=lambda point: point.measurement.top1)
        shown += [
            (f"best top-1 on validation (trial {best.number})", show("top1", best.measurement.top1)),
            (f"top-1 of the knee (trial {data.knee.number})", show("top1", data.knee.measurement.top1)),
            ("multiply-adds of the knee", show("macs", data.knee.measurement.macs)),
            ("architectures on the front", str(len(data.front))),
            ("hypervolume of the search", show("top1", data.hypervolume[-1])),
        ]
        if data.baseline_hypervolume:
            shown.append(("hypervolume of the random baseline", show("top1", data.baseline_hypervolume[-1])))
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in shown)


def _front(data: ReportData) -> str:
    if not data.points:
        return html_tables.empty("No trial is complete, so there is no front to show.")
    lines = {"front of the search": False} if data.front else {}
    lines |= {"front of the random baseline": True} if data.baseline_front else {}
    plots = _legend(data, lines, kinds=True) + "".join(
        f'<h3>{escape(_plain(pair[1]))} versus {escape(NAMES[pair[0]])}</h3><div class="plot" id="plot-{i}"></div>'
        if len(data.panels) > 1
        else f'<div class="plot" id="plot-{i}"></div>'
        for i, pair in enumerate(data.panels)
    )
    single = " There is one architecture only." if len(data.points) == 1 else ""
    three = " Each line is the front of its two objectives alone; full colour marks the front of all three."
    note = (
        "Full colour: on the front. Pale: beaten by another architecture. Click a point to see its architecture. "
        f"Accuracy is that of the validation images.{three if len(data.panels) > 1 else ''}{single}"
    )
    return (
        f'<p class="note">{escape(note)} {escape(MAC_CONVENTION)}.</p><div class="split"><div>{plots}</div>'
        '<aside id="panel" aria-live="polite"><p class="note">Click a point to see its architecture.</p></aside></div>'
    )


def _hypervolume(data: ReportData) -> str:
    if not data.points:
        return html_tables.empty("No trial is complete, so nothing is covered yet.")
    pairs = zip(data.objectives, data.box.worst, data.box.best, strict=True)
    edges = "; ".join(f"{NAMES[name]} from {show(name, worst)} to {show(name, best)}" for name, worst, best in pairs)
    baseline = "" if data.baseline_hypervolume else " This run has no random baseline to compare with."
    note = (
        f"Share of a fixed box that the front dominates, costs on a logarithm. The box: {edges} (worst to best). "
        f"A failed trial counts as a trial and adds nothing.{baseline}"
    )
    lines = {"search": False} if data.hypervolume else {}
    lines |= {"random baseline": True} if data.baseline_hypervolume else {}
    legend = _legend(data, lines, kinds=False)
    return f'<p class="note">{escape(note)}</p>{legend}<div class="plot low" id="plot-hypervolume"></div>'


def _drawings(data: ReportData) -> str:
    if not data.front:
        return html_tables.empty("The search has no front yet.")
    shown = ""
    for point in data.front:
        values = f"{show('top1', point.measurement.top1)}, {show('macs', point.measurement.macs)} multiply-adds"
        shown += (
            f'<figure id="drawing-{point.number}"><h3>Trial {point.number}</h3><figcaption>{LOOKS[point.kind].name}, '
            f"{values}</figcaption>{draw(point.trial.architecture)}</figure>"
        )
    note = (
        "Cheapest first. inv 7×7 g8 r2 is an involution with a 7×7 kernel, 8 channels per group and reduction ratio 2; "
        "conv 3×3 g4 is a convolution with 4 groups; 1×1 → 16 is a pointwise convolution to 16 channels; "
        "the first block of a stage carries its stride; × 3 stands for three equal blocks."
    )
    return f'<p class="note">{escape(note)}</p><div class="gallery">{shown}</div>'


def _templates(data: ReportData) -> str:
    on_page = {point.number for point in data.front}
    hidden = (point for point in data.points if point.number not in on_page)
    return "".join(f'<template id="drawing-{p.number}">{draw(p.trial.architecture)}</template>' for p in hidden)


def _data(data: ReportData) -> str:
    trials = {
        point.number: {
            "title": f"Trial {point.number}: {LOOKS[point.kind].name}",
            "facts": facts(point),
            "decisions": [
                [path, chosen(point.trial.architecture, path, i)] for path, i in point.trial.decisions.items()
            ],
            "at": [at(point, pair) for pair in data.panels],
        }
        for point in data.points
    }
    selected = data.knee.number if data.knee else data.points[0].number if data.points else None
    text = json.dumps({"figures": figures(data), "trials": trials, "selected": selected}, separators=(",", ":"))
    # Nothing in a script element may look like its end.
    return text.replace("<", "\\u003c")
