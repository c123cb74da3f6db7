"""Modules for the values of `dense`: feature pyramids, heads over their levels, and both before a task's output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from invnas.dense import NECKS, DenseNet, SemanticFPN, UPerNetHead
from invnas.detectors import RCNNHeads, RetinaHead
from invnas.errors import InvalidArchitecture
from invnas.head import FeatureMap, Head
from invnas.nn.blocks import operator, own
from invnas.nn.detection import RCNNLayers, RetinaLayers
from invnas.nn.layers import Doubling, conv_norm_relu, pixel_scores, scaled
from invnas.nn.skeleton import Shape
from invnas.nn.upernet import UPerNetScores
from invnas.operators import Convolution


def neck(value: Any, maps: Sequence[FeatureMap]) -> nn.Module:
    """Return the module of a neck: called with the wanted maps, it returns its levels, finest first."""
    if value is None:
        return NoNeck()
    return Pyramid(value, maps) if isinstance(value, NECKS) else own(value, "neck", maps=tuple(maps))


def levels_of(value: Any, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
    """Return what leaves a neck for the maps that enter."""
    if value is None:
        return tuple(maps)
    if not hasattr(value, "after"):
        raise InvalidArchitecture(
            f"{type(value).__name__} stands where a neck is wanted, so it needs a method after(self, maps), which "
            "returns a FeatureMap for each level"
        )
    return tuple(FeatureMap(*level) for level in value.after(maps))


def layers(value: Any, levels: Sequence[FeatureMap], input_shape: Shape, **given: Any) -> nn.Module:
    """Return the module of a head: called with the levels, and `size=(height, width)` of the image.

    Args:
        value: What it is.
        levels: What leaves the neck.
        input_shape: (channels, height, width) of one image.
        given: What the task gives, such as the number of classes.
    """
    match value:
        case SemanticFPN():
            return SemanticScores(value, levels, **given)
        case UPerNetHead():
            return UPerNetScores(value, levels, **given)
        case RetinaHead():
            return RetinaLayers(value, levels, **given)
        case RCNNHeads():
            return RCNNLayers(value, levels, **given)
    return own(value, "head", levels=tuple(levels), input_shape=input_shape, **given)


def check_size(maps: Sequence[FeatureMap], input_shape: Shape) -> None:
    """Raise InvalidArchitecture if an image has fewer pixels along a side than the coarsest map has for one."""
    largest = max(one.stride for one in maps)
    if min(input_shape[1:]) < largest:
        raise InvalidArchitecture(
            f"images of {input_shape[1]} x {input_shape[2]} are smaller than the largest stride of the backbone, "
            f"{largest}: take images of at least {largest} x {largest}, or fewer strides"
        )


class NoNeck(nn.Module):
    """The maps as they are."""

    def forward(self, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return them."""
        return maps


class Pyramid(nn.Module):
    """A feature pyramid: lateral 1 x 1 convolutions, a top-down sum by nearest upsampling, an operator on each level.

    Args:
        value: ConvolutionFPN or InvolutionFPN.
        maps: What enters.

    Shapes:
        (B, C_i, H_i, W_i) for each map -> (B, width, H_i, W_i) for each, then ever half the size.
    """

    def __init__(self, value: Any, maps: Sequence[FeatureMap]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(one.channels, value.width) for one in maps)
        self.spatial = nn.ModuleList(_spatial(value) for _ in maps)
        self.extra_levels, self.pooled = value.extra_levels, value.pooled
        enter = [maps[-1].channels, *[value.width] * value.extra_levels]
        made = [] if value.pooled else [_conv(width, value.width, 3, 2) for width in enter[: value.extra_levels]]
        self.extra = nn.ModuleList(made)

    def forward(self, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the levels, finest first."""
        sums = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = sums[i - 1] + F.interpolate(sums[i], size=sums[i - 1].shape[2:], mode="nearest")
        levels = [spatial(x) for spatial, x in zip(self.spatial, sums, strict=True)]
        x = levels[-1] if self.pooled else maps[-1]
        for i in range(self.extra_levels):
            # A copy, so that what is alive is plain: a view is priced as the map it is of.
            x = x[..., ::2, ::2].clone() if self.pooled else self.extra[i](x)
            levels.append(x)
        return tuple(levels)


class SemanticScores(nn.Module):
    """The head of Semantic FPN.

    Args:
        value: What it is.
        levels: What enters.
        classes: How many scores a pixel gets.

    Shapes:
        (B, C_i, H_i, W_i) for each level -> (B, classes, height, width).
    """

    def __init__(self, value: SemanticFPN, levels: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        finest = levels[0].stride
        self.paths, self.doubling = nn.ModuleList(), Doubling()
        for level in levels:
            doublings = max(0, round(math.log2(level.stride / finest)))
            widths = (level.channels, *[value.width] * max(1, doublings))
            self.paths.append(nn.ModuleList(conv_norm_relu(before, after, 3) for before, after in pairwise(widths)))
        self.scores = pixel_scores(value.width, classes)

    def forward(self, *levels: torch.Tensor, size: Any) -> torch.Tensor:
        """Return the scores of each pixel of images of this size."""
        found, finest = None, levels[0].shape[2:]
        paths: Any = self.paths
        for i, (x, path) in enumerate(zip(levels, paths, strict=True)):
            for j, step in enumerate(path):
                x = step(x)
                if i:  # the last doubling meets the finest level, whose sides may be odd
                    x = self.doubling(x, finest if j == len(path) - 1 else None)
            found = x if found is None else found + x
        return scaled(self.scores(found), size)


class Decoding(nn.Module):
    """The neck and the head of a network for dense prediction.

    Args:
        value: What they are.
        maps: The maps that enter.
        input_shape: (channels, height, width) of one image.

    Shapes:
        (B, C_i, H_i, W_i) for each map -> what the task asks for.
    """

    #: The network says how large its images are.
    takes_size = True

    def __init__(self, value: Decoder, maps: Sequence[FeatureMap], input_shape: Shape) -> None:
        super().__init__()
        check_size(maps, input_shape)
        self.neck = neck(value.neck, maps)
        self.layers = layers(value.layers, levels_of(value.neck, maps), input_shape, **value.given)

    def forward(self, *maps: torch.Tensor, size: Any) -> torch.Tensor:
        """Return what the head makes of the levels that the neck makes of maps, for images of this size."""
        output: torch.Tensor = self.layers(*self.neck(*maps), size=size)
        return output


def _conv(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with bias, initialised as published pyramids are."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _spatial(value: Any) -> nn.Module:
    if isinstance(value.spatial, Convolution):
        return _conv(value.width, value.width, value.spatial.kernel_size)
    return operator(value.spatial, value.width)


@dataclass(frozen=True)
class Decoder:
    """The neck and the head of a DenseNet before what a task asks for: a `Head` like any other.

    Attributes:
        neck: That of the network.
        layers: Its head.
        ends: What the task asks for.
    """

    neck: Any
    layers: Any
    ends: Head

    @property
    def given(self) -> Mapping[str, Any]:
        """What the task gives."""
        return self.ends.given

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Return the maps that the neck takes; without one those of all stages."""
        if self.neck is not None and hasattr(self.neck, "wanted"):
            return tuple(self.neck.wanted(maps))
        return tuple(range(1, len(maps)))

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        """Return the module."""
        return Decoding(self, maps, input_shape)

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what the task says against an output."""
        return self.ends.problem(input_shape, output_shape)


def parted(network: Any, head: Head) -> tuple[Any, Head]:
    """Return a network up to its last map, and what it ends in: of a DenseNet its own layers before a task's head."""
    if isinstance(network, DenseNet):
        return network.backbone, Decoder(network.neck, network.head, head)
    return network, head
