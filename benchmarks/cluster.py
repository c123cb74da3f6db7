"""What Ray Tune and the search add to trainings: recorded ones of one second, on many logical CPUs of this machine.

Usage: python benchmarks/cluster.py [--concurrent 4 16] [--rounds 40] [--trials 2000] [--out FILE]

A training tells of four epochs and sleeps for one second in all, so that nothing but the search, Tune and the crossings
between them computes. The overhead is the wall time from the first full round to the last trial, over the ideal one.
With `--trials` the memory of the process of the search is measured over so many trainings that take no time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from invnas.cost import pricer
from invnas.engine.ray.cluster import check_ray
from invnas.engine.ray.engine import RayEngine
from invnas.engine.ray.worker import Runner
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Measurement
from invnas.messages import Job, Message, Outcome, Progress
from invnas.run import Run
from invnas.search.events import Event, Finished
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.shipped import find

SPACE, SHAPE, CLASSES, EPOCHS = "hybrid_cifar", (3, 32, 32), 10, 4


def at_once(
    job: Job, store: Any, scratch: Path, tell: Callable[[Message], None], stopped: Callable[[], bool]
) -> Outcome:
    return Measurement({"top1": (job.number * 7919 % 1000) / 1000, "loss": 1.0}, EPOCHS, EPOCHS)


def recorded(
    job: Job, store: Any, scratch: Path, tell: Callable[[Message], None], stopped: Callable[[], bool]
) -> Outcome:
    import time

    tell(Progress(job.number, 0, EPOCHS, {}, job.attempt))
    for epoch in range(1, EPOCHS + 1):
        time.sleep(1 / EPOCHS)
        tell(Progress(job.number, epoch, EPOCHS, {"train_loss": 1 / epoch}, job.attempt))
    return Measurement({"top1": (job.number * 7919 % 1000) / 1000, "loss": 1.0}, EPOCHS, EPOCHS)


def follow(concurrent: int, trials: int, run: Runner, note: Callable[[], None]) -> float:
    """Search under Ray with so many trials at a time; call `note` at the end of each, return when it began."""
    import ray

    ray.init("local", num_cpus=concurrent, include_dashboard=False, log_to_driver=False, logging_level=40)
    asked = Experiment(space=SPACE, trials=trials, engine="ray", sampler="random")
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        path, facts = find("search_spaces", SPACE), DataFacts(SHAPE, CLASSES)
        made = Run.create(Path(folder, "run"), asked, path, facts=facts, environment={})
        engine = RayEngine(made.folder, asked, run=run)
        with made.locked():
            sampler, price = make_sampler(asked, made.space), pricer(SHAPE, CLASSES)

            def listen(event: Event) -> None:
                if isinstance(event, Finished):
                    note()

            search(made.space, sampler, price, engine, made, trials=trials, objectives=asked.axes, on_event=listen)
        engine.close()
    ray.shutdown()
    return began


def measure(concurrent: int, rounds: int) -> dict[str, float]:
    """Return the overhead of so many trials at a time, with what there was before the first one."""
    finished = list[float]()
    began = follow(concurrent, concurrent * (rounds + 1), recorded, lambda: finished.append(time.monotonic()))
    wall = finished[-1] - finished[concurrent - 1]
    return {
        "concurrent": concurrent,
        "trials": len(finished),
        "first_trial_s": finished[0] - began,
        "wall_s": wall,
        "ideal_s": float(rounds),
        "overhead": wall / rounds - 1,
    }


def remember(trials: int) -> dict[str, float]:
    """Return what the process of the search holds after a tenth of so many trials and after all, and the rate."""
    held, finished = list[float](), list[float]()

    def note() -> None:
        finished.append(time.monotonic())
        held.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)

    follow(2, trials, at_once, note)
    tenth = trials // 10
    return {
        "trials": trials,
        "mb_after_a_tenth": held[tenth],
        "mb": held[-1],
        "kb_a_trial": 1024 * (held[-1] - held[tenth]) / (trials - tenth),
        "trials_a_second": (trials - tenth) / (finished[-1] - finished[tenth]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrent", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    check_ray()
    found = []
    for concurrent in args.concurrent:
        found.append({**measure(concurrent, args.rounds), "load_before": os.getloadavg()[0]})
        print(", ".join(f"{name} {value:.3g}" for name, value in found[-1].items()), flush=True)
    memory = remember(args.trials) if args.trials else None
    if memory:
        print(", ".join(f"{name} {value:.4g}" for name, value in memory.items()), flush=True)
    if args.out:
        machine = {"system": platform.platform(), "cores": os.cpu_count()}
        args.out.write_text(json.dumps({"machine": machine, "runs": found, "memory": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
