"""The pictures front, hypervolume (over trials, over epochs) and involution_usage; no global state of matplotlib."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invnas.errors import MissingExtra
from invnas.measurement import MAC_CONVENTION, Phase
from invnas.objective import Objective
from invnas.report import learning_rate
from invnas.report.collect import ReportData
from invnas.report.confusion import confusion
from invnas.report.places import COVERED, OVER, at, band, knee_offset, line, spanned
from invnas.report.point import Point
from invnas.report.units import GRID, INK, LOOKS, SOFT, STROKES, STYLE, limits, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def write(data: ReportData, folder: Path) -> None:
    """Write front, hypervolume, hypervolume_epochs and involution_usage as .png and .svg into a folder.

    So are learning_rate, where a range test has found it, and confusion, where the knee was tested class by class; that
    of an earlier report is removed where not.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    with matplotlib.rc_context(STYLE):
        for name, figure in (
            ("front", front(data)),
            ("hypervolume", hypervolume(data)),
            ("hypervolume_epochs", hypervolume(data, over="epochs")),
            ("involution_usage", involution_usage(data)),
        ):
            _save(figure, folder, name)
        if data.beyond.rates is not None:
            figure = _figure(7.2, 3.8)
            learning_rate.draw(data.beyond.rates, figure.add_subplot())
            _save(figure, folder, "learning_rate")
        told = data.beyond.confusions.get(data.knee.number) if data.knee else None
        if data.knee and told:
            title = f"trial {data.knee.number}, the knee: {told.right:,} of {told.total:,} right on the test images"
            _save(confusion(told, data.beyond.classes, title), folder, "confusion")
        else:
            for kind in ("png", "svg"):
                (folder / f"confusion.{kind}").unlink(missing_ok=True)


def _save(figure: Figure, folder: Path, name: str) -> None:
    figure.savefig(folder / f"{name}.png", dpi=150)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def front(data: ReportData) -> Figure:
    """Return the front of each pair of objectives, one panel beside the other."""
    count = len(data.panels)
    figure = _figure(7.2 * count, 5.2)
    if not data.points:
        return _sentence(figure, "No trial is complete, so there is no front to show.")
    for i, pair in enumerate(data.panels):
        axes = figure.add_subplot(1, count, i + 1)
        _axis(data, axes, pair[0], "x")
        _axis(data, axes, pair[1], "y")
        axes.grid(color=GRID)
        for phase in STROKES:
            _panel(data, axes, pair, phase)
        for point in data.references:
            look: Any = {"markerfacecolor": "none", "markeredgecolor": LOOKS[point.kind].colour, "zorder": 5}
            axes.plot(*at(point, pair), "*", linestyle="none", markersize=11, **look)
        if data.knee:
            _knee(data, data.knee, axes, pair)
    wide = 2 if len(data.baselines) > 1 else 3  # long names
    figure.legend(handles=_handles(data), loc="outside upper left", ncols=wide * count, frameon=False, fontsize=9)
    figure.supxlabel(_folded(MAC_CONVENTION, 110 * count), fontsize=7.5, color=SOFT)
    return figure


def _knee(data: ReportData, point: Point, axes: Axes, pair: tuple[Objective, Objective]) -> None:
    x, y = at(point, pair)
    right, up = knee_offset(data, point, pair)
    axes.plot(x, y, "o", markersize=15, markerfacecolor="none", markeredgecolor=INK, zorder=5)
    axes.annotate(
        f"knee: trial {point.number}",
        (x, y),
        xytext=(right, up),
        textcoords="offset points",
        ha="right" if right < 0 else "left",
        va="center",
        arrowprops={"arrowstyle": "-", "color": SOFT, "shrinkB": 8},
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        zorder=6,
    )


def _handles(data: ReportData) -> list[Line2D]:
    """Return the entries of the legend: the kinds that occur, then the lines."""
    from matplotlib.lines import Line2D

    handles = []
    present = {point.kind for point in data.drawn}
    for kind in (kind for kind in LOOKS if kind in present):
        look = LOOKS[kind]
        style: Any = {"marker": look.matplotlib, "color": look.colour, "linestyle": "none"}
        handles.append(Line2D([], [], markeredgecolor="#ffffff", markersize=8, label=look.name, **style))
    if data.front:
        name = "front of the search, as believed" if data.belief.known else "front of the search"
        handles.append(Line2D([], [], color=INK, linewidth=1.3, label=name))
    if data.front and data.belief.known:
        handles.append(Line2D([], [], color=INK, alpha=0.12, linewidth=7, label="its 95 % band"))
        handles.append(Line2D([], [], color=SOFT, linestyle=":", linewidth=1.1, label="observed front"))
    for course in (course for course in data.baselines if course.front):
        dashes, title = STROKES[course.phase].matplotlib, f"front of the {course.name}"
        handles.append(Line2D([], [], color=SOFT, linestyle=dashes, linewidth=1.3, label=title))
        how, inside = ("hollow" if course.phase == "random" else "half filled"), _inside(course.phase, SOFT)
        named: Any = {"color": SOFT, "label": f"{how}: {course.name}", **inside}
        handles.append(Line2D([], [], linestyle="none", marker="o", **named))
    if data.references:
        star: Any = {"marker": "*", "markersize": 11, "markerfacecolor": "none", "markeredgecolor": SOFT}
        handles.append(Line2D([], [], linestyle="none", label="star: reference architecture", **star))
    return handles


def _inside(phase: Phase, colour: str) -> dict[str, Any]:
    """Return how markers are filled: of what nobody chose not at all, or by half."""
    if phase == "branch":
        return {"fillstyle": "left", "markerfacecolor": colour, "markerfacecoloralt": "none"}
    return {"markerfacecolor": "none" if phase == "random" else colour}


def _panel(data: ReportData, axes: Axes, pair: tuple[Objective, Objective], phase: Phase) -> None:
    steps, stroke, baseline = line(data, pair, phase), STROKES[phase], phase != "search"
    if steps:
        axes.step(*zip(*steps, strict=True), stroke.matplotlib, where="post", color=stroke.colour, linewidth=1.3)
    if steps and not baseline and data.belief.known:
        x, low, high = band(data, pair)
        axes.fill_between(x, low, high, step="post", color=INK, alpha=0.09, linewidth=0)
        observed = line(data, pair, phase, observed=True)
        axes.step(*zip(*observed, strict=True), ":", where="post", color=SOFT, linewidth=1.1)
    alike: dict[tuple[str, bool], list[Point]] = {}
    for point in data.points:
        if point.trial.phase == phase:
            alike.setdefault((point.kind, point.on_front), []).append(point)
    for (kind, on_front), points in alike.items():
        look = LOOKS[kind]
        axes.plot(
            *zip(*(at(point, pair) for point in points), strict=True),
            look.matplotlib,
            linestyle="none",
            markersize=look.size * (7.5 if on_front and not baseline else 5.5),
            **_inside(phase, look.colour),
            markeredgecolor=look.colour if baseline else "#ffffff",
            markeredgewidth=0.8,
            alpha=(0.8 if baseline else 1.0) if on_front else 0.35,
            zorder=4 if on_front else 3,
            rasterized=len(points) > 1_000,  # one picture instead of thousands of paths in the SVG
        )


def _axis(data: ReportData, axes: Axes, objective: Objective, which: str) -> None:
    low, high = limits(spanned(data, objective), objective)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if objective.log:
        axes.set(**{f"{which}scale": "log"})
        values = ticks(low, high)
        axis.set_ticks(values, [objective.tick(value) for value in values])
        axis.set_ticks([], minor=True)
    axes.set(**{f"{which}lim": (low, high), f"{which}label": objective.axis})


def hypervolume(data: ReportData, over: Literal["trials", "epochs"] = "trials") -> Figure:
    """Return the share of the box covered after each trial, over the number of trials or the epochs spent on them."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(7.2, 3.8)
    if not data.points:
        return _sentence(figure, "No trial is complete, so nothing is covered yet.")
    if over == "epochs" and not data.epochs_known:
        return _sentence(figure, "The epochs of these trials are not known.")
    axes = figure.add_subplot()
    for course in data.curves:
        shares, epochs, stroke = course.hypervolume, course.epochs, STROKES[course.phase]
        marker = "o" if len(shares) == 1 else ""
        x = epochs if over == "epochs" else range(1, len(shares) + 1)
        axes.step(x, shares, stroke.matplotlib, marker=marker, where="post", color=stroke.colour, label=course.name)
    axes.grid(color=GRID)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.01)
    axes.set(xlabel=OVER[over], ylabel=COVERED)
    axes.legend(loc="lower right", frameon=False)
    return figure


def involution_usage(data: ReportData) -> Figure:
    """Return a heat map: the front, cheapest first, part by part: share of involution and its kernel sizes."""
    names = list(dict.fromkeys(part.name for point in data.front for part in point.parts))
    figure = _figure(min(max(7.2, 0.64 * len(data.front) + 2), 18), 1.9 + 0.5 * max(len(names), 2))
    if not names:
        return _sentence(figure, "The search has no front with operators yet.")
    axes = figure.add_subplot()
    shares = [[float("nan")] * len(data.front) for _ in names]
    for x, point in enumerate(data.front):
        for part in point.parts:
            y = names.index(part.name)
            shares[y][x] = part.share
            text = ",".join(map(str, part.kernel_sizes)) or "–"
            axes.text(x, y, text, ha="center", va="center", fontsize=8.5, color="#ffffff" if part.share > 0.7 else INK)
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("share", ["#f1f3f4", "#f3c9a6", LOOKS["involution"].colour])
    image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    learned, spent = data.headline
    labels = [f"{point.shown(spent)}\n{learned.show(point.standing(learned))}" for point in data.front]
    crowded = len(labels) * 0.6 > figure.get_figwidth() - 2
    axes.set_xticks(range(len(labels)), labels, fontsize=8, rotation=90 if crowded else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(
        f"Front, cheapest first: {spent.label} and {learned.label}. In a cell: kernel sizes of its involutions"
    )
    # White lines between the cells.
    axes.set_xticks([x + 0.5 for x in range(len(labels) - 1)], minor=True)
    axes.set_yticks([y + 0.5 for y in range(len(names) - 1)], minor=True)
    axes.grid(which="minor", color="#ffffff", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], fraction=0.03, pad=0.02)
    bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
    bar.set_label("share of involution")
    bar.outline.set_visible(False)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="#ffffff")
    FigureCanvasAgg(figure)
    return figure


def _sentence(figure: Figure, sentence: str) -> Figure:
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=SOFT)
    return figure


def _folded(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))
