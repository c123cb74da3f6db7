from __future__ import annotations

import os
import sys
import time

import pytest
import torch
from torch import nn

import invnas.device
from invnas.device import best_device, device_name, synchronize
from invnas.latency.in_torch import InTorch


class Busy(nn.Module):
    """Computes for so many milliseconds of its thread; notes how it was called."""

    def __init__(self, ms: float) -> None:
        super().__init__()
        self.inner, self.ms, self.seen = nn.Dropout(0.5), ms, set[tuple[object, ...]]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        end = time.thread_time() + self.ms / 1000
        while time.thread_time() < end:
            pass
        cores = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else ()
        y = self.inner(x)
        self.seen.add((tuple(x.shape), self.inner.training, torch.get_num_threads(), y.requires_grad, cores))
        return y


def test_a_network_of_three_times_the_reference_is_one() -> None:
    bench = InTorch(1, Busy(1), (1, 1, 2, 2))
    assert bench.time(Busy(3), (1, 1, 2, 2), 0.0)["ratio"] == pytest.approx(3, rel=0.1)
    assert bench.alone() == pytest.approx(1, rel=0.1)


def test_it_runs_in_inference_on_so_many_threads_and_leaves_torch_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    network, cores = Busy(0), (0,) if sys.platform == "linux" and 0 in os.sched_getaffinity(0) else ()
    before = os.sched_getaffinity(0) if sys.platform == "linux" else None
    try:
        InTorch(1, Busy(0), (1, 1, 2, 2), cores).time(network, (4, 3, 4, 5), 0.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    ((shape, training, used, grad, bound),) = network.seen
    assert (shape, training, used, grad) == ((4, 3, 4, 5), False, 1, False)
    assert not cores or bound == cores
    assert torch.equal(torch.get_rng_state(), state)
    assert before is None or os.sched_getaffinity(0) == before


class Raising(Busy):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no")


def test_after_a_network_that_raises_torch_is_as_it_was_too() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="no"):
        InTorch(threads + 1, Busy(0), (1, 1, 1, 1)).time(Raising(0), (1, 1, 1, 1), 0.0)
    assert torch.get_num_threads() == threads


def test_a_device_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(torch.device("cpu")) == "cpu"
    assert device_name(torch.device("mps")) == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert best_device().type == "mps"
    assert device_name() == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_name() == "cpu"


def test_what_is_waited_for_is_the_device_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(invnas.device.torch.accelerator, "synchronize", waited.append)
    synchronize(torch.device("cpu"))
    synchronize(torch.device("mps"))
    synchronize(torch.device("xpu", 1))
    assert waited == [torch.device("mps"), torch.device("xpu", 1)]
