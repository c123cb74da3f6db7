"""The figures of the card of InvBench: how much there is, noise, and what short trainings say of long ones."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from invnas.bench.invbench import InvBench, read
from invnas.bench.truth import fit_of


def tau(a: list[float], b: list[float]) -> float:
    """Return Kendall's tau-a: the share of pairs in the same order, less the share in the other."""
    first, second = np.array(a), np.array(b)
    signs = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
    return float(signs.sum() / (len(a) * (len(a) - 1)))


def agreement(bench: InvBench, one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return tau of top-1 under two ways of training, over the architectures that have both."""
    first, second = bench.answers(**one), bench.answers(**other)
    both = [architecture for architecture in first if architecture in second]
    return round(
        tau([first[a][1]["top1"] for a in both], [second[a][1]["top1"] for a in both]),
        3,
    )


def figures(folder: Path) -> dict[str, Any]:
    """Return all that is printed."""
    bench = read(folder)
    macs = [cost.macs for cost in bench.costs.values()]
    whole = [training for training in bench.trainings if training.epochs == bench.epochs]
    top1 = [training.measurement["top1"] for training in whole if training.seed == 0]
    others = {"seed": (1, 2)}
    parts = sorted({training.epochs for training in bench.trainings} - {bench.epochs})
    rungs = sorted({at for training in whole for at in training.rungs})
    return {
        "architectures": len(bench.costs),
        "kinds": dict(Counter(one.kind for one in bench.costs)),
        "trainings": {str(key): count for key, count in sorted(_counts(bench).items())},
        "latencies": sum("latency_ms" in cost for cost in bench.costs.values()),
        "macs": [min(macs), max(macs)],
        "top1": [min(top1), statistics.median(top1), max(top1)],
        "noise": {name: {**vars(found := bench.noise(name)), "ratio": found.ratio} for name in ("top1", "loss")},
        "tau of seed 0 with the mean of the others": agreement(bench, {"seed": 0}, others),
        "tau of annealed budgets": {e: agreement(bench, {"seed": 0, "epochs": e}, others) for e in parts},
        "tau of rungs": {at: agreement(bench, {"seed": 0, "rung": at}, others) for at in rungs},
        "a forest, ten folds": vars(fit_of(bench)),
        "cpu_seconds": statistics.fmean(training.measurement.train_seconds for training in whole),
        "cpu_hours": sum(training.measurement.train_seconds for training in bench.trainings) / 3600,
    }


def _counts(bench: InvBench) -> Counter[tuple[int, int]]:
    return Counter((training.epochs, training.seed) for training in bench.trainings)
