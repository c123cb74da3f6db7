"""Does an all-involution network survive a high learning rate? Hard digits, the recipe's own clipping, many seeds.

    python benchmarks/stability.py [--seeds 20] [--epochs 10] [--learning-rate 0.8] [--out FILE]

Users of published involution report NaN and name gradient clipping and a lower rate as remedies. Here every generator
meets eight times the recipe's rate, with the recipe's clipping and without, and a training ends at the first
loss that is not finite. A training that ends is counted; the script fails when one with clipping does.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from invnas import Bottleneck, DeepStem, Experiment, HybridNet, Involution, Stage
from invnas.architecture import Architecture, LocalAttention
from invnas.data import load_data
from invnas.errors import TrialFailed
from invnas.experiment import DataSource, Recipe
from invnas.nn import build
from invnas.ops import backend_of
from invnas.report.drawing import operator_label
from invnas.training import train

RESULTS = Path(__file__).parent / "results" / "stability.json"
IMAGES, CLASSES = (1, 8, 8), 10
GENERATORS = (Involution(5, 8, 2), Involution(5, 8, None), Involution(5, 8, 2, softmax=True), LocalAttention(5, 8))


@dataclass(frozen=True)
class Outcome:
    """What one training came to: its accuracy, or why it ended."""

    generator: str
    clip: float
    seed: int
    top1: float | None
    reason: str | None


def network(spatial: Any) -> Architecture:
    """Return a network in which every spatial operator is this one."""
    block = Bottleneck(spatial, expansion=2)
    return Architecture(HybridNet(DeepStem(spatial, 16, 1, False), (Stage(32, (block, block)), Stage(64, (block,), 2))))


def trained(spatial: Any, recipe: Recipe, seed: int) -> Outcome:
    torch.manual_seed(seed)
    architecture, name = network(spatial), operator_label(spatial)
    data = load_data(DataSource("HardDigits", {"batch_size": 64, "seed": seed}))
    try:
        found = train(build(architecture, IMAGES, CLASSES), data, recipe)
    except TrialFailed as error:
        return Outcome(name, recipe.gradient_clip, seed, None, str(error))
    return Outcome(name, recipe.gradient_clip, seed, found.top1, None)


def outcomes(recipe: Recipe, seeds: int) -> Iterator[Outcome]:
    for spatial in GENERATORS:
        for clip in (recipe.gradient_clip, 0.0):
            for seed in range(seeds):
                yield trained(spatial, replace(recipe, gradient_clip=clip), seed)


def table(found: list[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for name, clip in dict.fromkeys((one.generator, one.clip) for one in found):
        these = [one for one in found if (one.generator, one.clip) == (name, clip)]
        scores = [one.top1 for one in these if one.top1 is not None]
        rows.append(
            {
                "generator": name,
                "gradient_clip": clip,
                "trainings": len(these),
                "ended": len(these) - len(scores),
                "worst_top1": min(scores, default=None),
                "median_top1": statistics.median(scores) if scores else None,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=8 * Experiment().recipe.learning_rate)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(epochs=given.epochs, learning_rate=given.learning_rate, threads=1)
    found = list(outcomes(recipe, given.seeds))
    rows = table(found)
    print(f"{'generator':<28}{'clip':>6}{'trainings':>11}{'ended':>7}{'worst top-1':>13}{'median top-1':>14}")
    for row in rows:
        worst, median = (f"{row[key]:.4f}" if row[key] is not None else "-" for key in ("worst_top1", "median_top1"))
        print(
            f"{row['generator']:<28}{row['gradient_clip']:>6g}{row['trainings']:>11}{row['ended']:>7}{worst:>13}{median:>14}"
        )
    document = {
        "recipe": asdict(recipe),
        "backend": backend_of("cpu"),
        "rows": rows,
        "trainings": [asdict(one) for one in found],
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(document, indent=2) + "\n")
    if any(row["ended"] for row in rows if row["gradient_clip"]):
        raise SystemExit("a training with clipping ended: involution is not stable at this rate")


if __name__ == "__main__":
    main()
