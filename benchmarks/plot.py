"""Draw what benchmarks/op.py and benchmarks/networks.py wrote: docs/images/operator_cpu.png.

python benchmarks/plot.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent
RESULTS, OUT = ROOT / "benchmarks" / "results", ROOT / "docs" / "images" / "operator_cpu.png"
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#C44E00", "#009E73", "#5f6368"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def bars(axes: Any, labels: list[str], series: dict[str, tuple[str, list[float]]], digits: str) -> None:
    """Draw one group of bars per label, each bar with its number."""
    wide = 0.8 / len(series)
    for index, (name, (colour, values)) in enumerate(series.items()):
        places = [at + (index - (len(series) - 1) / 2) * wide for at in range(len(labels))]
        drawn = axes.bar(places, values, wide * 0.92, color=colour, label=name)
        axes.bar_label(drawn, [digits.format(value) for value in values], padding=2, fontsize=8, color="#202124")
    axes.set_xticks(range(len(labels)), labels, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=4, columnspacing=1, handlelength=1)


def operator(axes: Any, record: dict[str, Any]) -> None:
    rows = [row for row in record["shapes"] if row["name"].startswith("RedNet")]
    labels = [f"{row['channels']} × {row['size']}²" for row in rows]
    series = {
        "forward / pure torch": (BLUE, [row["forward"]["over_shift"] for row in rows]),
        "forward / unfold": (ORANGE, [row["forward"]["over_unfold"] for row in rows]),
        "forward + backward / unfold": (GREEN, [row["forward_backward"]["over_unfold"] for row in rows]),
    }
    bars(axes, labels, series, "{:.0f}")
    axes.set_yscale("log")
    axes.set_ylim(1, 200)
    axes.set_yticks([1, 10, 100], ["1 ×", "10 ×", "100 ×"])
    axes.set_ylabel("Times faster than the same operator in torch")
    axes.set_title("Involution K = 7, 16 channels a group, batch 4", fontsize=10, loc="left")


def networks(axes: Any, record: dict[str, Any]) -> None:
    kinds = {"inference": "inference", "training_step": "training step"}
    series = {
        "unfold": (ORANGE, [record[f"{kind} unfold"]["ratio"] for kind in kinds]),
        "pure torch": (GREY, [record[f"{kind} shift"]["ratio"] for kind in kinds]),
        "C++": (BLUE, [record[kind]["ratio"] for kind in kinds]),
    }
    axes.axhline(record["macs_ratio"], color="#202124", linestyle="--", linewidth=1, label="multiply-adds")
    bars(axes, list(kinds.values()), series, "{:.2f}")
    axes.axhline(1, color="#202124", linewidth=0.8)
    axes.set_ylim(0, 1.18 * max(max(values) for _, values in series.values()))
    axes.set_ylabel("Time of RedNet-50 over ResNet-50")
    size = f"{record['size']} × {record['size']}, batch {record['batch']}"
    axes.set_title(f"RedNet-50 over ResNet-50, {size}: below 1 RedNet is faster", fontsize=10, loc="left")


def main() -> None:
    op, nets = load("op"), load("networks")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), dpi=150, layout="constrained")
    operator(left, op)
    networks(right, nets)
    figure.text(
        0.5, -0.03, f"{nets['backend']}, torch {nets['torch']}, one thread", ha="center", fontsize=8, color=GREY
    )
    figure.savefig(OUT, bbox_inches="tight")
    print(OUT)


if __name__ == "__main__":
    main()
