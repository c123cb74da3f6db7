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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.data import load_data
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.measurement import Cost, Measurement, Trial
from invnas.nn import build
from invnas.run import Run
from invnas.search.loop import search
from invnas.search.sampler import make_sampler
from invnas.shipped import find
from invnas.training import train

RESULTS = Path(__file__).parent / "results" / "overhead.json"


class AtOnce:
    """Answers with a formula instead of a training; building the network is part of a trial and done."""

    workers = 1

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.building: list[float] = []

    def submit(self, trial: Trial) -> None:
        self.trials.append(trial)

    def wait(self, timeout: float) -> list[tuple[Trial, Measurement | str]]:
        trial = self.trials.pop()
        start = time.perf_counter()
        build(trial.architecture, (1, 8, 8), 10)
        self.building.append(time.perf_counter() - start)
        top1 = 0.5 + 0.4 * (int(trial.architecture.fingerprint[:4], 16) / 65536)
        return [(trial, Measurement(top1, 1.0, trial.cost.macs, trial.cost.parameters, trial.cost.activation_bytes))]

    def close(self) -> None:
        pass


def per_trial(trials: int) -> dict[str, Any]:
    pricing: list[float] = []

    def price(architecture: Architecture) -> Cost:
        start = time.perf_counter()
        found = cost(architecture, (1, 8, 8), 10)
        pricing.append(time.perf_counter() - start)
        return found

    experiment, ends, engine = Experiment(trials=trials), [time.perf_counter()], AtOnce()
    with TemporaryDirectory() as folder:
        path = find("search_spaces", "digits")
        run = Run.create(Path(folder) / "run", experiment, path, input_shape=(1, 8, 8), classes=10, environment={})
        with run.locked():
            outcome = search(
                run.space,
                make_sampler(experiment, run.space),
                price,
                engine,
                run,
                trials=trials,
                objectives=experiment.objectives,
                on_event=lambda event: ends.append(time.perf_counter()) if type(event).__name__ == "Finished" else None,
            )
        known = [trial.architecture.fingerprint for trial in run.trials()]
    laps = [b - a for a, b in itertools.pairwise(ends)]
    return {
        "trials": trials,
        "mean_ms": 1000 * statistics.fmean(laps[1:]),
        "median_ms": 1000 * statistics.median(laps[1:]),
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
                train(network, data, Recipe(epochs=epochs), cost=Cost(0, 0, 0), classes=10, checkpoints=Path(folder))
            found.append(1000 * (time.perf_counter() - start))
    one, eleven = (statistics.median(found[1:]) for found in laps.values())
    return {"one_epoch_of_a_linear_layer_ms": one, "each_further_epoch_ms": (eleven - one) / 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    trials = parser.parse_args().trials
    torch.set_num_threads(1)
    result = {"search": per_trial(trials), "lightning": lightning()}
    for group, row in result.items():
        for name, value in row.items():
            print(f"{group:<10} {name:<32} {value if not isinstance(value, float) else round(value, 2)}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
