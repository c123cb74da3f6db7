"""Networks the export tests share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from invnas import (
    BasicBlock,
    Bottleneck,
    Convolution,
    DepthwiseConvolution,
    HybridNet,
    InvertedResidual,
    Involution,
    LocalAttention,
    PlainStem,
    PointwiseBlock,
    Stage,
)
from invnas.architecture import Architecture
from invnas.export.parity import truth_of
from invnas.nn import build

ALL = ("onnx", "pt2", "safetensors")
WEIGHTS = ("safetensors",)

DIGITS = Architecture(
    HybridNet(
        PlainStem(8, 3, 1, False),
        (
            Stage(16, (Bottleneck(Convolution(5, 4), 1), Bottleneck(Involution(3, 4, 2), 2))),
            Stage(24, (Bottleneck(Involution(1, 4, 2), 2),), 2),
        ),
    )
)
# The kernel is larger than the map, and both sides are odd at stride 2.
ODD = Architecture(
    HybridNet(
        PlainStem(8, 3, 1, True),
        (
            Stage(16, (Bottleneck(Involution(5, 4, 2), 2),), 2),
            Stage(16, (BasicBlock(), InvertedResidual(DepthwiseConvolution(3), 2, 4, "hardswish"))),
            Stage(12, (InvertedResidual(Involution(3, 4, 2), 1), PointwiseBlock())),
        ),
    )
)

# Kernels that do not come straight from a 1 x 1 convolution, and those of one linear map.
KERNELS = Architecture(
    HybridNet(
        PlainStem(8, 3, 1, False),
        (
            Stage(16, (Bottleneck(Involution(3, 4, 2, softmax=True), 2), Bottleneck(Involution(3, 4, None), 2))),
            Stage(16, (Bottleneck(Involution(3, 4, None, 3), 2), Bottleneck(LocalAttention(3, 4), 2)), 2),
        ),
    )
)

OWN_SPACE = """
from dataclasses import dataclass
import torch
from torch import nn
from invnas import Bottleneck, Choice, HybridNet, PlainStem, Stage


class Gate(nn.Module):
    def __init__(self, channels, stride, power):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        self.norm = nn.GroupNorm(2, channels)
        self.power = power

    def forward(self, x):
        x = self.conv(x)
        return nn.functional.gelu(self.norm(x)) * torch.softmax(x, dim=1) ** self.power


@dataclass(frozen=True)
class Gated:
    power: int = 1

    def build(self, channels, stride):
        return Gate(channels, stride, self.power)


space = HybridNet(PlainStem(8, 3, 1, False), [Stage(16, [Bottleneck(Gated(Choice(1, 2)), 2)], 2)])
"""


def trained(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose batch norms have seen images and whose residual branches are open."""
    torch.manual_seed(0)
    network = build(architecture, shape, classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(4):
            network(torch.randn(16, *shape) * 2 + 1)
    return network


def scores(network: nn.Module, images: torch.Tensor) -> np.ndarray:
    was, result = network.training, None
    with torch.no_grad():
        result = network.eval()(images).numpy()
    network.train(was)
    return result


def images(shape: tuple[int, int, int], batch: int) -> torch.Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def close(found: np.ndarray, network: nn.Module, images: torch.Tensor) -> bool:
    """Tell whether scores are as near to those in float64 as those of a file must be."""
    was = network.training
    truth = truth_of(network.eval(), [images])
    network.train(was)
    return truth.error([torch.from_numpy(found)]) <= truth.limit


class Forgetful(nn.Module):
    """Holds a number that its state does not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.hidden = nn.Linear(4, 2), torch.randn(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) + self.hidden


class Moody(Forgetful):
    """Takes another way for other values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) * (2 if x.sum() > 0 else 1)
