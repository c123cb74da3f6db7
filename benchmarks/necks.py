"""Does involution in the neck pay? One backbone and one head with a convolution neck and with involution necks.

Usage: python benchmarks/necks.py segmentation|detection [--epochs N] [--seeds 3] [--work FOLDER]

The involution neck has kernel 7, groups of 16 channels and reduction 4, as published. Beside it stand a convolution
neck of its width, which costs more, and the one with which the whole network costs the same. Everything else is equal:
scenes, recipe, backbone of convolutions, head. Seeds take turns, and each is tested once. Writes
benchmarks/results/necks_TASK.json after every seed; a kill costs an epoch: the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from retrained import difference

from invnas import (
    Architecture,
    Bottleneck,
    Convolution,
    ConvolutionFPN,
    DataSource,
    DenseNet,
    Experiment,
    HybridNet,
    InvolutionFPN,
    PlainStem,
    Recipe,
    RetinaHead,
    Run,
    SemanticFPN,
    Stage,
    resume_search,
    retrain,
    run_search,
)
from invnas.cost import cost
from invnas.latency.runner import machine
from invnas.task import head_of

CLASSES, SEED = 3, 0
#: How far the multiply-adds of networks may be from each other that count as equal.
EQUAL = 0.02
#: Channels of the involution neck.
WIDTH = 48


def experiment(task: str, network: DenseNet, epochs: int) -> Experiment:
    """Return one training of a network; what it finds is not looked at."""
    segments = task == "segmentation"
    scenes = {
        "task": task,
        "images": 1200,
        "classes": CLASSES,
        "image_size": 48 if segments else 64,
        "batch_size": 16,
        "seed": SEED,
    }
    recipe = Recipe(epochs=1, threads=1, learning_rate=0.5) if segments else RECIPE
    return Experiment(
        network,
        DataSource("invnas.data.Scenes", scenes),
        recipe,
        task=task,
        objectives=("miou" if segments else "map", "macs"),
        trials=1,
        sampler="random",
    )


RECIPE = Recipe(epochs=1, threads=1, learning_rate=0.003, optimizer="adamw")


def network_of(task: str, neck: Any) -> DenseNet:
    """Return the network around a neck."""
    first = 1 if task == "segmentation" else 2
    block = Bottleneck(Convolution(3), expansion=2)
    stages = [Stage(16, [block], first), Stage(32, [block], 2), Stage(64, [block, block], 2)]
    head = SemanticFPN(16) if task == "segmentation" else RetinaHead(32, 1)
    return DenseNet(HybridNet(PlainStem(16, 3, 2, False), stages), neck, head)


def macs(task: str, network: DenseNet) -> int:
    """Return what a whole network costs."""
    side = 48 if task == "segmentation" else 64
    classes = CLASSES + (task == "segmentation")
    return int(cost(Architecture(network), (3, side, side), head=head_of(task, (3, side, side), classes)).macs)


def necks(task: str) -> dict[str, Any]:
    """Return the necks by what to call them."""
    involution = InvolutionFPN(WIDTH)
    wanted = macs(task, network_of(task, involution))
    equal = min(map(ConvolutionFPN, range(4, WIDTH)), key=lambda neck: abs(macs(task, network_of(task, neck)) - wanted))
    off = macs(task, network_of(task, equal)) / wanted - 1
    if abs(off) > EQUAL:
        raise SystemExit(f"no convolution neck costs as much: the nearest, of width {equal.width}, is {off:+.1%} off")
    return {
        f"involution, width {WIDTH}": involution,
        f"convolution, width {equal.width}": equal,
        f"convolution, width {WIDTH}": ConvolutionFPN(WIDTH),
    }


def opened(asked: Experiment, folder: Path) -> Run:
    """Return the run of one short training."""
    if (folder / "run.json").is_file():
        return resume_search(folder, quiet=True)
    return run_search(asked, folder, quiet=True)


def described(task: str, name: str, run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Return what a network is and what its seeds reached on the test scenes."""
    trial = run.pick("best")
    first = run.experiment.what.tested[0]
    reached = [round(value, 5) for value in found[f"test_{first}"]]
    return {
        "neck": name,
        "cost": trial.cost.to_dict(),
        "architecture": trial.architecture.to_dict(),
        f"test_{first}": reached,
        "mean": statistics.fmean(reached),
        "standard_deviation": statistics.stdev(reached) if len(reached) > 1 else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["segmentation", "detection"])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/necks"))
    asked = parser.parse_args()
    runs = {
        name: opened(experiment(asked.task, network_of(asked.task, neck), 1), asked.work / asked.task / f"{number}")
        for number, (name, neck) in enumerate(necks(asked.task).items())
    }
    results = Path(__file__).parent / "results" / f"necks_{asked.task}.json"
    for seeds in range(1, asked.seeds + 1):
        found = {
            name: retrain(run, "best", epochs=asked.epochs, seeds=seeds, recipe={"threads": 1}, quiet=True)
            for name, run in runs.items()
        }
        rows = [described(asked.task, name, run, found[name]) for name, run in runs.items()]
        run = next(iter(runs.values()))
        measured = f"test_{run.experiment.what.tested[0]}"
        whole = {
            "machine": machine().partition(", ")[2],  # without its name
            "environment": run.manifest.environment,
            "data": asdict(run.experiment.data),
            "images": dict(run.manifest.facts.counts),
            "recipe": asdict(replace(run.experiment.recipe, epochs=asked.epochs)),
            "seeds": list(range(seeds)),
            "networks": rows,
            "gain_of_involution": {row["neck"]: difference(rows[0][measured], row[measured]) for row in rows[1:]},
        }
        results.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        for row in rows:
            print(row["neck"], row["cost"]["macs"], row[measured], row["mean"], row["standard_deviation"], flush=True)
    print(whole["gain_of_involution"])


if __name__ == "__main__":
    main()
