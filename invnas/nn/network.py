"""From an architecture to a network, part by part."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.blocks import BLOCKS
from invnas.errors import BadInput, InvalidArchitecture
from invnas.head import FeatureMap, Head, as_head
from invnas.hybrid import DeepStem, HybridNet, PlainStem, Stage
from invnas.nn.blocks import block, own, stem
from invnas.nn.dense import parted
from invnas.nn.skeleton import Shape, shape_after
from invnas.nn.strided import subsample
from invnas.rules import image


@dataclass(frozen=True)
class Part:
    """One module of a network, known by its value and its channels alone: equal parts are equal modules.

    Attributes:
        role: "stem" or "block".
        value: The architecture value.
        in_channels: Channels that enter.
        out_channels: Channels that leave.
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
        return block(self.value, self.in_channels, self.out_channels, self.stride)

    @property
    def step(self) -> int | None:
        """Pixels that become one along each side, when the value says so: a user's own stem or block need not."""
        match self.value:
            case PlainStem() | DeepStem():
                return int(self.value.stride) * (2 if self.value.pool else 1)
        return self.stride if isinstance(self.value, BLOCKS) else None

    def after(self, shape: Shape) -> Shape:
        """Return the shape that leaves for the one that enters.

        Raises:
            InvalidArchitecture: If a user's own module cannot run on it, or makes other channels than it must.
        """
        if self.step is None:
            return self.checked(shape_after(self.build, shape, type(self.value).__name__))
        return self.out_channels, math.ceil(shape[1] / self.step), math.ceil(shape[2] / self.step)

    def checked(self, after: tuple[int, ...]) -> Shape:
        """Return the shape that leaves; InvalidArchitecture says that it is no map of the channels it must have."""
        if len(after) != 3 or after[0] != self.out_channels:
            name = type(self.value).__name__
            raise InvalidArchitecture(
                f"{name} must turn {self.in_channels} channels into {self.out_channels}, but makes the shape {after}"
            )
        return after

    def stride_from(self, before: Shape, after: Shape) -> int:
        """Return how many pixels became one along each side."""
        return self.step or max(1, round(max(before[1:]) / max(1, *after[1:])))


def stem_part(value: Any, in_channels: int) -> Part:
    """Return the part of a stem."""
    return Part("stem", value, in_channels, value.width)


def stage_parts(stage: Stage, in_channels: int) -> list[Part]:
    """Return the parts of a stage: its blocks, the first one with the stride."""
    widths = (in_channels, *[stage.width] * len(stage.blocks))
    return [
        Part("block", value, widths[i], stage.width, stage.stride if i == 0 else 1)
        for i, value in enumerate(stage.blocks)
    ]


def parts(network: HybridNet, in_channels: int) -> list[list[Part]]:
    """Return the parts of a network before its head: the stem, then the blocks of each stage."""
    widths = (network.stem.width, *(stage.width for stage in network.stages))
    stages = [stage_parts(stage, width) for stage, width in zip(network.stages, widths, strict=False)]
    return [[stem_part(network.stem, in_channels)], *stages]


def feature_maps(network: HybridNet, input_shape: Shape) -> tuple[FeatureMap, ...]:
    """Return what leaves the stem and each stage.

    Raises:
        InvalidArchitecture: If a user's own stem or block cannot run on its map, or makes other channels than it must.
    """
    found, shape, stride = [], input_shape, 1
    for group in parts(network, input_shape[0]):
        for part in group:
            before, shape = shape, part.after(shape)
            stride *= part.stride_from(before, shape)
        found.append(FeatureMap(shape[0], stride))
    return tuple(found)


class Trunk(nn.Module):
    """The stem and the stages of a HybridNet: what a network is before its head.

    Args:
        network: What to build.
        input_shape: (channels, height, width) of one image.

    Attributes:
        feature_maps: Channels and stride of what leaves the stem and each stage.
    """

    def __init__(self, network: HybridNet, input_shape: Shape) -> None:
        super().__init__()
        (first,), *stages = parts(network, input_shape[0])
        self.stem = first.build()
        self.stages = nn.Sequential(*(nn.Sequential(*(part.build() for part in stage)) for stage in stages))
        self.feature_maps = feature_maps(network, input_shape)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what leaves the stem and each stage, (B, C, H, W) each, in the order of `feature_maps`."""
        maps = self.maps(x, range(len(self.feature_maps)))
        return [maps[i] for i in sorted(maps)]

    def maps(self, x: torch.Tensor, wanted: Collection[int]) -> dict[int, torch.Tensor]:
        """Return the wanted ones of `features` by their numbers."""
        # Nobody holds a map that is not wanted: that is the memory a network is priced with.
        found = {}
        for i, module in enumerate((self.stem, *self.stages)):
            x = module(x)
            if i in wanted:
                found[i] = x
        return found


class Network(Trunk):
    """The network of a HybridNet, or of the backbone of a DenseNet: stem, stages, head.

    Args:
        network: What to build.
        input_shape: (channels, height, width) of one image.
        head: What it ends in.

    Shapes:
        (B, C, H, W) -> (B, ...), as the head says.
    """

    def __init__(self, network: HybridNet, input_shape: Shape, head: Head) -> None:
        super().__init__(network, input_shape)
        self._wanted = head.wanted(self.feature_maps)
        self.head = head.build([self.feature_maps[i] for i in self._wanted], input_shape)

    def levels(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the neck of a DenseNet makes of images, finest first."""
        maps = self.maps(x, self._wanted)
        neck: Any = self.head.neck
        levels: tuple[torch.Tensor, ...] = neck(*(maps[i] for i in self._wanted))
        return levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the head makes of the maps of images."""
        # What is scaled to the size of an image has to know it: a map does not say how many pixels were rounded up.
        size = {"size": x.shape[2:]} if getattr(self.head, "takes_size", False) else {}
        maps = self.maps(x, self._wanted)
        output: torch.Tensor = self.head(*(maps[i] for i in self._wanted), **size)
        return output


def build(architecture: Architecture, input_shape: Shape, head: Head | int) -> nn.Module:
    """Return the network of an architecture, initialised, in channels_last memory format.

    Args:
        architecture: What to build.
        input_shape: (channels, height, width) of one image.
        head: What it ends in; a number means one score for each of so many classes.

    Raises:
        InvalidArchitecture: If a rule is broken, with the stage and block, or a user's own value cannot be built.
        BadInput: If there is no such image or number of classes.
    """
    architecture.check()
    for problem in image(input_shape):
        raise BadInput(problem)
    value, head = parted(architecture.network, as_head(head))
    if isinstance(value, HybridNet):
        module: nn.Module = Network(value, input_shape, head)
    else:
        module = own(value, "network", input_shape=input_shape, **head.given)
    subsample(module)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
