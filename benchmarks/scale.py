"""What a run of many trials costs: opening, fronts, hypervolumes, the live view, the report.

Usage: python benchmarks/scale.py [--trials 100 1000 10000] [--out benchmarks/results/scale.json]

The trials are recorded, not trained: random architectures of hybrid_cifar with a made-up accuracy and a real price.
Seconds of this machine; what matters is how they grow.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console

from invnas.caps import Caps
from invnas.cost import pricer
from invnas.errors import InvalidArchitecture
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Measurement
from invnas.objective import MACS, PARAMETERS
from invnas.pareto import hypervolume_over_trials, non_dominated, values_of
from invnas.report import write
from invnas.report.collect import collect
from invnas.run import Run
from invnas.search.live import LiveView
from invnas.search.proposer import Proposer
from invnas.search.sampler import told_of
from invnas.search.samplers import make_sampler
from invnas.shipped import find
from invnas.tasks.classification import TOP1

SPACE, SHAPE, CLASSES = "hybrid_cifar", (3, 32, 32), 10


def record(folder: Path, trials: int) -> Run:
    """Make a run folder of so many finished trials."""
    run = Run.create(
        folder,
        Experiment(space=SPACE, trials=trials),
        find("search_spaces", SPACE),
        facts=DataFacts(SHAPE, CLASSES),
        environment={},
    )
    price, rng = pricer(SHAPE, CLASSES), random.Random(0)
    # Only here: a record that is made up need not survive a power cut.
    with mock.patch("os.fsync"), run.locked():
        while len(run.trials()) < trials:
            decisions = run.space.draw(rng)
            try:
                architecture = run.space.architecture(decisions)
                trial = run.start(architecture, decisions, price(architecture))
            except InvalidArchitecture:
                continue
            top1 = min(max(0.1 * np.log10(trial.cost.macs) - 0.2 + rng.gauss(0, 0.05), 0), 1)
            run.finish(trial, Measurement({"top1": top1, "loss": 2 - top1}, 6, 6, 4.2, "shift", "cpu"))
    return run


def seconds(work: Callable[[], Any], repeat: int = 1) -> float:
    """Return the fastest of some calls."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def live_share(run: Run) -> float:
    """Return the share of one core that drawing the live view twice a second takes."""
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    view = LiveView(len(run.trials()) + 1, run.experiment.axes, run.trials(), console=console)
    console.print(view)
    return 2 * seconds(lambda: console.print(view), repeat=20)


def proposals(run: Run, many: int = 11) -> list[float]:
    """Return the seconds of so many proposals, one after the other, each told of as if it had been trained."""
    known, price, took = list(run.trials()), pricer(SHAPE, CLASSES), []
    sampler = make_sampler(run.experiment, run.space, known)
    for step in range(many):
        proposer = Proposer(run.space, sampler, price, Caps(), known, "search", 0, lambda event: None)
        began = time.perf_counter()
        found = proposer.next()
        took.append(time.perf_counter() - began)
        assert found is not None
        one = found.candidate
        measured = replace(
            known[step], number=len(known), architecture=one.architecture, decisions=one.decisions, cost=one.cost
        )
        sampler.tell(told_of(measured))
        known.append(measured)
    return took


def measure(trials: int) -> dict[str, float]:
    """Return what a run of so many trials costs, in seconds unless the name says otherwise."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "run"
        record(folder, trials)
        opened: list[Run] = []
        opening = seconds(lambda: opened.append(Run.open(folder)))
        run = opened[0]
        known, axes = run.trials(), run.experiment.axes
        three = (TOP1, MACS, PARAMETERS)
        page: list[Path] = []
        report = seconds(lambda: page.append(write(collect("run", run.experiment, known, {}), folder / "report")))
        return {
            "trials": trials,
            "journal_megabytes": (folder / "journal.log").stat().st_size / 1e6,
            "open": opening,
            "proposal": statistics.median(proposals(run)),
            "non_dominated": seconds(lambda: non_dominated(values_of(known, axes), axes), repeat=3),
            "hypervolume_over_trials_2": seconds(lambda: hypervolume_over_trials(known, axes)),
            "hypervolume_over_trials_3": seconds(lambda: hypervolume_over_trials(known, three)),
            "live_view_share_of_a_core": live_share(run),
            "report": report,
            "page_megabytes": page[0].stat().st_size / 1e6,
            "peak_memory_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = []
    for trials in asked.trials:
        rows.append(measure(trials))
        print(json.dumps({name: round(value, 5) for name, value in rows[-1].items()}, indent=1), flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
