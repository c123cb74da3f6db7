"""Speed of the involution operator: the native CPU backend over shift-and-accumulate and over unfold.

All contestants run in one process on one thread, in turns, on the same channels_last tensors, and every figure is a
median, so a ratio means something on a noisy machine. A result that is wrong is never timed. Freed memory is kept by
the process: fresh pages for a result otherwise cost more than the operator that fills them.

    python benchmarks/op.py [--repeats 7] [--out benchmarks/results/op.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from calm import keep_freed_memory

from invnas.ops import backend_of, cpu, reference, shift
from invnas.ops.geometry import Window, same_padding

Tensor = torch.Tensor
Step = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Shape:
    """One call: a square map, its groups and its window at stride 1."""

    name: str
    batch: int
    channels: int
    size: int
    group_channels: int
    kernel_size: int


SHAPES = (
    Shape("RedNet stage 1", 4, 64, 56, 16, 7),
    Shape("RedNet stage 2", 4, 128, 28, 16, 7),
    Shape("RedNet stage 3", 4, 256, 14, 16, 7),
    Shape("RedNet stage 4", 4, 512, 7, 16, 7),
    *(Shape("digits", 64, 16, 8, cg, k) for cg in (4, 8) for k in (3, 5, 7)),
    Shape("CIFAR", 128, 32, 32, 8, 7),
)


def steps(shape: Shape) -> dict[str, tuple[Step, Step]]:
    """Return, for every contestant, a call forward and a call forward and backward."""
    window = Window(shape.kernel_size, padding=same_padding(shape.kernel_size))
    geometry = (window.kernel_size, window.stride, window.dilation, window.padding)
    side, groups = shape.size, shape.channels // shape.group_channels
    last = torch.channels_last
    x = torch.randn(shape.batch, shape.channels, side, side).contiguous(memory_format=last).requires_grad_()
    spanned = torch.randn(shape.batch, groups * window.taps, side, side).contiguous(memory_format=last)
    kernels = spanned.unflatten(1, (groups, window.taps)).requires_grad_()
    grad = torch.randn_like(x)

    def native(x: Tensor, kernels: Tensor) -> Tensor:
        result: Tensor = torch.ops.invnas.involution2d(x, kernels, *geometry)
        return result

    def shifted() -> tuple[Tensor, ...]:
        with torch.no_grad():
            size = (side, side)
            y = shift.forward(x, kernels, window)
            return (y, shift.grad_input(grad, kernels, window, size), shift.grad_kernels(grad, x, window, groups))

    def unfolded(x: Tensor, kernels: Tensor) -> Tensor:
        return reference.involution2d(x, kernels, window)

    def forward(function: Callable[[Tensor, Tensor], Tensor]) -> Step:
        def step() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (function(x, kernels),)

        return step

    def both(function: Callable[[Tensor, Tensor], Tensor]) -> Step:
        def step() -> tuple[Tensor, ...]:
            y = function(x, kernels)
            return (y.detach(), *torch.autograd.grad(y, (x, kernels), grad))

        return step

    return {
        "native": (forward(native), both(native)),
        "shift": (forward(lambda x, kernels: shift.forward(x, kernels, window)), shifted),
        "unfold": (forward(unfolded), both(unfolded)),
    }


def interleaved(contestants: dict[str, Step], repeats: int) -> dict[str, float]:
    """Return the median seconds of every contestant, timed in turns after one round that is checked, not timed."""
    truth = contestants["unfold"]()
    for name, step in contestants.items():
        for got, want in zip(step(), truth, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3, msg=lambda m, name=name: f"{name}: {m}")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def call_overhead(rounds: int = 30, calls: int = 200) -> dict[str, float]:
    """Return microseconds of a call on one pixel, and of empty operators without and with a gradient registered."""
    library = torch.library.Library("invnas_empty", "DEF")
    for name in ("plain", "differentiable"):
        library.define(f"{name}(Tensor a, Tensor b, int k, int s, int d, int p) -> Tensor")
        library.impl(name, lambda a, b, *_: torch.empty_like(a), "CPU")
    torch.library.register_autograd("invnas_empty::differentiable", lambda ctx, grad: (None,) * 6, lib=library)
    x, kernels = torch.randn(1, 8, 1, 1), torch.randn(1, 1, 1, 1, 1)
    empty = torch.ops.invnas_empty
    ops = {"operator": torch.ops.invnas.involution2d, "empty": empty.plain, "empty_autograd": empty.differentiable}
    times: dict[str, list[float]] = {name: [] for name in ops}
    with torch.no_grad():
        for _ in range(rounds):
            for name, op in ops.items():
                times[name].append(timeit.timeit(lambda op=op: op(x, kernels, 1, 1, 1, 0), number=calls) / calls)
    medians = {name: 1e6 * statistics.median(values) for name, values in times.items()}
    return medians | {"beyond_empty": medians["operator"] - medians["empty"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "op.json")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if reason := cpu.why_not():
        raise SystemExit(reason)
    rows = []
    print(f"{backend_of('cpu')}, torch {torch.__version__}, one thread, medians of {arguments.repeats}")
    print(f"{'shape':<34}{'forward ms':>11}{'x shift':>9}{'x unfold':>9}{'both ms':>11}{'x shift':>9}{'x unfold':>9}")
    for shape in SHAPES:
        line = (
            f"{shape.name} {shape.batch}x{shape.channels}x{shape.size}^2 cg{shape.group_channels} K{shape.kernel_size}"
        )
        row: dict[str, object] = asdict(shape)
        text = f"{line:<34}"
        for index, label in enumerate(("forward", "forward_backward")):
            times = interleaved({name: pair[index] for name, pair in steps(shape).items()}, arguments.repeats)
            row[label] = {
                **{f"{name}_ms": 1e3 * value for name, value in times.items()},
                **{f"over_{name}": times[name] / times["native"] for name in ("shift", "unfold")},
            }
            ratios = (times["shift"] / times["native"], times["unfold"] / times["native"])
            text += f"{1e3 * times['native']:>11.3f}{ratios[0]:>9.1f}{ratios[1]:>9.1f}"
        print(text, flush=True)
        rows.append(row)
    overhead = call_overhead()
    print("a call, microseconds: " + ", ".join(f"{name} {value:.1f}" for name, value in overhead.items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"torch": torch.__version__, "backend": backend_of("cpu"), "shapes": rows, "call_us": overhead}
    arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
