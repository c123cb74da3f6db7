"""The picture of what was taken for what."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invnas.errors import MissingExtra
from invnas.report.evaluation import Evaluation
from invnas.report.render_static import STYLE
from invnas.report.units import INK, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Classes up to which counts stand in the cells, and up to which each has its name at both sides.
_COUNTED, _NAMED = 20, 120
_LONGEST = 24  # letters of a name


def write(found: Evaluation, folder: Path) -> list[Path]:
    """Write confusion.png and confusion.svg into a folder, which is made.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "confusion.png", folder / "confusion.svg"]
    with matplotlib.rc_context(STYLE):
        figure = confusion(found)
        figure.savefig(paths[0], dpi=150)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def confusion(found: Evaluation) -> Figure:
    """Return the matrix: a row for each true class, a column for what it was taken for.

    A cell is coloured by the root of its share of the row, so that among many classes the rare mistakes are seen too.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    counts = np.array(found.confusion)
    number = len(counts)
    side = min(max(5.2, 2.2 + 0.42 * number), 9.5 if number <= _COUNTED else 14.0)
    figure = Figure(figsize=(side + 1.2, side + 0.6), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    bar = figure.colorbar(
        image,
        ax=axes,
        fraction=0.046,
        pad=0.03,
        ticks=[0, 0.01, 0.05, 0.2, 0.5, 1],
        format=lambda value, _: f"{100 * value:.0f} %",
    )
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    _name(axes, found.class_names, [not sum(row) for row in found.confusion])
    if number <= _COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.35 else INK
                size = 10 if number <= 12 else 8
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=size)
    low, high = found.interval
    title = f"{100 * found.accuracy:.1f} % of {found.count:,} images right"
    title += f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    axes.set_title("\n".join(textwrap.wrap(title, int(9 * side))), fontsize=11, loc="left")
    return figure


def _name(axes: Axes, names: tuple[str, ...], empty: Sequence[bool]) -> None:
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    axes.tick_params(length=0, colors=SOFT, labelcolor=INK)
    axes.spines[:].set_visible(False)
    if len(names) > _NAMED:
        return
    short = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    size = 10 if len(names) <= 12 else 8 if len(names) <= 30 else 5.5
    places = range(len(names))
    level = max(map(len, short)) <= 3 and len(names) <= 40
    axes.set_xticks(places, short, fontsize=size, rotation=0 if level else 90)
    axes.set_yticks(
        places,
        [f"{name} (no images)" if none else name for name, none in zip(short, empty, strict=True)],
        fontsize=size,
    )
    if len(names) > 1:
        axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5 if len(names) <= _COUNTED else 0.3)
        axes.tick_params(which="minor", length=0)
