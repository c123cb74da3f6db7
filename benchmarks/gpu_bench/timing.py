"""Time on a GPU: events around one call, the L2 cache flushed before it, operands in rotation, medians."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch

Call = Callable[[], object]


def elapsed_us(call: Call, repeats: int, before: Call = lambda: None, warmup: int = 3) -> float:
    """Return the median microseconds of a call between two events; `before` runs outside them."""
    pairs = []
    for lap in range(warmup + repeats):
        before()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        if lap >= warmup:
            pairs.append((start, end))
    torch.cuda.synchronize()
    return 1e3 * statistics.median(start.elapsed_time(end) for start, end in pairs)


def in_turns(calls: Sequence[Call]) -> Call:
    """Return a call that runs the next of the calls each time."""
    turn = -1

    def run() -> None:
        nonlocal turn
        turn = (turn + 1) % len(calls)
        calls[turn]()

    return run


class Flush:
    """Reads a buffer much larger than the L2 cache; the host meanwhile gets ahead, so no launch is waited for.

    It reads, because written lines would be written back while the next call runs, and be charged to it.
    """

    def __init__(self) -> None:
        size = max(8 * torch.cuda.get_device_properties(0).L2_cache_size, 2**29)
        self._buffer = torch.ones(size // 4, dtype=torch.float32, device="cuda")

    def __call__(self) -> None:
        self._buffer.sum()


def rotated_us(calls: Sequence[Call], flush: Flush, repeats: int) -> float:
    """Return the median microseconds of one call with a cold cache; `calls` differ in their operands only."""
    return elapsed_us(in_turns(calls), repeats, flush, warmup=2 * len(calls))


def steady_us(calls: Sequence[Call], repeats: int = 20, least: int = 64) -> float:
    """Return the microseconds of one call in a stream of them, replayed from a CUDA graph without gaps.

    The results are kept until the capture ends, so that each call writes memory of its own. Where all operands together
    are larger than the L2 cache, this is the roofline's own case.
    """
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph, kept, rounds = torch.cuda.CUDAGraph(), [], math.ceil(least / len(calls))
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            kept.append([call() for call in calls])
    return elapsed_us(graph.replay, repeats) / (rounds * len(calls))


def copy_bandwidth(gigabytes: float = 4.0) -> float:
    """Return bytes read and written in a second by a large copy on the device."""
    source = torch.randn(int(gigabytes * 2**30) // 4, device="cuda")
    target = torch.empty_like(source)
    seconds = 1e-6 * elapsed_us(lambda: target.copy_(source), 20)
    return 2 * source.numel() * 4 / seconds


def product_rate(side: int = 8192) -> float:
    """Return operations in a second of a large bfloat16 matrix product of random numbers."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / (1e-6 * elapsed_us(lambda: a @ b, 20))
