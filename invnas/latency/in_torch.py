"""Networks timed in this process: torch with invnas's own operators, on a thread of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

from invnas.latency.runner import Pass, alone_ms, clock_of, machine, timed
from invnas.ops import backend_of

_T = TypeVar("_T")


class InTorch:
    """What times networks with torch on this machine; torch is left as it was.

    Args:
        threads: Torch threads of a pass.
        reference: What they are timed beside.
        shape: (batch, channels, height, width) of its images.
        cores: Cores to be bound to; none leaves that to the system.

    Attributes:
        version: That of torch.
        machine: What computes here.
        kernels: Who computes involution.
    """

    def __init__(self, threads: int, reference: nn.Module, shape: Sequence[int], cores: Sequence[int] = ()) -> None:
        self.version, self.machine, self.kernels = str(torch.__version__), machine(), str(backend_of("cpu"))
        self._threads, self._cores, self._clock = threads, tuple(cores), clock_of(threads, time.thread_time)
        self._reference = _pass(reference, shape)

    def alone(self) -> float:
        """Return the milliseconds of the reference."""
        return self._apart(lambda: alone_ms(self._reference, self._clock))

    def time(self, network: nn.Module, shape: Sequence[int], seconds: float) -> dict[str, float]:
        """Return what the runner says of a network, which is left in eval mode."""
        return self._apart(lambda: timed(_pass(network, shape), self._reference, self._clock, seconds))

    def close(self) -> None:
        """Nothing is to be ended."""

    def _apart(self, work: Callable[[], _T]) -> _T:
        # A thread of its own: the threads that compute for it inherit the cores that it is bound to, and no others.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._bound, work).result()

    def _bound(self, work: Callable[[], _T]) -> _T:
        if self._cores and sys.platform == "linux":
            os.sched_setaffinity(0, self._cores)
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                return work()
        finally:
            torch.set_num_threads(before)


def _pass(network: nn.Module, shape: Sequence[int]) -> Pass:
    network.eval()
    images = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    return lambda: network(images)
