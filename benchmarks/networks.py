"""RedNet-50 over ResNet-50: time of an inference and of a training step, one thread, runs interleaved, medians.

Usage: python benchmarks/networks.py [--repeats 7] [--batch 4] [--size 224]

Both networks are channels_last and initialised alike; a ratio below 1 means that RedNet is faster. 0.66 is what the
multiply-adds promise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from invnas import zoo
from invnas.cost import cost
from invnas.nn import build
from invnas.ops import backend_of

RESULTS = Path(__file__).parent / "results" / "networks.json"


def medians(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    laps: dict[str, list[float]] = {name: [] for name in steps}
    for lap in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if lap:  # the first one warms up
                laps[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(found) for name, found in laps.items()}


def inference(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    def step() -> None:
        network.eval()
        with torch.inference_mode():
            network(images)

    return step


def training(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("repeats", 7), ("batch", 4), ("size", 224)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (3, asked.size, asked.size)
    images = torch.randn(asked.batch, *shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (asked.batch,))
    values = {name: zoo.by_name(name) for name in ("rednet50", "resnet50")}
    networks = {name: build(value, shape, 1000) for name, value in values.items()}
    macs = {name: cost(value, shape, 1000).macs for name, value in values.items()}
    result = {
        **vars(asked),
        "backend": backend_of("cpu"),
        "torch": torch.__version__,
        "macs_ratio": macs["rednet50"] / macs["resnet50"],
    }
    kinds: dict[str, dict[str, Callable[[], object]]] = {
        "inference": {name: inference(network, images) for name, network in networks.items()},
        "training_step": {name: training(network, images, labels) for name, network in networks.items()},
    }
    print(
        f"{backend_of('cpu')}, batch {asked.batch}, {asked.size} x {asked.size}, one thread, medians of {asked.repeats}"
    )
    for kind, steps in kinds.items():
        found = medians(steps, asked.repeats)
        ratio = found["rednet50"] / found["resnet50"]
        result[kind] = {**{f"{name}_ms": value for name, value in found.items()}, "ratio": ratio}
        times = ", ".join(f"{name} {value:8.1f} ms" for name, value in found.items())
        print(f"{kind:<14} {times}, ratio {ratio:.3f}")
    print(f"multiply-adds  ratio {result['macs_ratio']:.3f}")
    RESULTS.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
