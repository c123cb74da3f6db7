"""What is timed of a network: one inference, one step of training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn import functional as F

Step = Callable[[], object]
Precision = Callable[[], AbstractContextManager[object]]  # such as autocast, around every forward pass


def inference(network: nn.Module, images: torch.Tensor, precision: Precision = nullcontext) -> Step:
    def step() -> None:
        network.eval()
        with torch.inference_mode(), precision():
            network(images)

    return step


def training(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: Precision = nullcontext
) -> Step:
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)  # the labels are random: little is learned

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        with precision():
            loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    return step
