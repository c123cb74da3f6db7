"""Does a search gain from starting its trainings from weights of other classes?

Usage: python benchmarks/init_from.py [--data FOLDER] [--seeds 0 1 2] [--work FOLDER]

A search on five classes of CIFAR-10 leaves weights, a search on the other five starts from them (`init_from`) or fresh.
Both train the same architectures, drawn at random by the seed, so that each pair differs in its first weights alone.
Writes benchmarks/results/init_from.json. A kill costs one training: the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from invnas import (
    Bottleneck,
    Choice,
    Convolution,
    DataSource,
    Experiment,
    HybridNet,
    Involution,
    PlainStem,
    Recipe,
    Repeat,
    Run,
    Space,
    Stage,
    resume_search,
    run_search,
)
from invnas.data.cifar import Cifar
from invnas.data.module import Splits
from invnas.data.tensors import TensorImages
from invnas.pareto import hypervolume, values_of

RESULTS = Path(__file__).parent / "results" / "init_from.json"

spatial = Choice(Convolution(3), Involution(Choice(3, 7), group_channels=8, reduction_ratio=2))
block = Bottleneck(spatial, expansion=2)
space = HybridNet(
    PlainStem(16, 3, 1, False),
    [
        Stage(16, Repeat(block, times=Choice(1, 2))),
        Stage(32, Repeat(block, times=Choice(1, 2)), stride=2),
        Stage(Choice(48, 64), Repeat(block, times=Choice(1, 2)), stride=2),
    ],
)


class HalfCifar(Cifar):
    """Five classes of CIFAR-10: airplane to deer, or dog to truck.

    Args:
        folder: Where CIFAR-10 lies.
        second: The latter.
        other: Arguments of `Cifar`.
    """

    def __init__(self, folder: str, second: bool = False, **other: Any) -> None:
        super().__init__(folder, **other)
        self.second = second

    def open_splits(self) -> Splits:
        whole = super().open_splits()
        assert whole.test is not None
        test, first = whole.test, 5 * self.second
        names = None if whole.class_names is None else whole.class_names[first : first + 5]
        return replace(
            whole, classes=5, class_names=names, train=_half(whole.train, first), test=lambda: _half(test(), first)
        )


def _half(images: Any, first: int) -> TensorImages:
    kept = (images.labels >= first) & (images.labels < first + 5)
    return replace(images, images=images.images[kept], labels=images.labels[kept] - first)


def _experiment(data: str, seed: int, second: bool, trials: int, epochs: int, limit: int, **more: Any) -> Experiment:
    given = {"folder": data, "second": second, "train_limit": limit, "validation_share": 0.1}
    return Experiment(
        Space(space, name="half"),
        DataSource("init_from.HalfCifar", given),
        Recipe(epochs=epochs, threads=1),
        trials=trials,
        max_macs=8_000_000,
        sampler="branch-uniform",
        seed=seed,
        **more,
    )


def _run(experiment: Experiment, folder: Path) -> Run:
    if (folder / "run.json").is_file():
        return resume_search(folder, quiet=True)
    return run_search(experiment, folder)


def _tops(run: Run) -> dict[str, float]:
    return {t.architecture.fingerprint: t.measurement.top1 for t in run.trials("search") if t.measurement is not None}


def measured(data: str, seed: int, work: Path) -> dict[str, Any]:
    """Return what one seed found."""
    source = _run(_experiment(data, seed, False, trials=3, epochs=6, limit=4000), work / f"source-{seed}")
    asked = _experiment(data, seed, True, trials=8, epochs=2, limit=2000)
    started = _run(replace(asked, init_from=str(source.folder)), work / f"started-{seed}")
    fresh = _run(asked, work / f"fresh-{seed}")
    axes, one, other = fresh.experiment.axes, _tops(started), _tops(fresh)
    assert one.keys() == other.keys()
    trials = [trial for trial in started.trials("search") if trial.measurement is not None]
    pairs = [
        {
            "inherited": trial.measurement.inherited,
            "top1": one[trial.architecture.fingerprint],
            "top1_fresh": other[trial.architecture.fingerprint],
        }
        for trial in trials
    ]
    gains = [pair["top1"] - pair["top1_fresh"] for pair in pairs]
    covered = {
        name: hypervolume(values_of(run.front(observed=True), axes), axes, run.box)
        for name, run in (("started", started), ("fresh", fresh))
    }
    return {
        "seed": seed,
        "source": started.experiment.init_from.rpartition("/")[2],
        "source_top1": max(_tops(source).values()),
        "pairs": pairs,
        "inherited": statistics.fmean(pair["inherited"] for pair in pairs),
        "gain": statistics.fmean(gains),
        "best": {"started": max(one.values()), "fresh": max(other.values())},
        "hypervolume": covered,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/init_from"))
    asked = parser.parse_args()
    seeds = [measured(asked.data, seed, asked.work) for seed in asked.seeds]
    gains = [one["gain"] for one in seeds]
    every = [pair["top1"] - pair["top1_fresh"] for one in seeds for pair in one["pairs"]]
    found = {
        "seeds": seeds,
        "gain": {"mean": statistics.fmean(gains), "by_seed": gains, "better": sum(gain > 0 for gain in every)},
        "pairs": len(every),
        "correlation_of_gain_with_share": statistics.correlation(
            [pair["inherited"] for one in seeds for pair in one["pairs"]], every
        ),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key != "seeds"}, indent=1))


if __name__ == "__main__":
    main()
