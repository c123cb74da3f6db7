"""The layers everything is built of, initialised as the reference does."""

from __future__ import annotations

from torch import nn


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size of the map at stride 1, kaiming normal by fan out."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def norm(channels: int, zero: bool = False) -> nn.BatchNorm2d:
    """Return a batch norm; with `zero` its weight starts at 0, so that a residual block starts as its shortcut."""
    layer = nn.BatchNorm2d(channels)
    if zero:
        nn.init.zeros_(layer.weight)
    return layer


def conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm, ReLU."""
    return nn.Sequential(
        conv(in_channels, out_channels, kernel_size, stride), norm(out_channels), nn.ReLU(inplace=True)
    )
