"""Involution as a layer: kernels generated from the input, then the operator."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from invnas.architecture import Involution
from invnas.errors import BadInput
from invnas.nn.layers import norm
from invnas.ops.geometry import same_padding
from invnas.ops.involution import involution2d
from invnas.rules import whole


class Involution2d(nn.Module):
    """Involution with kernels from a bottleneck: span(relu(bn(reduce(pool(x))))).

    With stride s the kernels come from the s x s average; an odd side is averaged over the pixels there are, so
    that the kernels and the window agree on ceil(size / s) positions. The kernel may be larger than the map: it
    meets zeros.

    Args:
        channels: C, in and out.
        kernel_size: K, odd.
        stride: Pixels between two positions.
        group_channels: Channels that share a kernel; must divide C.
        reduction_ratio: C over hidden channels of the generator; must divide C.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Raises:
        BadInput: If a rule is broken, with the nearest valid choice.

    Source: Li et al., "Involution", CVPR 2021, section 3.
    """

    def __init__(
        self, channels: int, kernel_size: int = 7, stride: int = 1, group_channels: int = 16, reduction_ratio: int = 4
    ) -> None:
        super().__init__()
        broken = [*whole("channels", channels), *whole("stride", stride)]
        for sentence in broken or Involution(kernel_size, group_channels, reduction_ratio).problems(channels):
            raise BadInput(sentence)
        self.kernel_size, self.stride, self.groups = kernel_size, stride, channels // group_channels
        hidden = channels // reduction_ratio
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = norm(hidden)
        self.span = nn.Conv2d(hidden, kernel_size**2 * self.groups, 1)
        for layer in (self.reduce, self.span):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert self.span.bias is not None
        nn.init.zeros_(self.span.bias)

    def kernels(self, x: torch.Tensor) -> torch.Tensor:
        """Return the kernels (B, G, K * K, H', W') for a map (B, C, H, W)."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        spanned: torch.Tensor = self.span(F.relu(self.norm(self.reduce(x)), inplace=True))
        return spanned.unflatten(1, (self.groups, self.kernel_size**2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the involution of a map."""
        kernels = self.kernels(x)
        # Under autocast the generator's convolutions return half precision whatever the map came in.
        return involution2d(
            x.to(kernels.dtype), kernels, self.kernel_size, self.stride, 1, same_padding(self.kernel_size)
        )

    def extra_repr(self) -> str:
        """Return the numbers of the layer."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, groups={self.groups}"
