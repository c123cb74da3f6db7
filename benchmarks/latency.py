"""How well latencies of hybrid_cifar are foretold, how well they repeat, and what they cost to measure.

    python benchmarks/latency.py [--runtime onnxruntime] [--threads 1] [--drawn 60] [--again 10]

Twenty networks are timed as a search does before it trains anything, and foretell others: the error that a search shows
is that of each of the twenty by the others. Then networks that nobody chose are drawn, timed and compared with what was
foretold. Some are timed once more at the end, after all the others. What was timed lies in the cache: a run that was
cut off goes on. The clock of one thread is its processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invnas import Latency
from invnas.architecture import Architecture
from invnas.cost import pricer
from invnas.errors import InvalidArchitecture
from invnas.latency.forms import inference_network, model_bytes
from invnas.latency.predictor import Predictor, fitted
from invnas.latency.stopwatch import Stopwatch
from invnas.latency.table import COLUMNS, tabulator
from invnas.metering import Metering
from invnas.space import Space, load_space

RESULTS = Path(__file__).parent / "results" / "latency.json"
SHAPE, CLASSES = (3, 32, 32), 10


def drawn(space: Space, number: int) -> list[Architecture]:
    """Return networks that nobody chose: half uniform over architectures, half over the options of each choice."""
    rng, found = random.Random("benchmark"), list[Architecture]()
    while len(found) < number:
        draw = space.draw if len(found) % 2 else space.draw_branches
        with suppress(InvalidArchitecture):
            found.append(space.architecture(draw(rng)))
    return found


def compared(predictor: Predictor, tables: np.ndarray, ms: np.ndarray) -> dict[str, float]:
    """Return how far what was foretold lies from what was measured, relative."""
    off = np.abs(np.array([predictor(row) for row in tables]) / ms - 1)
    return {
        "root_mean_square": float(np.sqrt(np.mean(off**2))),
        "mean": float(off.mean()),
        "median": float(np.median(off)),
        "largest": float(off.max()),
        "kendall_tau": _tau(np.array([predictor(row) for row in tables]), ms),
    }


def _tau(first: np.ndarray, second: np.ndarray) -> float:
    pairs = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
    return float(pairs.sum() / (len(first) * (len(first) - 1)))


def whole(metering: Metering, tables: np.ndarray, ms: np.ndarray) -> float:
    """Return the leave-one-out error where all that was timed foretells."""
    known = np.array([row for row, _ in metering.timed]), [time for _, time in metering.timed]
    return fitted(np.vstack([known[0], tables]), [*known[1], *ms]).error


def export_seconds(latency: Latency, many: list[Architecture]) -> dict[str, float]:
    """Return processor seconds of making the file of a network, in the middle."""
    found = []
    for one in many:
        start = time.process_time()
        model_bytes(inference_network(one, SHAPE, CLASSES), latency.runtime, (1, *SHAPE))
        found.append(time.process_time() - start)
    return {"median": float(np.median(found)), "largest": max(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--drawn", type=int, default=60)
    parser.add_argument("--again", type=int, default=10)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    space, latency = load_space("hybrid_cifar"), Latency(asked.runtime, asked.threads)
    table = tabulator(SHAPE, CLASSES)
    with Stopwatch(latency, SHAPE, CLASSES) as stopwatch:
        metering = Metering(stopwatch, space, pricer(SHAPE, CLASSES), table)
        metering.calibrate(quiet=False)
        assert metering.predictor is not None
        many = drawn(space, asked.drawn)
        timings = [stopwatch(one) for one in many]
        tables, ms = np.array([table(one) for one in many]), np.array([one.ms for one in timings])
        repeated = [stopwatch.again(many[i]).ms / timings[i].ms - 1 for i in range(min(asked.again, len(many)))]
        macs = np.array([pricer(SHAPE, CLASSES)(one).macs for one in many])
        found: dict[str, Any] = {
            "runtime": stopwatch.words,
            "machine": stopwatch.machine,
            "space": "hybrid_cifar",
            "calibration": {"networks": metering.predictor.networks, "leave_one_out": metering.predictor.error},
            "all_of_them": {
                "networks": len(tables) + len(metering.timed),
                "leave_one_out": whole(metering, tables, ms),
            },
            "drawn": {"networks": len(many), "ms": [float(ms.min()), float(np.median(ms)), float(ms.max())]},
            "foretold": compared(metering.predictor, tables, ms),
            "spread_of_a_timing": float(np.median([one.spread_ms / one.ms for one in timings])),
            "timed_again": {"networks": len(repeated), "root_mean_square": float(np.std(repeated))},
            "kendall_tau_of_macs": _tau(macs, ms),
            "export_processor_seconds": export_seconds(latency, many[:10]) if asked.runtime != "torch" else None,
            "ms_of_the_mean_network": dict(
                zip(COLUMNS, (tables.mean(0) * metering.predictor.rates).round(4).tolist(), strict=True)
            ),
        }
    every = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    every[f"{asked.runtime}, {asked.threads} thread{'s' * (asked.threads > 1)}"] = found
    RESULTS.write_text(json.dumps(every, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
