"""Does the front by FLOPs mislead where networks run? Fronts on hybrid_cifar by FLOPs and by onnxruntime latency.

    python benchmarks/latency_front.py [--trials 200] [--seeds 3] [--draw]

Two searches a seed, equal but for their cost: top-1 against multiply-adds, and top-1 against the latency that is
foretold (invnas.latency). Accuracy is not trained: it is what InvBench says of networks of another space by what both
share (benchmarks/search/transfer.py), the mean without noise. The members of both fronts are then timed in onnxruntime,
and both fronts drawn over what was measured. --draw makes the picture of the numbers that are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "search"))

from grounds import fitted

from invnas import Latency
from invnas.architecture import Architecture
from invnas.bench import replay
from invnas.cost import pricer
from invnas.latency.stopwatch import Stopwatch
from invnas.latency.table import tabulator
from invnas.measurement import Cost, Measurement
from invnas.metering import Metering

ROOT = Path(__file__).parent.parent
RESULTS, PICTURE = ROOT / "benchmarks/results/latency_front.json", ROOT / "docs/images/latency_front.png"
SHAPE, CLASSES = (3, 32, 32), 10
COSTS = ("macs", "latency_ms")


@dataclass(frozen=True)
class Member:
    """A member of a front with what it costs, and is worth."""

    architecture: Architecture
    top1: float
    macs: int
    ms: float


def searched(metering: Metering, trials: int, seeds: int) -> dict[str, list[Architecture]]:
    """Return the front of each cost, over all seeds together."""
    ground = fitted()
    answer = ground.judged(0)

    def table(architecture: Architecture) -> tuple[Cost, Measurement]:
        return metering.price(architecture), answer(architecture)[1]

    fronts = {}
    for cost in COSTS:
        done: dict[Architecture, float] = {}
        for seed in range(seeds):
            names = ("top1", cost)
            found = replay(ground.space, table, "known-cost", trials, seed, objectives=names, price=metering.price)
            done |= {one: measured.top1 for one, measured in found}
            print(f"{cost}, seed {seed}: {len(done)} architectures", flush=True)
        values = [(-top1, metering.price(one)[cost]) for one, top1 in done.items()]
        fronts[cost] = [one for one, on in zip(done, _front(values), strict=True) if on]
    return fronts


def _front(values: list[tuple[float, float]]) -> list[bool]:
    """Return which rows no other one beats, less being better."""
    rows = np.array(values)
    beaten = (rows[None, :, :] <= rows[:, None, :]).all(2) & (rows[None, :, :] < rows[:, None, :]).any(2)
    return list(~beaten.any(1))


def staircase(members: list[Member]) -> list[Member]:
    """Return those that no other one of them beats by what was measured, fastest first."""
    on = _front([(-one.top1, one.ms) for one in members])
    return sorted((one for one, kept in zip(members, on, strict=True) if kept), key=lambda one: one.ms)


def lost(first: list[Member], other: list[Member]) -> dict[str, float]:
    """Return what a front loses to another: accuracy at equal latency, and latency at equal accuracy.

    Args:
        first: The one that may lose.
        other: What it is compared with.
    """
    mine, theirs = staircase(first), staircase(other)
    low, high = max(mine[0].ms, theirs[0].ms), min(mine[-1].ms, theirs[-1].ms)
    levels = np.geomspace(low, max(high, low * 1.001), 200)
    gap = [_best(theirs, level) - _best(mine, level) for level in levels]
    ratios = [
        one.ms / min(each.ms for each in theirs if each.top1 >= one.top1)
        for one in mine
        if any(each.top1 >= one.top1 for each in theirs)
    ]
    return {
        "top1_points_mean": 100 * float(np.mean(gap)),
        "top1_points_largest": 100 * float(np.max(gap)),
        "latency_ratio_median": float(np.median(ratios)),
        "latency_ratio_largest": float(np.max(ratios)),
    }


def _best(members: list[Member], level: float) -> float:
    return max(one.top1 for one in members if one.ms <= level * (1 + 1e-9))


def measured(trials: int, seeds: int) -> dict[str, Any]:
    answer = fitted().judged(0)
    price = pricer(SHAPE, CLASSES)
    with Stopwatch(Latency("onnxruntime"), SHAPE, CLASSES) as stopwatch:
        metering = Metering(stopwatch, fitted().space, price, tabulator(SHAPE, CLASSES))
        metering.calibrate(quiet=False)
        fronts = {
            cost: [Member(one, answer(one)[1].top1, price(one).macs, stopwatch(one).ms) for one in architectures]
            for cost, architectures in searched(metering, trials, seeds).items()
        }
        words, error = stopwatch.words, metering.predictor.error if metering.predictor else None
    by_macs = sorted(fronts["macs"], key=lambda one: one.macs)
    beaten = [any(other.top1 >= one.top1 and other.ms < one.ms for other in by_macs) for one in by_macs]
    return {
        "runtime": words, "trials": trials, "seeds": seeds, "leave_one_out": error,
        "accuracy": "foretold from InvBench (benchmarks/search/transfer.py), not trained",
        "beaten_within_the_flops_front": sum(beaten) / len(beaten),
        "flops_front_against_latency_front": lost(fronts["macs"], fronts["latency_ms"]),
        "latency_front_against_flops_front": lost(fronts["latency_ms"], fronts["macs"]),
        "fronts": {
            cost: [
                {"fingerprint": one.architecture.fingerprint, "kind": one.architecture.kind, "top1": one.top1,
                 "macs": one.macs, "ms": one.ms, "involutions": _share(one.architecture)}
                for one in sorted(members, key=lambda one: one.ms)
            ]
            for cost, members in fronts.items()
        },
    }  # fmt: skip


def _share(architecture: Architecture) -> float:
    kinds = [type(operator).__name__ == "Involution" for _, operator in architecture.operators]
    return sum(kinds) / max(len(kinds), 1)


def draw(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=150)
    looks = {"macs": ("#C44E00", "o", "front by FLOPs"), "latency_ms": ("#0072B2", "s", "front by latency")}
    for cost, (colour, marker, label) in looks.items():
        members = found["fronts"][cost]
        points = [(one["ms"], 100 * one["top1"]) for one in members]
        on = _front([(-top1, ms) for ms, top1 in points])
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=4, alpha=0.6, label=label)
        steps = sorted(point for point, kept in zip(points, on, strict=True) if kept)
        axes.step(*zip(*steps, strict=True), where="post", color=colour, linewidth=1.2)
    axes.set(xscale="log", xlabel=f"measured latency of one image, {found['runtime']} (ms)")
    axes.set(ylabel="top-1, foretold (%)")
    axes.grid(color="#e8eaed")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draw", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if not asked.draw:
        RESULTS.write_text(json.dumps(measured(asked.trials, asked.seeds), indent=2) + "\n")
    found = json.loads(RESULTS.read_text())
    draw(found)
    print(json.dumps({name: value for name, value in found.items() if name != "fronts"}, indent=2))


if __name__ == "__main__":
    main()
