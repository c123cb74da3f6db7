"""From an architecture to a network, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from invnas.architecture import Architecture, HybridNet
from invnas.nn.blocks import block, own, stem

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """One module of a network, known by its value and its channels alone: equal parts are equal modules.

    Attributes:
        role: "stem", "block", "head" or "network".
        value: The architecture value; None for the head.
        in_channels: Channels that enter.
        out_channels: Channels that leave; classes for the head.
        stride: Step of a block.
    """

    role: str
    value: Any
    in_channels: int
    out_channels: int
    stride: int = 1

    def build(self) -> nn.Module:
        """Return a new module."""
        if self.role == "stem":
            return stem(self.value, self.in_channels)
        if self.role == "block":
            return block(self.value, self.in_channels, self.out_channels, self.stride)
        return Head(self.in_channels, self.out_channels)


class Head(nn.Sequential):
    """Global average pool and a linear layer: (B, C, H, W) -> (B, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        linear = nn.Linear(channels, classes)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


def parts(network: HybridNet, in_channels: int, classes: int) -> list[list[Part]]:
    """Return the parts of a network: the stem, the blocks of each stage, the head."""
    channels = network.stem.width
    groups = [[Part("stem", network.stem, in_channels, channels)]]
    for stage in network.stages:
        blocks = []
        for i, value in enumerate(stage.blocks):
            blocks.append(Part("block", value, channels, stage.width, stage.stride if i == 0 else 1))
            channels = stage.width
        groups.append(blocks)
    return [*groups, [Part("head", None, channels, classes)]]


class Network(nn.Module):
    """The network of a HybridNet: stem, stages, head.

    Shapes:
        (B, C, H, W) -> (B, classes).
    """

    def __init__(self, network: HybridNet, in_channels: int, classes: int) -> None:
        super().__init__()
        (first,), *stages, (last,) = parts(network, in_channels, classes)
        self.stem = first.build()
        self.stages = nn.Sequential(*(nn.Sequential(*(part.build() for part in stage)) for stage in stages))
        self.head = last.build()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores of images."""
        scores: torch.Tensor = self.head(self.stages(self.stem(x)))
        return scores


def build(architecture: Architecture, input_shape: Shape, classes: int) -> nn.Module:
    """Return the network of an architecture, initialised, in channels_last memory format.

    Args:
        architecture: What to build.
        input_shape: (channels, height, width) of one image.
        classes: Number of classes.

    Raises:
        InvalidArchitecture: If a rule is broken, with the stage and block.
        BadInput: If a user's own value cannot be built.
    """
    architecture.check()
    value = architecture.network
    if isinstance(value, HybridNet):
        module: nn.Module = Network(value, input_shape[0], classes)
    else:
        module = own(value, "network", input_shape=input_shape, classes=classes)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
