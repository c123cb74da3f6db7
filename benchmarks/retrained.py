"""What a searched network reaches when it is trained well, beside a ResNet of equal multiply-adds.

Usage: python benchmarks/retrained.py --data FOLDER [--minutes 60 | --epochs N] [--seeds 3] [--work FOLDER]

A short search on CIFAR-10 chooses a hybrid. ResNets of its multiply-adds, one of each depth, are trained as briefly,
and the best by the validation images is the baseline. Both are retrained from scratch by one recipe on all training
images, seed by seed in turn, and each seed is tested once. Nothing is chosen by the test images.

Epochs follow from --minutes, by what the short trainings took; the rate is the geometric mean of those that `auto`
found for either. Writes benchmarks/results/retrained.json after every seed. A kill costs an epoch: the same call goes
on, from the run folders.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from scipy.stats import t

from invnas import (
    Architecture,
    BasicBlock,
    DataSource,
    Experiment,
    HybridNet,
    PlainStem,
    Recipe,
    Run,
    Stage,
    Trial,
    evaluate_model,
    export_model,
    resume_search,
    retrain,
    run_search,
)
from invnas.cost import cost
from invnas.latency.runner import machine

RESULTS = Path(__file__).parent / "results" / "retrained.json"
IMAGES, CLASSES, TRAINING = (3, 32, 32), 10, 50_000
#: How far the multiply-adds of a ResNet may be from those of the hybrid.
EQUAL = 0.02
DEPTHS = (8, 14, 20)


def searched(data: str, trials: int, max_macs: int, work: Path) -> Run:
    """Return the search on pictures: hybrids, with the sampler that is the default."""
    source = DataSource("invnas.data.Cifar", {"folder": data, "train_limit": 4000, "validation_share": 0.05})
    recipe = Recipe(epochs=3, learning_rate="auto", weight_decay=5e-4, threads=1)
    return _run(Experiment("hybrid_cifar", source, recipe, trials=trials, max_macs=max_macs), work / "search")


def resnets(macs: int) -> Iterator[tuple[str, HybridNet]]:
    """Yield for each depth the ResNet of equal multiply-adds: the paper's for small images, at any width.

    Of all widths with equal multiply-adds these are the ones that are nearest to doubling from stage to stage.
    """
    for depth in DEPTHS:
        equal = []
        for width, second, third in product(range(4, 65, 2), range(-4, 5, 2), range(-8, 9, 2)):
            widths = (width, 2 * width + second, 4 * width + third)
            if widths == tuple(sorted(widths)):
                blocks = (BasicBlock(),) * (depth // 6)
                stages = [Stage(w, blocks, 1 if i == 0 else 2) for i, w in enumerate(widths)]
                network = HybridNet(PlainStem(width, 3, 1, False), stages)
                off = abs(cost(Architecture(network), IMAGES, CLASSES).macs / macs - 1)
                if off <= EQUAL:
                    equal.append(((4 * second**2 + third**2, off), widths, network))
        if equal:
            _, widths, network = min(equal, key=lambda one: one[0])
            yield f"ResNet-{depth} of widths {', '.join(map(str, widths))}", network


def baseline(like: Run, macs: int, work: Path) -> tuple[str, Run, dict[str, float]]:
    """Return the ResNet that is best after a training as short as those of the search, and what each reached."""
    runs = {}
    for name, network in resnets(macs):
        recipe = replace(like.experiment.recipe, learning_rate="auto")
        asked = Experiment(network, like.experiment.data, recipe, trials=1, sampler="random")
        runs[name] = _run(asked, work / name.partition(" ")[0].lower())
    reached = {name: one.pick("best").measurement.top1 for name, one in runs.items()}
    best = max(reached, key=reached.__getitem__)
    return best, runs[best], reached


def _run(experiment: Experiment, folder: Path) -> Run:
    if (folder / "run.json").is_file():
        return resume_search(folder, quiet=True)
    return run_search(experiment, folder, quiet=True)


def images_per_second(run: Run, trial: Trial) -> float:
    """Return the pace of a short training, its validation and its start included."""
    return run.manifest.facts.counts["train"] * run.experiment.recipe.epochs / trial.measurement.train_seconds


def recipe_for(runs: list[Run], epochs: int) -> dict[str, Any]:
    """Return the recipe of both, as it differs from that of the searches."""
    rate = math.prod(one.experiment.recipe.rate for one in runs) ** (1 / len(runs))
    return {"epochs": epochs, "learning_rate": float(f"{rate:.2g}"), "label_smoothing": 0.05, "threads": 1}


def difference(one: list[float], other: list[float]) -> dict[str, float | None]:
    """Return the gain of one over the other with half its interval of 95 %, by Welch; none from a single seed."""
    gain = statistics.fmean(one) - statistics.fmean(other)
    if min(len(one), len(other)) < 2:
        return {"gain": gain, "margin": None}
    parts = [statistics.variance(values) / len(values) for values in (one, other)]
    freedom = sum(parts) ** 2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (one, other), strict=True))
    return {"gain": gain, "margin": float(t.ppf(0.975, freedom)) * math.sqrt(sum(parts))}


def described(name: str, run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Return what a network is and what its seeds reached."""
    trial = run.pick("best")
    tops = [round(top1, 6) for top1 in found["test_top1"]]
    return {
        "name": name,
        "run": run.folder.name,
        "retraining": found["name"],
        "cost": trial.cost.to_dict(),
        "kind": trial.architecture.kind,
        "architecture": trial.architecture.to_dict(),
        "short_training": trial.measurement.top1,
        "auto_rate": run.experiment.recipe.rate,
        "images_per_second": round(images_per_second(run, trial)),
        "test_top1": tops,
        "mean": statistics.fmean(tops),
        "standard_deviation": statistics.stdev(tops) if len(tops) > 1 else None,
    }


def exported(run: Run, found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what the exported weights of the first seed reach on the test images: trained on all, none is chosen."""
    model = export_model(run, f"retrained:{found['name']}", ["onnx", "safetensors"], folder)
    said = evaluate_model(model, run)
    told = round(found["test_top1"][0], 6)
    return {"seed": 0, "top1_of_retrain": told, "top1_of_export": said.accuracy, "images": said.count}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="data/cifar10", help="folder of CIFAR-10")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--max-macs", type=int, default=7_000_000)
    parser.add_argument("--minutes", type=float, default=60, help="time for all trainings from scratch")
    parser.add_argument("--epochs", type=int, help="instead of --minutes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/retrained"))
    asked = parser.parse_args()
    search = searched(asked.data, asked.trials, asked.max_macs, asked.work)
    best = search.pick("best")
    name, resnet, reached = baseline(search, best.cost.macs, asked.work)
    networks = {"searched hybrid": search, name: resnet}
    seconds = sum(TRAINING / images_per_second(run, run.pick("best")) for run in networks.values())
    epochs = asked.epochs or max(1, int(60 * asked.minutes / (asked.seeds * seconds)))
    recipe, data = recipe_for(list(networks.values()), epochs), {"init_args": {"train_limit": None}}
    print(f"{name} beside trial {best.number}: {epochs} epochs, {recipe}, short trainings {reached}", flush=True)
    for seeds in range(1, asked.seeds + 1):
        found = {
            name: retrain(run, "best", seeds=seeds, recipe=recipe, data=data, all_data=True)
            for name, run in networks.items()
        }
        rows = [described(name, run, found[name]) for name, run in networks.items()]
        whole = {
            "machine": machine().partition(", ")[2],  # without its name
            "environment": search.manifest.environment,
            "search": {"trials": asked.trials, "max_macs": asked.max_macs, "sampler": search.experiment.sampler},
            "short_recipe": asdict(search.experiment.recipe),
            "resnets_of_equal_macs": reached,
            "recipe": asdict(replace(search.experiment.recipe, **recipe)),
            "training_images": TRAINING,
            "seeds": list(range(seeds)),
            "networks": rows,
            "difference": difference(*(row["test_top1"] for row in rows)),
        }
        if seeds == asked.seeds:
            whole["export"] = exported(search, found["searched hybrid"], asked.work / "model")
        RESULTS.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        for row in rows:
            print(row["name"], row["test_top1"], row["mean"], row["standard_deviation"], flush=True)
    print(whole["difference"], whole.get("export"))


if __name__ == "__main__":
    main()
