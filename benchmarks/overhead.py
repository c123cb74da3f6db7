"""What a trial costs beyond training: ask, price, build, record; and what Lightning adds to a training.

Usage: python benchmarks/overhead.py [--trials 100]

The engine answers at once, everything else is real: TPE, exact prices, a run folder with its journal and fsync.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.data import load_data
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement
from invnas.messages import Ended, Job, Message
from invnas.nn import build
from invnas.run import Run
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.shipped import find
from invnas.training import train

RESULTS = Path(__file__).parent / "results" / "overhead.json"
SPACES = {"digits": (1, 8, 8), "hybrid_cifar": (3, 32, 32)}


class AtOnce:
    """Answers with a formula instead of a training; building the network is part of a trial and done."""

    workers = 1

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.jobs: list[Job] = []
        self.building: list[float] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def stop(self, number: int) -> None:
        pass

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        job = self.jobs.pop()
        start = time.perf_counter()
        build(job.architecture, self.shape, 10)
        self.building.append(time.perf_counter() - start)
        top1 = 0.5 + 0.4 * (int(job.architecture.fingerprint[:4], 16) / 65536)
        tell(Ended(job.number, Measurement({"top1": top1})))

    def quiet(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass


def per_trial(trials: int, name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    pricing: list[float] = []

    def price(architecture: Architecture) -> Cost:
        start = time.perf_counter()
        found = cost(architecture, shape, 10)
        pricing.append(time.perf_counter() - start)
        return found

    experiment, ends, engine = Experiment(trials=trials), [time.perf_counter()], AtOnce(shape)
    with TemporaryDirectory() as folder:
        path = find("search_spaces", name)
        run = Run.create(Path(folder) / "run", experiment, path, facts=DataFacts(shape, 10), environment={})
        with run.locked():
            outcome = search(
                run.space,
                make_sampler(experiment, run.space),
                price,
                engine,
                run,
                trials=trials,
                objectives=experiment.axes,
                on_event=lambda event: ends.append(time.perf_counter()) if type(event).__name__ == "Finished" else None,
            )
        known = [trial.architecture.fingerprint for trial in run.trials()]
    laps = [b - a for a, b in itertools.pairwise(ends)]
    return {
        "trials": trials,
        "mean_ms": 1000 * statistics.fmean(laps[1:]),
        "median_ms": 1000 * statistics.median(laps[1:]),
        "worst_ms": 1000 * max(laps[1:]),
        "last_20_mean_ms": 1000 * statistics.fmean(laps[-20:]),
        "of_which_price_ms": 1000 * sum(pricing[1:]) / trials,
        "of_which_build_ms": 1000 * statistics.fmean(engine.building),
        "duplicates_trained": len(known) - len(set(known)),
        "rejected": dict(outcome.rejected),
    }


def lightning() -> dict[str, float]:
    data = load_data(DataSource("Digits", {"batch_size": 64}))
    laps: dict[int, list[float]] = {1: [], 11: []}
    for _ in range(6):
        for epochs, found in laps.items():
            network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
            start = time.perf_counter()
            with TemporaryDirectory() as folder:
                train(network, data, Recipe(epochs=epochs), checkpoints=Path(folder))
            found.append(1000 * (time.perf_counter() - start))
    one, eleven = (statistics.median(found[1:]) for found in laps.values())
    return {"one_epoch_of_a_linear_layer_ms": one, "each_further_epoch_ms": (eleven - one) / 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    trials = parser.parse_args().trials
    torch.set_num_threads(1)
    result = {name: per_trial(trials, name, shape) for name, shape in SPACES.items()} | {"lightning": lightning()}
    for group, row in result.items():
        for name, value in row.items():
            print(f"{group:<13} {name:<32} {value if not isinstance(value, float) else round(value, 2)}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
