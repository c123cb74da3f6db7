"""A backbone with a feature pyramid as the detectors of torchvision take it; torchvision itself is not needed.

They ask for `out_channels` and for maps by name, finest first: "0", "1", … for the maps of the backbone, and after them
the extra levels, "pool" or "p6", "p7".
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from invnas.backbones.features import Backbone
from invnas.dense import ConvolutionFPN
from invnas.errors import BadInput, InvalidArchitecture
from invnas.head import FeatureMap
from invnas.nn.dense import levels_of, neck


class BackboneWithFPN(nn.Module):
    """A backbone and a neck over all maps that it returns.

    Args:
        body: The backbone, such as `invnas.backbone("rednet50")`.
        value: The neck, ConvolutionFPN, InvolutionFPN or a user's own. By default that of R-CNNs: 256 channels, and one
            more level for the anchors, "pool". RetinaNet takes `ConvolutionFPN(extra_levels=2)` over the last three
            stages.

    Attributes:
        out_channels: Channels of every level.
        names: Names of the levels, finest first.
        strides: Pixels of the image for one of the level, along each side.

    Shapes:
        (B, C, H, W) -> a dict of (B, out_channels, H / stride, W / stride), rounded up.

    Raises:
        BadInput: If the neck does not fit the maps, or its levels differ in channels.
    """

    def __init__(self, body: Backbone, value: Any = ConvolutionFPN(extra_levels=1, pooled=True)) -> None:  # noqa: B008
        super().__init__()
        info = body.feature_info
        maps = [FeatureMap(*both) for both in zip(info.channels(), info.reduction(), strict=True)]
        levels = _levels(value, maps)
        self.body, self.fpn = body, neck(value, maps).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.out_channels, self.strides = levels[0].channels, tuple(level.stride for level in levels)
        extra = [level.stride for level in levels[len(maps) :]]
        self.names = (*map(str, range(len(maps))), *_extra_names(extra, getattr(value, "pooled", False)))

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """Return the levels of images by their names."""
        return OrderedDict(zip(self.names, self.fpn(*self.body(x)), strict=True))


def _levels(value: Any, maps: list[FeatureMap]) -> tuple[FeatureMap, ...]:
    name = type(value).__name__
    if value is None:
        raise BadInput("without a neck the maps differ in channels: take a ConvolutionFPN or an InvolutionFPN")
    for problem in getattr(value, "problems", tuple)():
        raise BadInput(f"{problem} (neck)")
    if (taken := getattr(value, "levels", None)) not in (None, len(maps)):
        raise BadInput(
            f"`levels` of a {name} is {taken}, but the backbone returns {len(maps)} maps, which are all taken: choose "
            "them by its `out_indices`"
        )
    levels = levels_of(value, maps)
    if len({level.channels for level in levels}) != 1 or len(levels) < len(maps):
        raise InvalidArchitecture(
            f"{name} must make a level of each of the {len(maps)} maps, all of the same channels, but makes {levels}"
        )
    return levels


def _extra_names(strides: list[int], pooled: bool) -> list[str]:
    if pooled:
        return ["pool", *(f"pool{i}" for i in range(2, len(strides) + 1))][: len(strides)]
    return [f"p{round(math.log2(stride))}" for stride in strides]
