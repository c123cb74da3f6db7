"""Milliseconds of a forward pass of one image in onnxruntime, on one thread, of the architectures in a file of rows.

    python benchmarks/invbench/latency.py rows.jsonl onnx/ latency.jsonl [--rounds 5] [--export-only]

Networks are folded and exported once, into a folder; involution runs in the library of invnas. Then the clock runs
over all of them in rounds, each in an order of its own. A neighbour slows a whole round, so each round is taken
relative to its own median; kept is the median over the rounds, times the smallest median of a round. Weights are
random: they do not count.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import make
import torch
from make import EPOCHS, read

from invnas.export.onnx_graph import write_onnx
from invnas.nn import build
from invnas.nn.folding import fold
from invnas.ops.onnx import onnx_library

#: Passes of a round, and those before it that do not count.
PASSES, WARM_UP = 30, 5
SHAPE = (1, 8, 8)


def export(rows: list[dict[str, Any]], folder: Path) -> list[str]:
    """Write the graph of each architecture that has none yet, and return the fingerprints."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for row in rows:
        if row["seed"] == 0 and row["epochs"] == EPOCHS and "failed" not in row:
            path = folder / f"{row['fingerprint']}.onnx"
            if not path.is_file():
                torch.manual_seed(0)
                network = build(make._space().architecture(row["decisions"]), SHAPE, 10).eval()
                part = path.with_suffix(".part")
                write_onnx(fold(network), torch.randn(1, *SHAPE), part, any_batch=False)
                part.rename(path)
            found.append(row["fingerprint"])
    return found


def milliseconds(path: Path) -> float:
    """Return the median of the passes of one round."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.register_custom_ops_library(onnx_library())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: np.zeros((1, *SHAPE), np.float32)}
    times = []
    for _ in range(WARM_UP + PASSES):
        start = time.perf_counter()
        session.run(None, given)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("folder", type=Path, help="where the graphs lie")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--export-only", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = export(read(asked.rows), asked.folder)
    if asked.export_only:
        return
    rounds = []
    for number in range(asked.rounds):
        order = random.Random(number).sample(found, len(found))
        rounds.append({one: milliseconds(asked.folder / f"{one}.onnx") for one in order})
    middles = [statistics.median(times.values()) for times in rounds]
    shares = {one: [times[one] / middle for times, middle in zip(rounds, middles, strict=True)] for one in found}
    lines = [
        json.dumps({"fingerprint": one, "latency_ms": round(statistics.median(seen) * min(middles), 4)})
        for one, seen in shares.items()
    ]
    asked.out.write_text("\n".join(lines) + "\n")
    halves = [[statistics.median(seen[half::2]) for seen in shares.values()] for half in (0, 1)]
    apart = statistics.median(abs(a / b - 1) for a, b in zip(*halves, strict=True))
    print(f"median difference of two halves of the rounds: {apart:.3f}")


if __name__ == "__main__":
    main()
