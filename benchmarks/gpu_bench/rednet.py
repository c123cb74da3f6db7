"""RedNet-50 over ResNet-50 on a GPU: bfloat16 autocast, channels_last; turns, medians, peak memory."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from steps import Step, inference, training
from torch import nn

from gpu_bench.timing import elapsed_us
from invnas import zoo
from invnas.nn import build

NETWORKS = ("rednet50", "resnet50")


def network(name: str, size: int, device: str) -> nn.Module:
    """Return a network of the zoo in channels_last memory."""
    torch.manual_seed(0)
    return build(zoo.by_name(name), (3, size, size), 1000).to(device).to(memory_format=torch.channels_last)


def bfloat16() -> torch.autocast:
    return torch.autocast("cuda", torch.bfloat16)


def in_turns_ms(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each step, one of each in every turn, after three turns to warm up."""
    laps: dict[str, list[float]] = {name: [] for name in steps}
    for lap in range(repeats + 3):
        for name, step in steps.items():
            found = elapsed_us(step, 1, warmup=0) / 1e3
            if lap >= 3:
                laps[name].append(found)
    return {name: statistics.median(values) for name, values in laps.items()}


def peak_bytes(name: str, images: torch.Tensor, labels: torch.Tensor, size: int) -> int:
    """Return the most memory a training step holds, weights and optimiser included, the images not."""
    others = torch.cuda.memory_allocated()
    step = training(network(name, size, "cuda"), images, labels, bfloat16)
    for _ in range(2):
        step()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - others
    del step
    torch.cuda.empty_cache()
    return peak


def measure(batch: int = 128, size: int = 224, repeats: int = 20) -> dict[str, Any]:
    """Return milliseconds, bytes and ratios; a ratio below 1 means that RedNet-50 needs less."""
    torch.backends.cudnn.benchmark = True  # the best convolutions for both, as a user would train them
    images = torch.randn(batch, 3, size, size, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch,), device="cuda")
    memory = {name: peak_bytes(name, images, labels, size) for name in NETWORKS}
    nets = {name: network(name, size, "cuda") for name in NETWORKS}
    found: dict[str, Any] = {"batch": batch, "size": size}
    kinds = {
        "inference": {name: inference(net, images, bfloat16) for name, net in nets.items()},
        "training_step": {name: training(net, images, labels, bfloat16) for name, net in nets.items()},
    }
    for kind, steps in kinds.items():
        times = in_turns_ms(steps, repeats)
        found[kind] = {**{f"{name}_ms": ms for name, ms in times.items()}, "ratio": _ratio(times)}
    found["training_memory"] = {**{f"{name}_bytes": n for name, n in memory.items()}, "ratio": _ratio(memory)}
    return found


def _ratio(values: dict[str, Any]) -> float:
    return float(values["rednet50"] / values["resnet50"])
