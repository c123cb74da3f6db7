"""Modules for the values of `architecture`: operators, blocks and stems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from invnas.architecture import Bottleneck, Convolution, DeepStem, Involution, LocalAttention, PlainStem
from invnas.errors import BadInput, InvnasError
from invnas.nn.involution import Involution2d, LocalAttention2d
from invnas.nn.layers import conv, conv_norm_relu, norm


def operator(value: Any, channels: int, stride: int = 1) -> nn.Module:
    """Return the module of a spatial operator: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
    match value:
        case Convolution():
            return conv(channels, channels, value.kernel_size, stride, value.groups)
        case Involution():
            generator = (value.reduction_ratio, value.patch_size, value.softmax)
            return Involution2d(channels, value.kernel_size, stride, value.group_channels, *generator)
        case LocalAttention():
            return LocalAttention2d(channels, value.kernel_size, stride, value.group_channels, value.softmax)
    return own(value, "operator", channels=channels, stride=stride)


def block(value: Any, in_channels: int, width: int, stride: int) -> nn.Module:
    """Return the module of a block: (B, in_channels, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""
    if isinstance(value, Bottleneck):
        return ResidualBottleneck(value, in_channels, width, stride)
    return own(value, "block", in_channels=in_channels, width=width, stride=stride)


def stem(value: Any, in_channels: int) -> nn.Module:
    """Return the module of a stem: (B, in_channels, H, W) -> (B, value.width, H', W')."""
    match value:
        case PlainStem():
            layers = [conv_norm_relu(in_channels, value.width, value.kernel_size, value.stride)]
        case DeepStem():
            half = value.width // 2
            middle = nn.Sequential(operator(value.spatial, half), norm(half), nn.ReLU(inplace=True))
            layers = [conv_norm_relu(in_channels, half, 3, value.stride), middle, conv_norm_relu(half, value.width, 3)]
        case _:
            return own(value, "stem", in_channels=in_channels)
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, 2, 1)] if value.pool else []))


def own(value: Any, role: str, **shape: Any) -> nn.Module:
    """Return the module of the user's own value by its `build` method."""
    build = getattr(value, "build", None)
    name = type(value).__name__
    if build is None:
        raise BadInput(f"{name} stands where a {role} is wanted, so it needs a method build(self, {', '.join(shape)})")
    try:
        module = build(**shape)
    except InvnasError:
        raise
    except Exception as error:
        said = ", ".join(f"{key}={part}" for key, part in shape.items())
        raise BadInput(f"{name}.build({said}) raised {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise BadInput(f"{name}.build must return a torch.nn.Module, but returned {type(module).__name__}")
    return module


@dataclass(frozen=True)
class Piece:
    """One step inside a residual bottleneck, known by its value and channels alone: equal pieces are equal modules.

    Attributes:
        role: "enter" (1 x 1, norm, ReLU), "spatial" (operator, norm, ReLU), "leave" or "shortcut" (1 x 1, norm).
        in_channels: Channels that enter.
        out_channels: Channels that leave.
        stride: Step.
        value: The operator of a "spatial" piece.
    """

    role: str
    in_channels: int
    out_channels: int
    stride: int = 1
    value: Any = None

    def build(self) -> nn.Module:
        """Return a new module."""
        match self.role:
            case "enter":
                return conv_norm_relu(self.in_channels, self.out_channels)
            case "spatial":
                channels = self.in_channels
                return nn.Sequential(operator(self.value, channels, self.stride), norm(channels), nn.ReLU(inplace=True))
        pointwise = conv(self.in_channels, self.out_channels, 1, self.stride)
        return nn.Sequential(pointwise, norm(self.out_channels, zero=self.role == "leave"))


def pieces(value: Bottleneck, in_channels: int, width: int, stride: int) -> tuple[list[Piece], Piece | None]:
    """Return the main path of a bottleneck and its shortcut; None is the identity."""
    middle = width // value.expansion
    main = [
        Piece("enter", in_channels, middle),
        Piece("spatial", middle, middle, stride, value.spatial),
        Piece("leave", middle, width),
    ]
    same = stride == 1 and in_channels == width
    return main, None if same else Piece("shortcut", in_channels, width, stride)


class ResidualBottleneck(nn.Module):
    """1 x 1 convolution, spatial operator with the stride, 1 x 1 convolution, each with batch norm; plus the shortcut.

    Args:
        value: What it is.
        in_channels: Channels that enter.
        width: Channels that leave.
        stride: Step of the spatial operator and of the shortcut.
    """

    def __init__(self, value: Bottleneck, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        main, shortcut = pieces(value, in_channels, width, stride)
        self.enter, self.spatial, self.leave = (piece.build() for piece in main)
        self.shortcut = shortcut.build() if shortcut else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(shortcut(x) + f(x))."""
        return F.relu(self.leave(self.spatial(self.enter(x))) + self.shortcut(x), inplace=True)
