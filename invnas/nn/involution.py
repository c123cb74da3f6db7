"""Involution as a layer: kernels generated from the input, then the operator."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from invnas.errors import BadInput
from invnas.nn.layers import plain_norm
from invnas.operators import Involution, LocalAttention
from invnas.ops.geometry import same_padding
from invnas.ops.involution import involution2d, window_products
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
        reduction_ratio: C over hidden channels of the generator; must divide C. None: the generator is span(pool(x)).
        patch_size: Window of the generator's first map, over the averages when there is a stride; odd.
        softmax: Pass the K * K taps of each kernel through a softmax.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Raises:
        BadInput: If a rule is broken, with the nearest valid choice.

    Source: Li et al., "Involution", CVPR 2021, section 3.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        stride: int = 1,
        group_channels: int = 16,
        reduction_ratio: int | None = 4,
        patch_size: int = 1,
        softmax: bool = False,
    ) -> None:
        super().__init__()
        value = Involution(kernel_size, group_channels, reduction_ratio, patch_size, softmax)
        _check(channels, stride, value)
        self.channels = channels
        self.kernel_size, self.stride, self.groups = kernel_size, stride, channels // group_channels
        self.softmax = softmax
        spanned = kernel_size**2 * self.groups
        if reduction_ratio is None:
            self.span = nn.Conv2d(channels, spanned, patch_size, padding=patch_size // 2)
        else:
            hidden = channels // reduction_ratio
            self.reduce = nn.Conv2d(channels, hidden, patch_size, padding=patch_size // 2, bias=False)
            self.norm, self.relu = plain_norm(hidden), nn.ReLU(inplace=True)
            self.span = nn.Conv2d(hidden, spanned, 1)
        self.linear = reduction_ratio is None
        for layer in (self.span,) if self.linear else (self.reduce, self.span):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert self.span.bias is not None
        nn.init.zeros_(self.span.bias)

    def kernels(self, x: torch.Tensor) -> torch.Tensor:
        """Return the kernels (B, G, K * K, H', W') for a map (B, C, H, W)."""
        x = self.averages(x)
        if not self.linear:
            x = self.relu(self.norm(self.reduce(x)))
        kernels: torch.Tensor = self.span(x).unflatten(1, (self.groups, self.kernel_size**2))
        return kernels.softmax(2) if self.softmax else kernels

    def averages(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the kernels are made from, (B, C, H', W')."""
        return _averages(x, self.stride)

    def operands(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what involution is taken of, (B, C, H, W), and its kernels."""
        return x, self.kernels(x)

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """K, stride, dilation and padding of the window."""
        return self.kernel_size, self.stride, 1, same_padding(self.kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the involution of a map."""
        return involution2d(*self.operands(x), *self.geometry)

    def extra_repr(self) -> str:
        """Return the numbers of the layer."""
        end = ", softmax=True" if self.softmax else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, groups={self.groups}{end}"


class LocalAttention2d(nn.Module):
    """Self-attention over K x K neighbourhoods: involution of the values X Wv by the kernels (X Wq)(X Wk)^T / sqrt(D).

    Each group of D channels is a head. With stride s the queries come from the s x s average, as the kernels of
    Involution2d do. Keys and values beside the edge are zero, and take part in the softmax as such.

    Args:
        channels: C, in and out.
        kernel_size: K, odd.
        stride: Pixels between two positions.
        group_channels: D, channels of a head; must divide C.
        softmax: Pass the K * K products of each neighbourhood through a softmax.

    Shapes:
        (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Raises:
        BadInput: If a rule is broken, with the nearest valid choice.

    Source: Li et al., "Involution", CVPR 2021 (self-attention as an instance of involution).
    """

    def __init__(
        self, channels: int, kernel_size: int = 7, stride: int = 1, group_channels: int = 16, softmax: bool = True
    ) -> None:
        super().__init__()
        _check(channels, stride, LocalAttention(kernel_size, group_channels, softmax))
        self.channels = channels
        self.kernel_size, self.stride, self.groups = kernel_size, stride, channels // group_channels
        self.softmax, self.scale = softmax, group_channels**-0.5
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        for layer in (self.query, self.key, self.value):
            # Products of unit variance, whatever the width: those of kaiming normal grow with the channels.
            nn.init.normal_(layer.weight, std=channels**-0.5)

    def kernels(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weights (B, G, K * K, H', W') of each neighbourhood of a map (B, C, H, W)."""
        queries, keys = self.query(_averages(x, self.stride)) * self.scale, self.key(x)
        kernels = window_products(queries, keys, self.groups, *self.geometry)
        return kernels.softmax(2) if self.softmax else kernels

    def operands(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what involution is taken of, (B, C, H, W), and its kernels."""
        return self.value(x), self.kernels(x)

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """K, stride, dilation and padding of the window."""
        return self.kernel_size, self.stride, 1, same_padding(self.kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attention of a map to itself."""
        return involution2d(*self.operands(x), *self.geometry)

    def extra_repr(self) -> str:
        """Return the numbers of the layer."""
        numbers = f"kernel_size={self.kernel_size}, stride={self.stride}, groups={self.groups}"
        return f"{numbers}, softmax={self.softmax}"


def _check(channels: int, stride: int, value: Involution | LocalAttention) -> None:
    broken = [*whole("channels", channels), *whole("stride", stride)]
    for sentence in broken or value.problems(channels):
        raise BadInput(sentence)


def _averages(x: torch.Tensor, stride: int) -> torch.Tensor:
    """Return the average of each stride x stride square, at an edge that of the pixels there are."""
    return F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else x
