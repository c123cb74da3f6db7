"""The ablation of kernel size, channels of a group and generator: one table and one picture of several seeds.

Usage: python benchmarks/ablation.py RUN_FOLDER... [--out docs/images/cifar10_ablation.png]

Each folder is a run of `invnas search ablation --seed N`. Every network is measured on the test images, once in the
life of a run; the folder of the images must therefore still be where the search found it. Needs the extra `report`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.architecture import Architecture, Convolution
from invnas.errors import BadInput
from invnas.measurement import Cost
from invnas.report.render_static import STYLE
from invnas.report.units import GRID, LOOKS, SOFT, count
from invnas.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results" / "ablation.json"


@dataclass(frozen=True)
class Setting:
    """What distinguishes a network; a convolution has nothing of involution.

    Attributes:
        kernel_size: K.
        group_channels: C/G as text, "C" where each block has one group; empty for a convolution.
        generator: "one linear" or "r 4"; empty for a convolution.
    """

    kernel_size: int
    group_channels: str = ""
    generator: str = ""

    @property
    def name(self) -> str:
        if not self.generator:
            return f"{self.kernel_size}×{self.kernel_size} convolution"
        return f"K {self.kernel_size}, C/G {self.group_channels}, {self.generator}"


MIDDLE = Setting(7, "16", "r 4")

# Title, label of the axis, and the settings from left to right, each with its tick.
PANELS: tuple[tuple[str, str, dict[str, Setting]], ...] = (
    (
        "Kernel size",
        "K, pixels of the side of a window (C/G 16, r 4)",
        {str(size): Setting(size, "16", "r 4") for size in (3, 5, 7, 9)},
    ),
    (
        "Channels of a group",
        "C/G, channels that share a kernel (K 7, r 4)",
        {("C (one group)" if size == "C" else size): Setting(7, size, "r 4") for size in ("1", "4", "16", "C")},
    ),
    (
        "Generator of the kernels",
        "one linear map, or reduction ratio r (K 7, C/G 16)",
        {name: Setting(7, "16", name) for name in ("one linear", "r 1", "r 4", "r 16")},
    ),
)


@dataclass
class Row:
    """A network with its accuracies, one for each seed."""

    setting: Setting
    cost: Cost
    test: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.test)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.test) if len(self.test) > 1 else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.setting.name,
            "macs": self.cost.macs,
            "parameters": self.cost.parameters,
            "test_top1": [round(top1, 6) for top1 in self.test],
            "validation_top1": [round(top1, 6) for top1 in self.validation],
            "mean": round(self.mean, 6),
            "standard_deviation": round(self.deviation, 6),
        }


def setting_of(architecture: Architecture) -> Setting:
    """Return what distinguishes a network of the space `ablation`."""
    operators = [operator for _, operator in architecture.operators]
    first = operators[0]
    if isinstance(first, Convolution):
        return Setting(first.kernel_size)
    groups = {operator.group_channels for operator in operators}
    ratio = first.reduction_ratio
    return Setting(
        first.kernel_size,
        str(groups.pop()) if len(groups) == 1 else "C",
        "one linear" if ratio is None else f"r {ratio}",
    )


def read(runs: Iterable[Run]) -> dict[Setting, Row]:
    """Return the networks that every run finished, with the accuracies in the order of the runs."""
    from invnas.results import measure_test

    rows: dict[Setting, Row] = {}
    for number, run in enumerate(runs):
        trials = [trial for trial in run.trials() if trial.measurement is not None]
        if any(trial.number not in run.tested() for trial in trials):
            with run.locked():
                measure_test(run, trials)
        tested = run.tested()
        for trial in trials:
            assert trial.measurement is not None
            row = rows.setdefault(setting_of(trial.architecture), Row(setting_of(trial.architecture), trial.cost))
            row.test.append(tested[trial.number]["top1"])
            row.validation.append(trial.measurement.top1)
        if odd := [row.setting.name for row in rows.values() if len(row.test) != number + 1]:
            raise BadInput(f"the runs do not hold the same networks: {run.folder} and the ones before differ in {odd}")
    return rows


def ordered(rows: dict[Setting, Row]) -> list[Row]:
    """Return the rows as the table has them: the convolution, then panel by panel, none twice."""
    settings = [setting for _, _, panel in PANELS for setting in panel.values()]
    return [rows[s] for s in dict.fromkeys((*(s for s in rows if not s.generator), *settings)) if s in rows]


def table(rows: list[Row], seeds: list[int]) -> str:
    """Return the rows as Markdown, accuracies on the test images in per cent."""
    names = [f"seed {seed}" for seed in seeds]
    lines = [["network", "multiply-adds", "parameters", *names, "mean ± sd"], ["---"] * (4 + len(seeds))]
    for row in rows:
        tops = [f"{100 * top1:.1f}" for top1 in row.test]
        spread = f"{100 * row.mean:.1f}" + (f" ± {100 * row.deviation:.1f}" if len(seeds) > 1 else "")
        lines.append([row.setting.name, count(row.cost.macs), f"{row.cost.parameters:,}", *tops, spread])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def budget(run: Run, seeds: list[int]) -> str:
    """Return the lines below the picture."""
    data, epochs = run.experiment.data, run.experiment.recipe.epochs
    images = data.init_args.get("train_limit")
    name = f"{data.class_path.rpartition('.')[2].upper()}-{run.manifest.facts.classes}"
    limit, some = f"{images:,}" if images else "all", "seeds" if len(seeds) > 1 else "seed"
    text = (
        f"{name}, {limit} training images, {epochs} epochs: a budget that ranks networks, not one that trains them to "
        f"their end. Dots: {some} {', '.join(map(str, seeds))}; triangle and bar: their mean and standard deviation; "
        "band: that of the convolution; numbers: multiply-adds of one image. The filled triangle (K 7, C/G 16, r 4) is "
        "the same network in all three."
    )
    return "\n".join(textwrap.wrap(text, 165))


def draw(rows: dict[Setting, Row], caption: str, out: Path) -> None:
    """Write the picture: a panel for each setting, one axis of accuracy."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.9), layout="constrained", facecolor="#ffffff")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(PANELS), sharey=True)
        tops = [100 * top1 for row in rows.values() for top1 in row.test]
        pad = 0.12 * (max(tops) - min(tops))
        panels[0].set_ylim(min(tops) - pad, max(tops) + 1.6 * pad)
        panels[0].set_ylabel("Top-1 accuracy on test (%)")
        baselines = [row for row in rows.values() if not row.setting.generator]
        for axes, (title, label, settings) in zip(panels, PANELS, strict=True):
            axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
            axes.set_xlabel(label)
            axes.grid(axis="y", color=GRID)
            _baseline(axes, baselines, named=axes is panels[0])
            _panel(axes, [(tick, rows[setting]) for tick, setting in settings.items()])
            _numbers(axes, [rows[setting] for setting in settings.values()], baselines)
        figure.supxlabel(caption, fontsize=8.5, color=SOFT)
        figure.savefig(out, dpi=150)


def _baseline(axes: Axes, rows: list[Row], named: bool) -> None:
    for row in rows:
        colour, mean, deviation = LOOKS["convolution"].colour, 100 * row.mean, 100 * row.deviation
        axes.axhline(mean, linestyle="--", color=colour, linewidth=1.3, zorder=2)
        axes.axhspan(mean - deviation, mean + deviation, color=colour, alpha=0.1, linewidth=0)
        if named:
            name = f"{row.setting.name}, {count(row.cost.macs)}"
            axes.annotate(name, (-0.4, mean), (0, 4), textcoords="offset points", color=colour, fontsize=9)


def _panel(axes: Axes, found: list[tuple[str, Row]]) -> None:
    look = LOOKS["involution"]
    axes.plot([100 * row.mean for _, row in found], color=look.colour, linewidth=1, alpha=0.45, zorder=3)
    style: Any = {"fmt": look.matplotlib, "color": look.colour, "markersize": 9, "capsize": 4, "zorder": 5}
    for x, (_, row) in enumerate(found):
        filled = look.colour if row.setting == MIDDLE else "#ffffff"
        axes.errorbar(x, 100 * row.mean, 100 * row.deviation, markerfacecolor=filled, **style)
        axes.plot(
            [x + 0.13] * len(row.test), [100 * top1 for top1 in row.test], ".", color=SOFT, markersize=5, zorder=4
        )
    axes.set_xticks(range(len(found)), [tick for tick, _ in found])
    axes.set_xlim(-0.5, len(found) - 0.5)


def _numbers(axes: Axes, rows: list[Row], baselines: list[Row]) -> None:
    """Write multiply-adds above each bar, or below it where the line of the convolution is in the way."""
    low, high = axes.get_ylim()
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for x, row in enumerate(rows):
        ends = [100 * (row.mean + row.deviation), 100 * (row.mean - row.deviation), *(100 * top1 for top1 in row.test)]
        crowded = any(abs(max(ends) + 0.04 * (high - low) - 100 * b.mean) < 0.08 * (high - low) for b in baselines)
        at, up, side = (min(ends), -6, "top") if crowded else (max(ends), 6, "bottom")
        axes.annotate(
            count(row.cost.macs), (x, at), (0, up), textcoords="offset points", ha="center", va=side, fontsize=9,
            bbox=white, zorder=6,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--out", type=Path, default=Path("docs/images/cifar10_ablation.png"))
    asked = parser.parse_args()
    runs = sorted((Run.open(folder) for folder in asked.folders), key=lambda run: run.experiment.seed)
    seeds = [run.experiment.seed for run in runs]
    rows = read(runs)
    print(table(ordered(rows), seeds))
    experiment = runs[0].experiment
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    draw(rows, budget(runs[0], seeds), asked.out)
    recipe, limit = vars(experiment.recipe), experiment.data.init_args.get("train_limit")
    facts = {"seeds": seeds, "train_limit": limit, "recipe": recipe, "environment": dict(runs[0].manifest.environment)}
    facts["rows"] = [row.to_dict() for row in ordered(rows)]
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
