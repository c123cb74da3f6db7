"""Involution as its definition says it, with unfold: slow, short, and the truth every backend is tested against.

Y[b, c, i, j] = sum over taps (u, v) of  W[b, g(c), (u, v), i, j] * X[b, c, i*s + u*d - p, j*s + v*d - p]

Source: Li et al., "Involution", CVPR 2021, equation 4.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from invnas.ops.geometry import Window


def involution2d(input: torch.Tensor, kernels: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the involution of `input` (B, C, H, W) by `kernels` (B, G, K * K, H', W'): (B, C, H', W')."""
    batch, channels = input.shape[:2]
    groups, taps, height, width = kernels.shape[1:]
    columns = F.unfold(input, window.kernel_size, window.dilation, window.padding, window.stride)
    columns = columns.view(batch, groups, channels // groups, taps, height, width)
    return (columns * kernels.unsqueeze(2)).sum(dim=3).view(batch, channels, height, width)
