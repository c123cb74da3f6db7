"""The picture of what was taken for what, of an export as of a run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invnas.confusion import Confusion
from invnas.errors import MissingExtra
from invnas.report.evaluation import Evaluation
from invnas.report.units import INK, SOFT, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Classes up to which counts stand in the cells, and up to which each has its name at both sides; of more than these,
#: so many are drawn as are in the most frequent mistakes.
_COUNTED, _NAMED, _MISTAKEN = 20, 120, 40
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
        figure = confusion(found.told, found.class_names, found.sentence)
        # The layout knows nothing of the square that the cells become, and may leave the labels beside it outside.
        whole: Any = {"bbox_inches": "tight", "pad_inches": 0.1}
        figure.savefig(paths[0], dpi=150, **whole)
        figure.savefig(paths[1], metadata={"Date": None}, **whole)
    return paths


def confusion(told: Confusion, names: Sequence[str], title: str) -> Figure:
    """Return the matrix: a row for each true class, a column for what it was taken for.

    A cell is coloured by the root of its share of the true class, so that among many classes the rare mistakes are seen
    too. Where there are too many, those in the most frequent mistakes are drawn.

    Args:
        told: What was taken for what.
        names: What classes are called, by number; those beyond are called by their number.
        title: What to say above it.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    every = told.classes(len(names))
    classes = every if len(every) <= _NAMED else told.most_mistaken(_MISTAKEN)
    counts, number = np.array(told.matrix(classes)), len(classes)
    side = min(max(5.2, 2.2 + 0.42 * number), 9.5 if number <= _COUNTED else 14.0)
    figure = Figure(figsize=(side + 1.2, side + 0.6), layout="constrained")
    axes = figure.add_subplot()
    seen = [told.seen[one] for one in classes]
    shares = counts / np.maximum(seen, 1)[:, None]
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
    _name(axes, short_names(classes, names, _LONGEST), [not one for one in seen])
    if number <= _COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.35 else INK
                size = 10 if number <= 12 else 8
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=size)
    if len(classes) < len(every):
        title += f"; drawn are the {number} of {len(every):,} classes that are in the most frequent mistakes"
    axes.set_title("\n".join(textwrap.wrap(title, int(9 * side))), fontsize=11, loc="left")
    return figure


def short_names(classes: Sequence[int], names: Sequence[str], most: int) -> list[str]:
    """Return what classes are called in up to so many letters; with their numbers where two would be alike.

    >>> short_names([0, 1, 4], ["cat", "caterpillar"], 4), short_names([0, 1], ["catbird", "caterpillar"], 4)
    (['cat', 'cat…', '4'], ['0 cat…', '1 cat…'])
    """
    whole = [names[one] if one < len(names) else str(one) for one in classes]
    short = [name if len(name) <= most else f"{name[: most - 1]}…" for name in whole]
    if len(set(short)) < len(short):
        return [f"{one} {name}" for one, name in zip(classes, short, strict=True)]
    return short


def _name(axes: Axes, names: Sequence[str], empty: Sequence[bool]) -> None:
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    axes.tick_params(length=0, colors=SOFT, labelcolor=INK)
    axes.spines[:].set_visible(False)
    size = 10 if len(names) <= 12 else 8 if len(names) <= 40 else 5.5
    places = range(len(names))
    level = max(map(len, names)) <= 3 and len(names) <= 40
    axes.set_xticks(places, names, fontsize=size, rotation=0 if level else 90)
    axes.set_yticks(
        places,
        [f"{name} (no images)" if none else name for name, none in zip(names, empty, strict=True)],
        fontsize=size,
    )
    if len(names) > 1:
        axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5 if len(names) <= _COUNTED else 0.3)
        axes.tick_params(which="minor", length=0)
