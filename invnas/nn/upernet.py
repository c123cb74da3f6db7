"""The module of a UPerNetHead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from invnas.dense import POOLS, UPerNetHead
from invnas.head import FeatureMap
from invnas.nn.layers import conv_norm_relu, pixel_scores, scaled


class UPerNetScores(nn.Module):
    """The head of UPerNet.

    Args:
        value: What it is.
        levels: What enters.
        classes: How many scores a pixel gets.

    Shapes:
        (B, C_i, H_i, W_i) for each level -> (B, classes, height, width).
    """

    def __init__(self, value: UPerNetHead, levels: Sequence[FeatureMap], classes: int) -> None:
        super().__init__()
        channels, width = [level.channels for level in levels], value.width
        self.pooled = nn.ModuleList(conv_norm_relu(channels[-1], width) for _ in POOLS)
        self.context = conv_norm_relu(channels[-1] + len(POOLS) * width, width, 3)
        self.lateral = nn.ModuleList(conv_norm_relu(one, width) for one in channels[:-1])
        self.spatial = nn.ModuleList(conv_norm_relu(width, width, 3) for _ in channels[:-1])
        self.merge = conv_norm_relu(len(channels) * width, width, 3)
        self.scores = pixel_scores(width, classes)

    def forward(self, *levels: torch.Tensor, size: Any) -> torch.Tensor:
        """Return the scores of each pixel of images of this size."""
        *finer, coarsest = levels
        sums = [lateral(x) for lateral, x in zip(self.lateral, finer, strict=True)]
        sums.append(self.context(self._pyramid_pooled(coarsest)))
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = sums[i - 1] + _scaled(sums[i], sums[i - 1].shape[2:])
        found = [spatial(x) for spatial, x in zip(self.spatial, sums[:-1], strict=True)]
        found.append(sums[-1])
        merged = self.merge(torch.cat([_scaled(x, found[0].shape[2:]) for x in found], 1))
        return _scaled(self.scores(merged), size)

    def _pyramid_pooled(self, x: torch.Tensor) -> torch.Tensor:
        pools = zip(POOLS, self.pooled, strict=True)
        averages = [_scaled(layers(F.adaptive_avg_pool2d(x, side)), x.shape[2:]) for side, layers in pools]
        return torch.cat([x, *averages], 1)


def _scaled(x: torch.Tensor, size: Any) -> torch.Tensor:
    return x if x.shape[2:] == size else scaled(x, size)
