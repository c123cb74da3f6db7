"""RedNet-50 over ResNet-50, both folded, and each folded over unfolded: interleaved inferences in torch.

    python benchmarks/folded.py [--repeats 15] [--batches 1,4] [--threads 1,2] [--size 224]

Networks are channels_last, freed memory is kept by the process (benchmarks/networks.py). A ratio is the median over the
turns of the ratio within one turn, with its quartiles: a neighbour who slows the machine for a while slows both sides,
though not alike, as one network moves more memory for its sums. The load of the machine before each is recorded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from calm import keep_freed_memory
from torch import nn

from invnas import zoo
from invnas.nn import build, fold
from invnas.ops import backend_of

RESULTS = Path(__file__).parent / "results"
RATIOS = {
    "rednet50 over resnet50, unfolded": ("rednet50", "resnet50"),
    "rednet50 over resnet50, folded": ("rednet50 folded", "resnet50 folded"),
    "folded over unfolded, rednet50": ("rednet50 folded", "rednet50"),
    "folded over unfolded, resnet50": ("resnet50 folded", "resnet50"),
}
Laps = dict[str, list[float]]


def laps(networks: dict[str, nn.Module], images: torch.Tensor, repeats: int) -> Laps:
    """Return the seconds of every inference, in turns, after one turn to warm up."""
    found: Laps = {name: [] for name in networks}
    with torch.inference_mode():
        for lap in range(repeats + 1):
            for name, network in networks.items():
                start = time.perf_counter()
                network(images)
                if lap:
                    found[name].append(time.perf_counter() - start)
    return found


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Return how many times longer one network takes than another."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return {"median": middle, "lower quartile": low, "upper quartile": high}


def measured(batch: int, size: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Return milliseconds and ratios at one batch size."""
    torch.manual_seed(0)
    shape, networks = (3, size, size), {}
    images = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
    for name in ("rednet50", "resnet50"):
        networks[name] = build(zoo.by_name(name), shape, 1000).eval()
        networks[f"{name} folded"] = fold(networks[name])
    found = laps(networks, images, repeats)
    return {
        "median ms": {name: 1000 * statistics.median(times) for name, times in found.items()},
        "ratios": {name: ratio(found[above], found[below]) for name, (above, below) in RATIOS.items()},
    }


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=numbers, default=[1, 4])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    asked = parser.parse_args()
    keep_freed_memory()
    result: dict[str, Any] = {
        "machine": processor(),
        "backend": backend_of("cpu"),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "repeats": asked.repeats,
        "size": asked.size,
    }
    for threads, batch in itertools.product(asked.threads, asked.batches):
        torch.set_num_threads(threads)
        before = os.getloadavg()[0]
        found = measured(batch, asked.size, asked.repeats)
        result[f"{threads} threads, batch {batch}"] = {"load before": before, **found}
        for name, one in found["ratios"].items():
            spread = f"{one['median']:.3f} ({one['lower quartile']:.3f} to {one['upper quartile']:.3f})"
            print(f"{threads} threads, batch {batch}: {name} {spread}", flush=True)
        (RESULTS / "folded.json").write_text(json.dumps(result, indent=2) + "\n")


def processor() -> str:
    """Return what the processor says it is."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


if __name__ == "__main__":
    main()
