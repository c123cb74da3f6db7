"""How long a network takes for one image: a cost that is measured, not counted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from invnas.device import synchronize

#: Forward passes before the clock counts: memory is fetched and kernels are chosen in them.
WARM_UP = 3


def latency_ms(
    network: nn.Module, input_shape: tuple[int, int, int], *, runs: int = 20, device: str | torch.device = "cpu"
) -> float:
    """Return the median milliseconds of a forward pass of one image in inference, on one thread of the CPU.

    The network, the threads of torch and its random numbers are left as they were.

    Args:
        network: In any mode, on any device.
        input_shape: (channels, height, width) of the image.
        runs: How many passes count, after `WARM_UP` that do not.
        device: Where to run; on a GPU the one thread is that which starts its kernels.
    """
    where = torch.device(device)
    image = torch.randn(1, *input_shape, generator=torch.Generator().manual_seed(0))
    image = image.to(where).contiguous(memory_format=torch.channels_last)
    times = []
    with _lent(network, where), torch.no_grad():
        for _ in range(WARM_UP + runs):
            synchronize(where)
            start = time.perf_counter()
            network(image)
            synchronize(where)
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[WARM_UP:])


@contextmanager
def _lent(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Have a network in eval mode on a device and torch on one thread, and give both back as they were."""
    training = {module: module.training for module in network.modules()}
    home = next((tensor.device for tensor in (*network.parameters(), *network.buffers())), device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        network.eval().to(device)
        yield
    finally:
        torch.set_num_threads(threads)
        network.to(home)
        for module, mode in training.items():
            module.training = mode
