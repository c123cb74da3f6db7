"""Modules for the values of `detectors`: layers that all levels of a pyramid share, and those that see regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from invnas.detectors import RCNNHeads, RetinaHead
from invnas.errors import InvalidArchitecture
from invnas.head import FeatureMap
from invnas.nn.blocks import operator
from invnas.operators import Convolution
from invnas.rules import problems_of

#: Sides of the maps of a region, for its box and for its mask.
BOX_SIDE, MASK_SIDE = 7, 14

#: Multiply-adds of one number of such a map: RoI align takes the mean of 2 x 2 samples, each of the 4 nearest pixels.
ROI_ALIGN = 4 * 4

#: Share of the positions that a fresh classifier of anchors calls an object.
_PRIOR = 0.01


class Regions(NamedTuple):
    """Layers that see regions of an image, and not its levels.

    Attributes:
        name: What to call them.
        module: They: (regions, channels, side, side) -> one tensor with a row for each.
        number: Regions of an image.
        side: Of the map of a region.
    """

    name: str
    module: nn.Module
    number: int
    side: int


class RetinaLayers(nn.Module):
    """The head of RetinaNet, shared by all levels.

    Args:
        value: What it is.
        levels: What enters; all have the same channels.
        classes: Number of classes; background is none.

    Shapes:
        (B, C, H_i, W_i) for each level -> (B, N, classes + 4) with an entry for each of the N anchors: scores before a
        sigmoid, then offsets. Anchors are in the order of levels, rows, columns, and anchors of a position.
    """

    def __init__(self, value: RetinaHead, levels: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        self.classes, self.anchors = classes, value.anchors
        channels = shared_channels(value, levels)
        self.score_branch = _branch(channels, value)
        self.offset_branch = _branch(channels, value)
        self.scores = _conv(value.width, value.anchors * classes, 3, bias=-math.log((1 - _PRIOR) / _PRIOR))
        self.offsets = _conv(value.width, value.anchors * 4, 3)

    def forward(self, *levels: torch.Tensor, size: Any = None) -> torch.Tensor:
        """Return scores and offsets of each anchor; the size of the image does not matter."""
        return torch.cat(self.parts(levels), 2)

    def parts(self, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores (B, N, classes) and offsets (B, N, 4)."""
        scores = [_rows(self.scores(self.score_branch(x)), self.classes) for x in levels]
        offsets = [_rows(self.offsets(self.offset_branch(x)), 4) for x in levels]
        return torch.cat(scores, 1), torch.cat(offsets, 1)


class RCNNLayers(nn.Module):
    """The region proposal network, the box head, and the mask head where there is one.

    Calling it runs the first alone: which regions the others see is decided between.

    Args:
        value: What they are.
        levels: What enters; all have the same channels.
        classes: Number of classes; background is none.

    Attributes:
        box: (R, C, 7, 7) -> (R, classes + 1 + 4 classes): scores, background first, then offsets of each class.
        mask: (R, C, 14, 14) -> (R, classes, 28, 28), scores before a sigmoid; None where there are no masks.

    Shapes:
        (B, C, H_i, W_i) for each level -> (B, N, 1 + 4) with an entry for each of the N anchors: the score of an object
        before a sigmoid, then offsets. Anchors are in the order of levels, rows, columns, and anchors of a position.
    """

    def __init__(self, value: RCNNHeads, levels: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        channels = shared_channels(value, levels)
        self.rpn = ProposalLayers(value, channels)
        self.box = BoxLayers(channels, value.box_width, classes)
        self.mask = None if value.mask is None else MaskLayers(value.mask, channels, classes)
        self.anchors, self.proposals, self.mask_proposals = value.anchors, value.proposals, value.mask_proposals

    @property
    def regions(self) -> tuple[Regions, ...]:
        """The heads that see regions."""
        boxes = Regions("box head", self.box, self.proposals, BOX_SIDE)
        if self.mask is None:
            return (boxes,)
        return boxes, Regions("mask head", self.mask, self.mask_proposals, MASK_SIDE)

    def forward(self, *levels: torch.Tensor, size: Any = None) -> torch.Tensor:
        """Return score and offsets of each anchor; the size of the image does not matter."""
        parts = self.rpn.parts(levels)
        rows = [[_rows(x, last) for x in maps] for maps, last in zip(parts, (1, 4), strict=True)]
        return torch.cat([torch.cat(one, 1) for one in rows], 2)


class ProposalLayers(nn.Module):
    """The layers of a region proposal network."""

    def __init__(self, value: RCNNHeads, channels: int) -> None:
        super().__init__()
        self.spatial = _spatial(value.rpn, channels, "rpn")
        self.relu = nn.ReLU()
        self.relu.passed_over = True  # type: ignore[assignment]  # by the counter of the published figures
        self.scores = _conv(channels, value.anchors)
        self.offsets = _conv(channels, value.anchors * 4)

    def parts(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return of each level the scores (B, A, H, W) and the offsets (B, 4 A, H, W) of its A anchors a position."""
        scores, offsets = [], []
        for x in levels:
            x = self.relu(self.spatial(x))
            scores.append(self.scores(x))
            offsets.append(self.offsets(x))
        return scores, offsets


class BoxLayers(nn.Module):
    """The box head: (R, C, 7, 7) -> (R, classes + 1 + 4 classes)."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(channels * BOX_SIDE**2, width), nn.Linear(width, width)
        self.scores, self.offsets = nn.Linear(width, classes + 1), nn.Linear(width, 4 * classes)
        for layer, std in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, then offsets."""
        return torch.cat(self.parts(x), 1)

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores (R, classes + 1), background first, and offsets (R, 4 classes)."""
        x = F.relu(self.second(F.relu(self.first(x.flatten(1)))))
        return self.scores(x), self.offsets(x)


class MaskLayers(nn.Module):
    """The mask head: (R, C, 14, 14) -> (R, classes, 28, 28)."""

    def __init__(self, value: Any, channels: int, classes: int) -> None:
        super().__init__()
        self.spatial = nn.ModuleList(_spatial(value, channels, "mask") for _ in range(4))
        self.deconvolution = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.scores = nn.Conv2d(channels, classes, 1)
        for layer in (self.deconvolution, self.scores):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of scores for each class."""
        for layer in self.spatial:
            x = F.relu(layer(x))
        scores: torch.Tensor = self.scores(F.relu(self.deconvolution(x)))
        return scores


def shared_channels(value: Any, levels: Sequence[FeatureMap]) -> int:
    """Return the channels of all levels; InvalidArchitecture says that they differ."""
    found = [level.channels for level in levels]
    if len(set(found)) != 1:
        raise InvalidArchitecture(
            f"a {type(value).__name__} is shared by all levels, which must have the same channels, but they have "
            f"{', '.join(map(str, found))}: take a neck such as ConvolutionFPN"
        )
    return found[0]


def _branch(channels: int, value: RetinaHead) -> nn.Sequential:
    widths = (channels, *[value.width] * (value.convolutions - 1))
    pairs = ((_conv(before, value.width, 3), nn.ReLU(inplace=True)) for before in widths)
    return nn.Sequential(*(layer for pair in pairs for layer in pair))


def _spatial(value: Any, channels: int, place: str) -> nn.Module:
    """Return an operator on levels or regions; a convolution has a bias here."""
    for sentence in problems_of(value, channels):
        raise InvalidArchitecture(f"{sentence} (`{place}` of the head)")
    if isinstance(value, Convolution):
        return _conv(channels, channels, value.kernel_size, value.groups)
    return operator(value, channels)


def _conv(before: int, after: int, kernel_size: int = 1, groups: int = 1, bias: float = 0.0) -> nn.Conv2d:
    """Return a convolution with bias, initialised as published detectors are."""
    layer = nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2, groups=groups)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]
    return layer


def _rows(x: torch.Tensor, last: int) -> torch.Tensor:
    """Turn (B, A last, H, W) into (B, H W A, last)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, last)
