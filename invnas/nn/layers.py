"""The layers everything is built of, initialised as the reference does."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size of the map at stride 1, kaiming normal by fan out."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def activation(name: str) -> nn.Module:
    """Return the activation of a block: "relu", "relu6" or "hardswish"."""
    return {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish}[name](inplace=True)


def norm(channels: int, zero: bool = False) -> nn.BatchNorm2d:
    """Return a batch norm; with `zero` its weight starts at 0, so that a residual block starts as its shortcut."""
    layer = nn.BatchNorm2d(channels)
    if zero:
        nn.init.zeros_(layer.weight)
    return layer


def plain_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm that published networks never synchronise: their FLOPs of segmentation count it."""
    layer = norm(channels)
    layer.never_synchronised = True  # type: ignore[assignment]
    return layer


def scaled(x: torch.Tensor, size: Any) -> torch.Tensor:
    """Return a map (B, C, H, W) at another height and width, bilinear."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def pixel_scores(width: int, classes: int) -> nn.Conv2d:
    """Return the 1 x 1 convolution that makes one score for each class of a map; at first they are nearly equal."""
    layer = nn.Conv2d(width, classes, 1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Doubling(nn.Module):
    """Bilinear scaling to twice the size, or to a size that is close to it.

    Shapes:
        (B, C, H, W) -> (B, C, 2 H, 2 W), or (B, C, *size).
    """

    def forward(self, x: torch.Tensor, size: Any = None) -> torch.Tensor:
        """Return the larger map."""
        return scaled(x, (2 * x.shape[2], 2 * x.shape[3]) if size is None else size)


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, after: str = "relu"
) -> nn.Sequential:
    """Return convolution, batch norm, ReLU or the activation of this name."""
    return nn.Sequential(conv(in_channels, out_channels, kernel_size, stride), norm(out_channels), activation(after))


class SqueezeExcite(nn.Module):
    """A gate for each channel: hard sigmoid of two linear maps, a ReLU between them, of its mean over the map.

    Args:
        channels: Channels that enter and leave.
        hidden: Channels between the two maps.

    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018; Howard et al., "Searching for MobileNetV3", ICCV
    2019, section 5.3, for the hard sigmoid.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce, self.expand = (nn.Conv2d(*sizes, 1) for sizes in ((channels, hidden), (hidden, channels)))
        for layer in (self.reduce, self.expand):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x times its gates, (B, C, H, W)."""
        mean = x.mean((2, 3), keepdim=True)
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(mean))))
