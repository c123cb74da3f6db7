"""What is measured on a GPU: its own ceilings, every shape, the cost of a call, and compilations."""

from __future__ import annotations

import functools
import itertools
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gpu_bench import published
from gpu_bench.checking import errors, first_line, titled
from gpu_bench.contestants import CONTESTANTS, OURS, Contestant, invnas_steps, with_backward
from gpu_bench.model import DIRECTIONS, Shape
from gpu_bench.operands import Steps, operands
from gpu_bench.timing import Flush, copy_bandwidth, elapsed_us, product_rate, rotated_us, steady_us
from invnas.ops import backend_of

Row = dict[str, Any]
LEFT_OUT = "left out"


def facts() -> Row:
    """Return what the figures stand on: the machine, the versions, and its two measured ceilings."""
    device = torch.cuda.get_device_properties(0)
    try:
        import cupy

        cupy_version = cupy.__version__
    except Exception as problem:  # a broken CuPy must not stop the rivals
        cupy_version = first_line(problem)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    except OSError as problem:  # no nvidia-smi here
        driver = first_line(problem)
    return {
        "gpu": device.name,
        "multiprocessors": device.multi_processor_count,
        "l2_bytes": device.L2_cache_size,
        "driver": driver,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cupy": cupy_version,
        "backend": backend_of("cuda"),
        "copy_bandwidth": copy_bandwidth(),
        "bf16_product_rate": product_rate(),
        "empty_pair_of_events_us": elapsed_us(lambda: None, 50),
    }


def steady(steps: Sequence[Steps]) -> Row:
    """Return microseconds of a call among many in a CUDA graph, or the reason why there are none."""
    try:
        return {"steady_us": {name: steady_us([step[name] for step in steps]) for name in steps[0]}}
    except Exception as problem:  # the times before it stand
        return {"steady_reason": first_line(problem)}


def measured(contestant: Contestant, shape: Shape, dtype: str, flush: Flush, repeats: int) -> Row:
    """Return errors and microseconds of one contestant, or the reason why there are none."""
    row = titled(contestant, shape, dtype)
    try:
        row["errors"] = errors(contestant, shape, dtype, "cuda")
        moved = shape.bytes("forward", dtype)
        # The cache does not replace its oldest lines strictly: four times its size leaves nothing to be found in it.
        count = max(2, min(32, math.ceil(4 * torch.cuda.get_device_properties(0).L2_cache_size / moved)))
        sets = [operands(shape, dtype, "cuda", seed) for seed in range(1, count + 1)]
        steps = [with_backward(contestant.steps(shape, given)) for given in sets]
        present = [direction for direction in DIRECTIONS if direction in steps[0]]
        row["us"] = {name: rotated_us([step[name] for step in steps], flush, repeats) for name in present}
    except Exception as problem:  # whatever a rival breaks with is its row
        row["reason"] = first_line(problem)
    else:
        if contestant.name == OURS:
            row |= steady(steps)
    torch.compiler.reset()  # one function may be compiled for a few shapes only
    torch.cuda.empty_cache()
    return row


@dataclass(frozen=True)
class Asked:
    """Which rows are wanted, and for how long."""

    shapes: Sequence[Shape]
    dtypes: Sequence[str]
    contestants: Sequence[str]
    repeats: int
    minutes: float

    def rows(self) -> Iterator[tuple[Contestant, Shape, str]]:
        """Yield who meets what; those that torch compiles for a minute each come last."""
        for contestants in ([c for c in CONTESTANTS if not c.compiled], [c for c in CONTESTANTS if c.compiled]):
            for shape, dtype, contestant in itertools.product(self.shapes, self.dtypes, contestants):
                if contestant.name in self.contestants and dtype in contestant.dtypes:
                    yield contestant, shape, dtype


def rows(asked: Asked, bandwidth: float) -> Iterator[Row]:
    """Yield a row for each shape, dtype and contestant, with its shares of the byte roofline, while there is time."""
    flush, end = Flush(), time.monotonic() + 60 * asked.minutes
    for contestant, shape, dtype in asked.rows():
        if time.monotonic() > end:
            row = titled(contestant, shape, dtype) | {"reason": f"{LEFT_OUT}: the {asked.minutes:g} minutes were over"}
        else:
            row = measured(contestant, shape, dtype, flush, asked.repeats)
        for key in ("us", "steady_us"):
            if key in row and contestant.is_involution:
                floors = {name: shape.floor_us(name, dtype, bandwidth) for name in row[key]}
                row[key.replace("us", "share")] = {name: floors[name] / us for name, us in row[key].items()}
        yield row


def host_cost() -> Row:
    """Return microseconds of the host for a call on one pixel, and beyond an empty operator of torch."""
    import call  # benchmarks/call.py: the same method as on a processor

    call._library.impl("nothing", lambda input, kernels, *_: torch.empty_like(input), "CUDA")
    found: Row = {}
    for name, grad in (("no gradient wanted", False), ("gradient wanted", True)):
        x = torch.randn(1, 1, 1, 1, device="cuda", requires_grad=grad)
        kernels = torch.randn(1, 1, 1, 1, 1, device="cuda", requires_grad=grad)
        calls: list[Callable[[], Any]] = [
            functools.partial(torch.relu, x),
            functools.partial(torch.ops.invnas_empty.nothing, x, kernels, 1, 1, 1, 0),
            functools.partial(torch.ops.invnas.involution2d, x, kernels, 1, 1, 1, 0),
        ]
        # The device is faster than the host here, so no call waits for room in the stream.
        relu, empty, ours = call.microseconds(calls, number=500)
        torch.cuda.synchronize()
        found[name] = {"relu_us": relu, "empty_us": empty, "involution2d_us": ours, "beyond_empty_us": ours - empty}
    return found


def compilations(shapes: Sequence[Shape], dtype: str = "float32") -> Row:
    """Return what another batch size costs: variants compiled or loaded, and seconds, of ours and as published."""
    from invnas.ops.cuda import compiler

    def run(batch_of: int) -> tuple[int, float]:
        before, start = compiler.load.cache_info().misses, time.perf_counter()
        for shape in shapes:
            other = replace(shape, batch=batch_of)
            for step in invnas_steps(other, operands(other, dtype, "cuda", 0)).values():
                step()
        torch.cuda.synchronize()
        return compiler.load.cache_info().misses - before, time.perf_counter() - start

    run(3)
    found, seconds = run(5)
    start, kernels = time.perf_counter(), 0
    for shape in shapes:
        kernels += len(published.on_device(replace(shape, batch=5)))
    return {
        "ours": found,
        "ours_seconds": seconds,
        "published_mapping": kernels,
        "published_mapping_seconds": time.perf_counter() - start,
    }
