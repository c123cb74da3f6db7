"""What the proof leaves out: batches, three objectives, and where a search may end by itself.

    python benchmarks/search/beyond.py batches|three|ending [--seeds 10] [--processes 2]

`batches`: known-cost with so many proposals before the first answer. `three`: top-1, multiply-adds and parameters.
`ending`: after how many trainings a search that is told to end ends (`--stop-when-converged`), and what its front is
worth then, beside the same search after all of them. Scored as in `proof.py`; written to
benchmarks/results/search_beyond.json, each question under its name.
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from grounds import AXES, GROUNDS, TITLES, Ground

from invnas.architecture import Architecture
from invnas.bench import Curves, replay, scored
from invnas.caps import Caps
from invnas.experiment import Experiment
from invnas.measurement import Measurement, Trial
from invnas.pareto import Box
from invnas.search.convergence import Convergence
from invnas.search.outlook import Candidates

RESULTS = Path(__file__).parents[1] / "results" / "search_beyond.json"
SHOWN = (25, 50, 100, 200)
BATCHES = (1, 4, 8, 16)
SAMPLERS = {
    "known-cost": ("known-cost", {}),
    "tpe": ("tpe", {}),
    "nsga2-20": ("optuna.samplers.NSGAIISampler", {"population_size": 20}),
    "random": ("random", {}),
}
#: Shares that `--stop-when-converged` is given, and the trainings after which it is asked whether it would end.
SHARES, STEP = (0.05, 0.02, 0.01, 0.005, 0.002), 5
THREE = Experiment(objectives=("top1", "macs", "parameters")).axes
WHERE = {
    "batches": ("hybrid_cifar-fitted", "hybrid_cifar-pairs", "nasbench201-cifar10"),
    "three": ("hybrid_cifar-fitted", "hybrid_cifar-pairs"),
    "ending": ("hybrid_cifar-fitted", "hybrid_cifar-pairs", "nasbench201-cifar10", "invbench"),
}

Found = list[tuple[Architecture, Measurement]]
_ground = cache(lambda name: GROUNDS[name]())


def batches(name: str, workers: int, seed: int) -> list[float]:
    """Return the curve of known-cost with so many trainings at a time."""
    ground: Ground = _ground(name)
    return scored(
        _searched(ground, "known-cost", {}, seed, workers=workers), ground.judged(seed), AXES, ground.box
    ).tolist()


def three(name: str, sampler: str, seed: int) -> list[float]:
    """Return the curve of a sampler with three objectives."""
    ground: Ground = _ground(name)
    asked, args = SAMPLERS[sampler]
    found = _searched(ground, asked, args, seed, objectives=[axis.name for axis in THREE])
    return scored(found, ground.judged(seed), THREE, _wider(ground, seed)).tolist()


def _wider(ground: Ground, seed: int) -> Box:
    """Return the box of two objectives, with the most and the fewest parameters of many draws."""
    found = replay(ground.space, ground.seen(seed), "branch-uniform", trials=300, seed=1_000, price=ground.price)
    sizes = [ground.price(architecture).parameters for architecture, _ in found]
    return Box((*ground.box.worst, max(sizes)), (*ground.box.best, min(sizes)))


def ending(name: str, _: int, seed: int) -> dict[str, Any]:
    """Return the curve of known-cost, and for each share the training after which a search would end (or None)."""
    ground: Ground = _ground(name)
    found = _searched(ground, "known-cost", {}, seed)
    trials = [
        Trial(i, one, ground.space.decisions(one) or {}, ground.price(one), "complete", measured, seed=0)
        for i, (one, measured) in enumerate(found)
    ]
    looked = Candidates(ground.space, ground.price, Caps(), AXES, seed)
    judges = {share: Convergence(looked, AXES, share, 10) for share in SHARES}
    ends: dict[str, int | None] = dict.fromkeys(map(str, SHARES))
    for n in range(20, len(trials) + 1, STEP):
        for share, judge in judges.items():
            if ends[str(share)] is None and judge(trials[:n]):
                ends[str(share)] = n
    return {"curve": scored(found, ground.judged(seed), AXES, ground.box).tolist(), "ends": ends}


def _searched(ground: Ground, sampler: str, args: dict[str, Any], seed: int, **more: Any) -> Found:
    given = {"trials": ground.trials, "seed": seed, "sampler_args": args, "price": ground.price, **more}
    return replay(ground.space, ground.seen(seed), sampler, **given)


def _run(job: tuple[str, str, Any, int]) -> Any:
    import torch

    torch.set_num_threads(1)
    question, *rest = job
    return {"batches": batches, "three": three, "ending": ending}[question](*rest)


def table(question: str, answers: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """Return what is written: means at some trainings, and how many times fewer the first needs than each other."""
    if question == "ending":
        return {name: _ended(next(iter(by.values()))) for name, by in answers.items()}
    result: dict[str, Any] = {}
    for name, by in answers.items():
        curves = {key: Curves(np.array(found)) for key, found in by.items()}
        first = next(iter(curves.values()))
        result[name] = {
            key: {
                "hypervolume": {str(n): round(one.at(n), 4) for n in SHOWN if n <= one.trainings},
                **({} if one is first else {"times_fewer": vars(first.times_fewer(one))}),
            }
            for key, one in curves.items()
        }
    return result


def _ended(found: list[dict[str, Any]]) -> dict[str, Any]:
    result = {}
    for share in map(str, SHARES):
        known = [(one["ends"][share] or len(one["curve"]), one["curve"]) for one in found]
        result[share] = {
            "trainings": statistics.median(n for n, _ in known),
            "ended": sum(one["ends"][share] is not None for one in found),
            "of": len(found),
            "share_of_the_last": round(statistics.fmean(curve[n - 1] / curve[-1] for n, curve in known), 4),
            "least": round(min(curve[n - 1] / curve[-1] for n, curve in known), 4),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=list(WHERE))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    options: dict[str, Any] = {"batches": BATCHES, "three": tuple(SAMPLERS), "ending": (0,)}
    jobs = [
        (asked.question, name, option, seed)
        for name in WHERE[asked.question]
        for option in options[asked.question]
        for seed in range(asked.seeds)
    ]
    answers: dict[str, dict[str, list[Any]]] = {}
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        for (_, name, option, seed), answer in zip(jobs, pool.map(_run, jobs), strict=True):
            answers.setdefault(name, {}).setdefault(str(option), []).append(answer)
            print(name, option, seed, flush=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[asked.question] = {"seeds": asked.seeds, **table(asked.question, answers)}
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    for name, rows in known[asked.question].items():
        print(TITLES.get(name, name), json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
