"""RedNet-50 over ResNet-50 in onnxruntime, both folded and exported: by the library of invnas, and by the bodies.

    python benchmarks/onnx_files.py [--repeats 15] [--size 224]

(No name of its own package for this file: `import onnx` would find it.) For batches of 1 and 4, on 1 and 2 threads, the
sessions are timed in turns, two inferences each of which the second counts, since the threads of the session before
spin a while. A ratio is that of medians of wall time; on one thread also of CPU time, which neighbours on a busy
machine disturb less. 0.65 is what the multiply-adds promise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

import invnas
from invnas import zoo
from invnas.export.onnx_graph import write_onnx
from invnas.nn import build

RESULTS = Path(__file__).parent / "results" / "onnx.json"
BASE = "resnet50"


def exported(name: str, size: int, path: Path) -> dict[str, Any]:
    """Write the file of a network whose batch norms have seen images, and return what is known of it."""
    torch.manual_seed(0)
    network = build(zoo.by_name(name), (3, size, size), 1000)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, size, size))  # statistics that keep the maps finite
    network = invnas.fold(network.eval())
    start = time.process_time()
    write_onnx(network, torch.zeros(2, 3, size, size), path)
    seconds, images = time.process_time() - start, torch.randn(2, 3, size, size)
    with torch.no_grad():
        wanted = network(images).numpy()
    errors = {
        way: float(np.abs(session(path, 1, way).run(None, {"images": images.numpy()})[0] - wanted).max())
        / float(np.abs(wanted).max())
        for way in ("library", "body")
    }
    return {"nodes": len(onnx.load(path).graph.node), "export_cpu_seconds": seconds, "parity": errors}


def session(path: Path, threads: int, way: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if way == "library":
        options.register_custom_ops_library(invnas.onnx_library())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def in_turns(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of wall and CPU time of every step."""
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for lap in range(repeats + 1):
        for name, step in steps.items():
            step()
            start = time.perf_counter(), time.process_time()
            step()
            if lap:
                laps[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {
        name: {
            kind: 1000 * statistics.median(column)
            for kind, column in zip(("wall", "cpu"), zip(*found, strict=True), strict=True)
        }
        for name, found in laps.items()
    }


def measure(paths: dict[str, Path], size: int, batch: int, threads: int, repeats: int) -> dict[str, Any]:
    feed = {"images": np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)}
    ways = {BASE: (BASE, "body"), "library": ("rednet50", "library"), "body": ("rednet50", "body")}
    sessions = {label: session(paths[name], threads, way) for label, (name, way) in ways.items()}
    found = in_turns({label: lambda one=one: one.run(None, feed) for label, one in sessions.items()}, repeats)
    ratios = {
        f"{label}_over_resnet50{'_cpu' if kind == 'cpu' else ''}": found[label][kind] / found[BASE][kind]
        for label in ("library", "body")
        for kind in (("wall", "cpu") if threads == 1 else ("wall",))
    }
    row = {"batch": batch, "threads": threads, "load": os.getloadavg()[0], "ms": found, **ratios}
    print(
        f"batch {batch}, {threads} threads:",
        "  ".join(f"{key} {value:.3f}" for key, value in ratios.items()),
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in (BASE, "rednet50")}
        files = {name: exported(name, asked.size, path) for name, path in paths.items()}
        print(json.dumps(files, indent=2))
        rows = [measure(paths, asked.size, batch, threads, asked.repeats) for threads in (1, 2) for batch in (1, 4)]
    result = {**vars(asked), "onnxruntime": onnxruntime.__version__, "files": files, "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
