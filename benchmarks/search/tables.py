"""The figures of the proof: tables, intervals and pictures of docs/search.md from the curves that proof.py wrote.

    python benchmarks/search/tables.py [curves.jsonl.gz] [--ours known-cost]

Writes benchmarks/results/search.json and docs/images/search_*.png, and prints the tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from contestants import CONTESTANTS
from grounds import TITLES
from proof import rows_of

from invnas.bench import Curves

ROOT = Path(__file__).parents[2]
RESULTS, IMAGES = ROOT / "benchmarks" / "results" / "search.json", ROOT / "docs" / "images"
#: Trainings at which a table shows the hypervolume.
SHOWN = (25, 50, 100, 150, 200)

#: Fronts chosen by what was measured, by what is believed, and the first with accuracy counted as it is.
KEYS = ("hypervolume", "believed", "linear")

#: Grounds with a picture in the docs.
PICTURED = ("nasbench201-cifar10", "hybrid_cifar-fitted", "hybrid_cifar-pairs")

#: Who is compared as well where it takes part, in a column of its own.
TOLD = "known-cost-told"

Found = Mapping[str, Curves]


def curves_of(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, Curves]]:
    """Return the curves of one kind of hypervolume by ground and contestant, seeds in their order."""
    found: dict[str, dict[str, list[tuple[int, list[float]]]]] = {}
    for row in rows:
        found.setdefault(row["ground"], {}).setdefault(row["contestant"], []).append((row["seed"], row[key]))
    return {
        ground: {
            name: Curves(np.array([values for _, values in sorted(by_name[name])]))
            for name in CONTESTANTS
            if name in by_name
        }
        for ground, by_name in found.items()
    }


def compared(found: Found, ours: str) -> dict[str, Any]:
    """Return what a table says of a ground."""
    mine = found[ours]
    table = {}
    for name, curves in found.items():
        shown = {str(n): round(curves.at(n), 4) for n in SHOWN if n <= curves.trainings}
        row: dict[str, Any] = {"seeds": curves.seeds, "hypervolume": shown}
        if name != ours:
            times = mine.times_fewer(curves)
            row["times_fewer"] = {key: round(value, 2) for key, value in vars(times).items()}
            row["surely_better_than_ours_after"] = list(mine.surely_below(curves))
        table[name] = row
    return table


def written(ground: str, tables: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> str:
    """Return a table in Markdown."""
    table = tables["hypervolume"]
    shown = [n for n in SHOWN if any(str(n) in row["hypervolume"] for row in table.values())]
    seeds = sorted({row["seeds"] for row in table.values()})
    columns = {
        "times fewer": "hypervolume",
        "the same by belief": "believed",
        "told": "told",
        "told, by belief": "told_believed",
    }
    columns = {title: key for title, key in columns.items() if key in tables}
    lines = [
        f"**{TITLES[ground]}** ({' or '.join(map(str, seeds))} seeds)",
        "",
        f"| | {' | '.join([*map(str, shown), *columns, 'ms'])} |",
        "|---" * (len(shown) + len(columns) + 2) + "|",
    ]
    for name, row in table.items():
        values = [f"{row['hypervolume'][str(n)]:.3f}" if str(n) in row["hypervolume"] else "" for n in shown]
        ratios = [_ratio(tables[key][name].get("times_fewer")) for key in columns.values()]
        lines.append(
            "| " + " | ".join([CONTESTANTS[name].title, *values, *ratios, f"{1000 * seconds[name]:.0f}"]) + " |"
        )
    return "\n".join(lines) + "\n"


def _ratio(times: Mapping[str, float] | None) -> str:
    return f"{times['ratio']:.1f} ({times['low']:.1f} to {times['high']:.1f})" if times else ""


def drawn(ground: str, found: Found, ours: str) -> None:
    """Draw the mean of each contestant, and two standard errors around ours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (name, curves) in enumerate(found.items()):
        mean, x = curves.mean, np.arange(1, curves.trainings + 1)
        strong = name == ours
        width, style = 2.6 if strong else 1.3, "-" if i < 10 else "--"  # there are ten colours
        axes.plot(x, mean, style, label=CONTESTANTS[name].title, lw=width, color=f"C{i % 10}", zorder=3 - i / 99)
        if strong:
            error = curves.values.std(axis=0, ddof=1) / np.sqrt(curves.seeds) if curves.seeds > 1 else 0 * mean
            axes.fill_between(x, mean - 2 * error, mean + 2 * error, color=f"C{i}", alpha=0.15, lw=0)
    axes.set(xlabel="trainings", ylabel="hypervolume of the chosen front", title=TITLES[ground])
    low = min(float(curves.mean[min(9, curves.trainings - 1)]) for curves in found.values())
    axes.set_ylim(bottom=low)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(alpha=0.25)
    figure.savefig(IMAGES / f"search_{ground}.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "rows", type=Path, nargs="?", default=ROOT / "benchmarks" / "results" / "search_curves.jsonl.gz"
    )
    parser.add_argument("--ours", default="known-cost", choices=list(CONTESTANTS))
    asked = parser.parse_args()
    rows = rows_of(asked.rows)
    curves = {key: curves_of(rows, key) for key in KEYS}
    result = {}
    for ground, found in curves["hypervolume"].items():
        mine = [row for row in rows if row["ground"] == ground]
        seconds = {
            name: statistics.median(r["seconds"] / len(r["hypervolume"]) for r in mine if r["contestant"] == name)
            for name in found
        }
        tables = {key: compared(curves[key][ground], asked.ours) for key in KEYS}
        if TOLD in found and asked.ours != TOLD:
            tables["told"] = compared(found, TOLD)
            tables["told_believed"] = compared(curves["believed"][ground], TOLD)
        result[ground] = {**tables, "seconds_a_suggestion": {n: round(s, 4) for n, s in seconds.items()}}
        print(written(ground, tables, seconds))
        if ground in PICTURED:
            drawn(ground, found, asked.ours)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
