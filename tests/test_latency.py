from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import invnas.device
from invnas.device import best_device, device_name, synchronize
from invnas.latency import WARM_UP, latency_ms


class Slow(nn.Module):
    """Sleeps for so many seconds, one for each call, the last one from then on; notes how it was called."""

    def __init__(self, *seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.inner = nn.Dropout(0.5)
        self.seconds, self.seen = list(seconds), set[tuple[object, ...]]()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds[min(self.calls, len(self.seconds) - 1)])
        self.calls += 1
        y = self.inner(x) * self.weight
        self.seen.add((tuple(x.shape), self.inner.training, torch.get_num_threads(), y.requires_grad))
        return y


def test_a_pass_of_five_milliseconds_takes_at_least_five() -> None:
    network = Slow(0.005)
    assert latency_ms(network, (1, 2, 3), runs=5) >= 5
    assert network.calls == 5 + WARM_UP


def test_the_warm_up_and_a_hiccup_do_not_count() -> None:
    assert latency_ms(Slow(*[0.2] * WARM_UP, 0), (1, 1, 1), runs=1) < 200
    assert latency_ms(Slow(*[0] * WARM_UP, 0.2, 0.2, 0), (1, 1, 1), runs=5) < 200


def test_it_runs_in_inference_on_one_thread_and_leaves_everything_as_it_was() -> None:
    network = Slow(0).train()
    network.inner.eval()
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        latency_ms(network, (3, 4, 5), runs=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert network.seen == {((1, 3, 4, 5), False, 1, False)}
    assert (network.training, network.inner.training) == (True, False)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.weight.device.type == "cpu"


class Raising(Slow):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no")


def test_a_network_that_raises_is_given_back_too() -> None:
    network = Raising(0).train()
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="no"):
        latency_ms(network, (1, 1, 1))
    assert network.training
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
