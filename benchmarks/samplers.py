"""Samplers at equal trials on the digits space, every architecture really trained: the end-to-end comparison.

Usage: python benchmarks/samplers.py [--seeds 5] [--trials 60] [--epochs 6] [--processes 2] [--cache runs/sampler-cache]
                                     [--samplers known-cost,tpe,random]

A search sees the training of its own seed; the front that it chose after each trial is worth what a training of the
same architecture with a seed that no search has found (`scored`). The box is fixed: top-1 from chance to 99 %,
multiply-adds from the dearest to the cheapest of the space. A training is kept by fingerprint and seed: what was
trained is not trained again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from invnas.architecture import Architecture
from invnas.bench import Curves, scored
from invnas.cost import pricer
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement
from invnas.messages import Ended, Job, Message
from invnas.pareto import Box
from invnas.run import Run
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.shipped import find
from invnas.space_check import ends_of

RESULTS = Path(__file__).parent / "results" / "samplers.json"
#: The first is compared with each other.
SAMPLERS = ("known-cost", "tpe", "random")
#: What no search has as its seed: that of the trainings which score.
OTHER = 1_000
CHANCE, BEST = 0.1, 0.99


class Kept:
    """Trains here, once for each architecture."""

    workers = 1

    def __init__(self, experiment: Experiment, cache: Path) -> None:
        self.experiment, self.cache = experiment, cache
        self.waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def stop(self, number: int) -> None:
        pass

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        job = self.waiting.popleft()
        tell(Ended(job.number, self._measured(job)))

    def quiet(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _measured(self, job: Job) -> Measurement:
        return trained(job.architecture, self.experiment, self.cache)

    def close(self) -> None:
        self.waiting.clear()


def trained(architecture: Architecture, experiment: Experiment, cache: Path) -> Measurement:
    """Return what a training finds; what is in the cache is not trained again."""
    from invnas.engine.evaluate import evaluate

    path = cache / f"{architecture.fingerprint}-{experiment.recipe.epochs}-{experiment.seed}.json"
    if path.is_file():
        return Measurement.from_dict(json.loads(path.read_text()))
    with TemporaryDirectory(dir=cache) as scratch:
        at = Path(scratch)
        files = {"checkpoints": at / "c", "weights": at / "w.safetensors", "logs": at / "l"}
        measured = evaluate(architecture, experiment, **files)
        written = at / "measured"
        written.write_text(json.dumps(measured.to_dict()))
        written.replace(path)  # whole or not at all
    return measured


def run(job: tuple[Experiment, str]) -> tuple[str, int, list[float]]:
    """Return the sampler, the seed, and the hypervolume after each trial."""
    import torch

    experiment, cache = job[0], Path(job[1])
    torch.set_num_threads(1)
    price = pricer((1, 8, 8), 10)
    with TemporaryDirectory() as folder:
        path = find("search_spaces", experiment.space)
        record = Run.create(Path(folder) / "run", experiment, path, facts=DataFacts((1, 8, 8), 10), environment={})
        with record.locked():
            search(
                record.space,
                make_sampler(experiment, record.space),
                price,
                Kept(experiment, cache),
                record,
                trials=experiment.trials,
                objectives=experiment.axes,
                rng_seed=experiment.seed,
            )
        found = [(trial.architecture, trial.measurement) for trial in record.trials() if trial.measurement is not None]
        ends = ends_of(record.space, price, ["macs"])["macs"]
    others = replace(experiment, seed=OTHER)

    def true(architecture: Architecture) -> tuple[Cost, Measurement]:
        return price(architecture), trained(architecture, others, cache)

    box = Box((CHANCE, max(ends)), (BEST, min(ends)))
    return experiment.sampler, experiment.seed, scored(found, true, experiment.axes, box).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seeds", 5), ("trials", 60), ("epochs", 6), ("processes", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cache", default="runs/sampler-cache")
    parser.add_argument("--samplers", type=lambda text: text.split(","), default=SAMPLERS)
    asked = parser.parse_args()
    Path(asked.cache).mkdir(parents=True, exist_ok=True)
    recipe = Recipe(epochs=asked.epochs, learning_rate=0.3, threads=1)
    data = DataSource("HardDigits", {"batch_size": 32})
    jobs = [
        (Experiment(data=data, recipe=recipe, trials=asked.trials, sampler=sampler, seed=seed), asked.cache)
        for seed in range(asked.seeds)
        for sampler in asked.samplers
    ]
    done: dict[str, list[list[float]]] = {name: [] for name in asked.samplers}
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        for sampler, seed, curve in pool.map(run, jobs):
            done[sampler].append(curve)
            print(f"{sampler}, seed {seed}: {curve[-1]:.4f}", flush=True)
    curves = {name: Curves(np.array(found)) for name, found in done.items()}
    ours = curves[asked.samplers[0]]
    table: dict[str, Any] = {}
    for name, one in curves.items():
        last = one.values[:, -1]
        table[name] = {"hypervolume": last.tolist(), "mean": one.mean.round(5).tolist(), "sd": float(last.std(ddof=1))}
        times = "" if one is ours else f"{asked.samplers[0]} needs {ours.times_fewer(one)} times fewer trials for it"
        print(f"{name:<12}{last.mean():.4f} ± {last.std(ddof=1):.4f}  {times}")
        if one is not ours:
            table[name]["times_fewer"] = vars(ours.times_fewer(one))
            table[name]["ours_ahead"] = int((ours.values[:, -1] > last).sum())
    RESULTS.parent.mkdir(exist_ok=True)
    said = {name: value for name, value in vars(asked).items() if name != "cache"}
    RESULTS.write_text(json.dumps({**said, **table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
