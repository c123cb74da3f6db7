"""Hypervolume of the samplers at equal trials on the digits space, every architecture really trained.

Usage: python benchmarks/samplers.py [--seeds 5] [--trials 32] [--epochs 6] [--processes 2] [--cache runs/sampler-cache]

All runs share one box (accuracy 0..1, multiply-adds on a log scale between the cheapest and the dearest seen), so their
shares are comparable. A training is kept by fingerprint: an architecture that several runs propose is trained once.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.measurement import Measurement, Trial
from invnas.messages import Ended, Job, Message
from invnas.pareto import box, hypervolume_over_trials
from invnas.run import Run
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.shipped import find

RESULTS = Path(__file__).parent / "results" / "samplers.json"
SAMPLERS = ("tpe", "random")


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
        from invnas.engine.evaluate import evaluate

        path = self.cache / f"{job.architecture.fingerprint}-{self.experiment.recipe.epochs}.json"
        if path.is_file():
            return Measurement.from_dict(json.loads(path.read_text()))
        with TemporaryDirectory() as scratch:
            at = Path(scratch)
            measured = evaluate(
                job.architecture,
                self.experiment,
                checkpoints=at / "c",
                weights=at / "w.safetensors",
                logs=at / "l",
            )
        path.write_text(json.dumps(measured.to_dict()))
        return measured

    def close(self) -> None:
        self.waiting.clear()


def run(job: tuple[Experiment, str]) -> tuple[str, int, list[Trial]]:
    import torch

    from invnas.cost import pricer

    experiment, cache = job
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        path = find("search_spaces", experiment.space)
        record = Run.create(Path(folder) / "run", experiment, path, facts=DataFacts((1, 8, 8), 10), environment={})
        with record.locked():
            search(
                record.space,
                make_sampler(experiment, record.space),
                pricer((1, 8, 8), 10),
                Kept(experiment, Path(cache)),
                record,
                trials=experiment.trials,
                objectives=experiment.axes,
                rng_seed=experiment.seed,
            )
        return experiment.sampler, experiment.seed, list(record.trials())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seeds", 5), ("trials", 32), ("epochs", 6), ("processes", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cache", default="runs/sampler-cache")
    asked = parser.parse_args()
    Path(asked.cache).mkdir(parents=True, exist_ok=True)
    recipe = Recipe(epochs=asked.epochs, learning_rate=0.3, threads=1)
    data = DataSource("HardDigits", {"batch_size": 32})
    jobs = [
        (Experiment(data=data, recipe=recipe, trials=asked.trials, sampler=sampler, seed=seed), asked.cache)
        for seed in range(asked.seeds)
        for sampler in SAMPLERS
    ]
    done: list[tuple[str, int, list[Trial]]] = []
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        for result in pool.map(run, jobs):
            done.append(result)
            print(f"{len(done)}/{len(jobs)}: {result[0]}, seed {result[1]}", flush=True)
    objectives = Experiment().axes
    shared = box([trial for _, _, trials in done for trial in trials], objectives)
    shares: dict[str, list[float]] = {
        name: [float(hypervolume_over_trials(trials, objectives, shared)[-1]) for s, _, trials in done if s == name]
        for name in SAMPLERS
    }
    table: dict[str, Any] = {
        name: {"hypervolume": values, "mean": statistics.fmean(values), "standard_deviation": statistics.stdev(values)}
        for name, values in shares.items()
    }
    print(f"\n{'sampler':<12}{'hypervolume, mean':>20}{'sd':>10}   {asked.trials} trials, {asked.seeds} seeds")
    for name, row in table.items():
        print(f"{name:<12}{row['mean']:>20.4f}{row['standard_deviation']:>10.4f}")
    wins = sum(a > b for a, b in zip(shares["tpe"], shares["random"], strict=True))
    print(f"tpe beats random in {wins} of {asked.seeds} seeds")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**vars(asked), "box": [list(shared.worst), list(shared.best)], **table}, indent=2))


if __name__ == "__main__":
    main()
