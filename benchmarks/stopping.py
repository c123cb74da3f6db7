"""Epochs to equal hypervolume: halving by non-dominated rank against training every candidate to the end.

    python benchmarks/stopping.py record [--cache runs/curves]   # train the curves: random architectures, 8 epochs each
    python benchmarks/stopping.py replay [--shuffles 40]          # random search over them in many orders, at once
    python benchmarks/stopping.py search [--seeds 5] [--samplers random,tpe,known-cost]   # real ones, with and without

A replay asks after how many epochs the mean hypervolume over the orders is that of full training after 48 trials. A
search asks, seed by seed, when each first has the hypervolume that 48 full trainings end with; epochs of stopped
trainings count. All of them share one box, and an architecture is trained once, with one seed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from curves import IMAGES, Curve, Curves
from scipy.stats import kendalltau

from invnas.architecture import Architecture, Convolution
from invnas.cost import pricer
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement, Trial
from invnas.messages import Ended, Job, Message, Progress
from invnas.pareto import Box, hypervolume, hypervolume_over_trials, values_of
from invnas.run import Run
from invnas.search.events import Event, Finished, Stopped
from invnas.search.halving import HalvingStopper, promising
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.shipped import find
from invnas.stopping import Halving, halving_of

RESULTS = Path(__file__).parent / "results" / "stopping.json"
CURVES = RESULTS.with_name("curves.json")
EPOCHS, TRIALS, SEEDS = 8, 48, 5
#: Trials after which a halved search that has not reached its goal is given up.
LIMIT = 160
#: The same points in another order may cover a little less.
ROUNDING = 1e-12
#: That of experiments/digits.yaml; a seed is that of the proposals, trainings have seed 0.
ASKED = Experiment(
    data=DataSource("HardDigits", {"batch_size": 32}), recipe=Recipe(epochs=EPOCHS, learning_rate=0.3, threads=1)
)
#: Accuracy from 0 to 1, multiply-adds (log scale) from the dearest of the space to the cheapest.
BOX = Box((0.0, 7_186_048.0), (1.0, 69_440.0))


class Follower:
    """An engine that trains here, each architecture once."""

    workers = 1

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self.waiting: deque[Job] = deque()
        self.stopped: set[int] = set()

    def submit(self, job: Job) -> None:
        self.waiting.append(job)

    def stop(self, number: int) -> None:
        self.stopped.add(number)

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        job = self.waiting.popleft()
        rungs, last = job.experiment.rungs, Measurement({})

        def heard(epoch: int, curve: Curve) -> bool:
            nonlocal last
            judged = epoch in rungs.epochs
            seen = curve["recalibrated" if judged and rungs.images else "plain"]
            last = Measurement({"top1": seen[-1]}, epoch, EPOCHS)
            tell(Progress(job.number, epoch, EPOCHS, last.values, job.attempt, last if judged else None))
            return job.number in self.stopped

        self.curves.follow(job.architecture, heard)
        tell(Ended(job.number, last, job.attempt))

    def quiet(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        self.waiting.clear()


class _Reached(Exception):
    """A search has what it was to reach."""


def searched(experiment: Experiment, curves: Curves, goal: float = 2.0) -> list[Trial]:
    """Return the trials of a search that ends as soon as its hypervolume reaches a goal."""
    trials: list[Trial] = []

    def follow(event: Event) -> None:
        if isinstance(event, Finished | Stopped):
            trials.append(event.trial)
            if isinstance(event, Finished) and shares(trials)[-1] >= goal - ROUNDING:
                raise _Reached

    halving = None
    if experiment.stopper == "halving":
        halving = HalvingStopper(experiment.axes, halving_of(experiment.stopper_args).eta)
    with TemporaryDirectory() as folder:
        path = find("search_spaces", experiment.space)
        record = Run.create(Path(folder) / "run", experiment, path, facts=DataFacts((1, 8, 8), 10), environment={})
        with record.locked(), suppress(_Reached):
            search(
                record.space,
                make_sampler(experiment, record.space),
                pricer((1, 8, 8), 10),
                Follower(curves),
                record,
                trials=experiment.trials,
                objectives=experiment.axes,
                rng_seed=experiment.seed,
                stopper=halving,
                on_event=follow,
            )
    return trials


def shares(trials: Sequence[Trial]) -> np.ndarray:
    """Return the hypervolume after each trial."""
    return hypervolume_over_trials(trials, ASKED.axes, BOX)


def spent(trials: Sequence[Trial]) -> list[int]:
    """Return the epochs spent after each trial."""
    return list(accumulate(trial.measurement.epochs for trial in trials if trial.measurement is not None))


def first(trials: Sequence[Trial], goal: float) -> int | None:
    """Return the epochs after which a hypervolume was reached; None where it was not."""
    reached = np.flatnonzero(shares(trials) >= goal - ROUNDING)
    return spent(trials)[reached[0]] if len(reached) else None


def record(cache: Path) -> None:
    """Train what a random search of each seed proposes, and write the curves."""
    curves = Curves(cache, ASKED, averaged=True)
    found: dict[str, dict[str, Any]] = {}
    for seed in range(SEEDS):
        asked = replace(ASKED, sampler="random", trials=2 * TRIALS if seed == 0 else TRIALS, seed=seed)
        for trial in searched(asked, curves):
            whole = curves.follow(trial.architecture, lambda epoch, curve: False)
            found[trial.architecture.fingerprint] = {"macs": trial.cost.macs, **whole}
        print(f"seed {seed}: {len(found)} curves", flush=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(curve)}" for name, curve in found.items())
    CURVES.write_text(f"{{\n{lines}\n}}\n")


def taus(pool: Sequence[Any]) -> dict[str, list[float]]:
    """Return Kendall's tau of each epoch to the end of the training, by the way an epoch was seen."""
    end = [curve["plain"][-1] for curve in pool]
    return {
        way: [round(float(kendalltau([c[way][epoch] for c in pool], end).statistic), 3) for epoch in range(EPOCHS)]
        for way in ("plain", "recalibrated", "averaged")
    }


def replayed(order: Sequence[Any], halving: Halving | None, way: str) -> Iterator[Trial]:
    """Go through curves in an order, as a random search would."""
    stopper = HalvingStopper(ASKED.axes, halving.eta if halving else 2)
    rungs = halving.rungs(EPOCHS).epochs if halving else ()
    for number, curve in enumerate(order):
        trial = Trial(number, Architecture(Convolution()), {}, Cost.counted(curve["macs"], 0, 0))
        for epoch in rungs:
            trial = replace(trial, rungs=(*trial.rungs, Measurement({"top1": curve[way][epoch - 1]}, epoch, EPOCHS)))
            if stopper.judge(trial):
                yield replace(trial, state="stopped", measurement=trial.rungs[-1])
                break
        else:
            whole = Measurement({"top1": curve["plain"][-1]}, EPOCHS, EPOCHS)
            yield replace(trial, state="complete", measurement=whole)


def mean_share(orders: Sequence[Sequence[Any]], halving: Halving | None, way: str = "plain") -> np.ndarray:
    """Return the mean hypervolume over the orders after each epoch, from 0."""
    most = EPOCHS * 2 * TRIALS
    found = np.zeros((len(orders), most + 1))
    for row, order in zip(found, orders, strict=True):
        trials = list(replayed(order, halving, way))
        for epochs, share in zip(spent(trials), shares(trials), strict=True):
            row[epochs:] = share
    mean: np.ndarray = found.mean(axis=0)
    return mean


def replay(shuffles: int) -> dict[str, Any]:
    """Compare the settings of halving on recorded curves."""
    pool = list(json.loads(CURVES.read_text()).values())
    orders = [random.Random(seed).sample(pool, len(pool)) for seed in range(shuffles)]
    full = mean_share(orders, None)
    rows = []
    ways = (("recalibrated", IMAGES), ("plain", 0), ("averaged", IMAGES))
    print(f"{'eta':>4}{'first':>6}  {'seen':<14}{'ratio after 24':>15}{'48':>7}{'96 trials':>11}")
    for eta, start in ((2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2)):
        for way, images in ways:
            halved = mean_share(orders, Halving(eta, start, images), way)
            ratios = {}
            for trials in (TRIALS // 2, TRIALS, 2 * TRIALS):
                reached = np.flatnonzero(halved >= full[EPOCHS * trials])
                ratios[trials] = round(EPOCHS * trials / int(reached[0]), 2) if len(reached) else None
            rows.append({"eta": eta, "first": start, "seen": way, "ratio": ratios})
            print(f"{eta:>4}{start:>6}  {way:<14}" + "".join(f"{value!s:>10}" for value in ratios.values()), flush=True)
    added = {str(eta): promoted(orders, eta) for eta in (2, 4)}
    print(f"hypervolume that five stopped trials add, by eta: {added}")
    return {"curves": len(pool), "shuffles": shuffles, "kendall_tau": taus(pool), "rows": rows, "promoted": added}


def promoted(orders: Sequence[Sequence[Any]], eta: int, number: int = 5) -> dict[str, float]:
    """Return the mean hypervolume that stopped trials add when they are trained on: the promising, and any."""
    added: dict[str, list[float]] = {"promising": [], "chance": []}
    for seed, order in enumerate(orders):
        trials = list(replayed(order[:LIMIT], Halving(eta), "recalibrated"))
        stopped = [trial for trial in trials if trial.state == "stopped"]
        picks = {
            "promising": [promising(trials, ASKED.axes)[:number]],
            "chance": [random.Random(f"{seed}/{draw}").sample(stopped, number) for draw in range(10)],
        }
        for name, drawn in picks.items():
            for picked in drawn:
                whole = [Measurement({"top1": order[trial.number]["plain"][-1]}, EPOCHS, EPOCHS) for trial in picked]
                ended = [replace(t, state="complete", measurement=m) for t, m in zip(picked, whole, strict=True)]
                added[name].append(covered([*trials, *ended]) - covered(trials))
    return {name: round(statistics.mean(found), 5) for name, found in added.items()}


def covered(trials: Sequence[Trial]) -> float:
    """Return the hypervolume of the trials that were trained to the end."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return hypervolume(values_of(complete, ASKED.axes), ASKED.axes, BOX)


def row_of(experiment: Experiment, full: Sequence[Trial], halved: Sequence[Trial]) -> dict[str, Any]:
    """Return what one seed came to."""
    goal = float(shares(full)[-1])
    return {
        "sampler": experiment.sampler,
        "seed": experiment.seed,
        "hypervolume": goal,
        "full_epochs": first(full, goal),
        "halved_epochs": first(halved, goal),
        "halved_trials": len(halved),
        "stopped": sum(trial.state == "stopped" for trial in halved),
    }


def searches(cache: Path, seeds: int, samplers: Sequence[str]) -> list[dict[str, Any]]:
    """Search with and without halving."""
    curves, rows = Curves(cache, ASKED), []
    for sampler in samplers:
        for seed in range(seeds):
            asked = replace(ASKED, sampler=sampler, trials=TRIALS, seed=seed)
            full = searched(asked, curves)
            halving = replace(asked, stopper="halving", stopper_args=asdict(Halving()), trials=LIMIT)
            rows.append(row_of(asked, full, searched(halving, curves, float(shares(full)[-1]))))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    for sampler in samplers:
        ratios = [row["full_epochs"] / (row["halved_epochs"] or np.inf) for row in rows if row["sampler"] == sampler]
        print(f"{sampler}: {statistics.median(ratios):.2f} times fewer epochs (median of {len(ratios)} seeds)")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "replay", "search"))
    parser.add_argument("--cache", type=Path, default=Path("runs/curves"))
    parser.add_argument("--shuffles", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--samplers", default="random,tpe,known-cost", help="rows of others are kept")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "record":
        record(asked.cache)
        return
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if asked.what == "replay":
        known["replay"] = replay(asked.shuffles)
    else:
        samplers = asked.samplers.split(",")
        kept = [row for row in known.get("search", []) if row["sampler"] not in samplers]
        known["search"] = [*kept, *searches(asked.cache, asked.seeds, samplers)]
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
