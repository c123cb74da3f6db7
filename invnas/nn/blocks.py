"""Modules for the values of `architecture`: operators, blocks and stems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from invnas.blocks import BLOCKS, BasicBlock, Bottleneck, InvertedResidual, PointwiseBlock, ShippedBlock
from invnas.errors import InvalidArchitecture
from invnas.gate import user_code
from invnas.hybrid import DeepStem, PlainStem
from invnas.nn.involution import Involution2d, LocalAttention2d
from invnas.nn.layers import SqueezeExcite, activation, conv, conv_norm_relu, norm, plain_norm
from invnas.operators import Convolution, DepthwiseConvolution, Involution, LocalAttention, kind_of


def operator(value: Any, channels: int, stride: int = 1) -> nn.Module:
    """Return the module of a spatial operator: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
    match value:
        case Convolution():
            return conv(channels, channels, value.kernel_size, stride, value.groups)
        case DepthwiseConvolution():
            return conv(channels, channels, value.kernel_size, stride, channels)
        case Involution():
            generator = (value.reduction_ratio, value.patch_size, value.softmax)
            return Involution2d(channels, value.kernel_size, stride, value.group_channels, *generator)
        case LocalAttention():
            return LocalAttention2d(channels, value.kernel_size, stride, value.group_channels, value.softmax)
    return own(value, "operator", channels=channels, stride=stride)


def block(value: Any, in_channels: int, width: int, stride: int) -> nn.Module:
    """Return the module of a block: (B, in_channels, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""
    if isinstance(value, BLOCKS):
        return BuiltBlock(value, in_channels, width, stride)
    return own(value, "block", in_channels=in_channels, width=width, stride=stride)


def stem(value: Any, in_channels: int) -> nn.Module:
    """Return the module of a stem: (B, in_channels, H, W) -> (B, value.width, H', W')."""
    match value:
        case PlainStem():
            layers = [conv_norm_relu(in_channels, value.width, value.kernel_size, value.stride)]
        case DeepStem():
            half = value.width // 2
            after = plain_norm(half) if kind_of(value.spatial) == "involution" else norm(half)
            middle = nn.Sequential(operator(value.spatial, half), after, nn.ReLU(inplace=True))
            layers = [conv_norm_relu(in_channels, half, 3, value.stride), middle, conv_norm_relu(half, value.width, 3)]
        case _:
            return own(value, "stem", in_channels=in_channels)
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, 2, 1)] if value.pool else []))


def own(value: Any, role: str, **shape: Any) -> nn.Module:
    """Return the module of the user's own value by its `build` method."""
    build = getattr(value, "build", None)
    name = type(value).__name__
    if build is None:
        raise InvalidArchitecture(
            f"{name} stands where a {role} is wanted, so it needs a method build(self, {', '.join(shape)})"
        )
    said = ", ".join(f"{key}={part}" for key, part in shape.items())
    with user_code(f"{name}.build({said})", InvalidArchitecture):
        module = build(**shape)
    if not isinstance(module, nn.Module):
        raise InvalidArchitecture(f"{name}.build must return a torch.nn.Module, but returned {type(module).__name__}")
    return module


@dataclass(frozen=True)
class Piece:
    """One step inside a block, known by its value and channels alone: equal pieces are equal modules.

    Attributes:
        role: "enter" (convolution, norm, activation), "spatial" (operator, norm, activation), "gate" (squeeze and
            excite), "leave" (convolution, norm), "shortcut" (1 x 1, norm) or "identity".
        in_channels: Channels that enter.
        out_channels: Channels that leave.
        stride: Step.
        value: The operator of a "spatial" piece.
        kernel_size: Window of a convolution.
        activation: Name of the activation after it.
        hidden: Hidden channels of a gate.
        zero: Whether the weight of its norm starts at 0.
    """

    role: str
    in_channels: int
    out_channels: int
    stride: int = 1
    value: Any = None
    kernel_size: int = 1
    activation: str = "relu"
    hidden: int = 0
    zero: bool = False

    def build(self) -> nn.Module:
        """Return a new module."""
        channels = self.in_channels
        match self.role:
            case "enter":
                return conv_norm_relu(channels, self.out_channels, self.kernel_size, self.stride, self.activation)
            case "spatial":
                spatial = operator(self.value, channels, self.stride)
                return nn.Sequential(spatial, norm(channels), activation(self.activation))
            case "gate":
                return SqueezeExcite(channels, self.hidden)
            case "identity":
                return nn.Identity()
        layer = conv(channels, self.out_channels, self.kernel_size, self.stride)
        return nn.Sequential(layer, norm(self.out_channels, zero=self.zero))


def pieces(value: ShippedBlock, in_channels: int, width: int, stride: int) -> tuple[list[Piece], Piece | None]:
    """Return the main path of a block and its shortcut, None where it has none."""
    same = stride == 1 and in_channels == width
    identity = Piece("identity", width, width)
    shortcut = identity if same else Piece("shortcut", in_channels, width, stride)
    match value:
        case Bottleneck():
            middle = width // value.expansion
            enter, leave = Piece("enter", in_channels, middle), Piece("leave", middle, width, zero=True)
            return [enter, Piece("spatial", middle, middle, stride, value.spatial), leave], shortcut
        case BasicBlock():
            window = value.kernel_size
            enter = Piece("enter", in_channels, width, stride, kernel_size=window)
            return [enter, Piece("leave", width, width, kernel_size=window, zero=True)], shortcut
        case InvertedResidual():
            return _inverted(value, in_channels, width, stride, same), identity if same else None
        case PointwiseBlock():
            return [Piece("enter", in_channels, width, stride, activation=value.activation)], None


def _inverted(value: InvertedResidual, in_channels: int, width: int, stride: int, same: bool) -> list[Piece]:
    middle, after = in_channels * value.expansion, value.activation
    found = [Piece("enter", in_channels, middle, activation=after)] if value.expansion > 1 else []
    found.append(Piece("spatial", middle, middle, stride, value.spatial, activation=after))
    if value.squeeze_ratio is not None:
        found.append(Piece("gate", middle, middle, hidden=middle // value.squeeze_ratio))
    # Without a shortcut a norm of zeros would let nothing through.
    return [*found, Piece("leave", middle, width, zero=same)]


class BuiltBlock(nn.Module):
    """The pieces of a block one after the other, plus its shortcut where it has one.

    Args:
        value: What it is.
        in_channels: Channels that enter.
        width: Channels that leave.
        stride: Step of one piece and of the shortcut.

    Attributes:
        path: Names of the pieces, in their order.
        rectified: Whether a ReLU follows the sum.
    """

    def __init__(self, value: ShippedBlock, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        main, shortcut = pieces(value, in_channels, width, stride)
        for piece in main:
            self.add_module(piece.role, piece.build())
        self.path = tuple(piece.role for piece in main)
        self.shortcut = shortcut.build() if shortcut else None
        self.rectified = isinstance(value, Bottleneck | BasicBlock)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return f(x) plus the shortcut of x, after a ReLU where the block ends in one."""
        y = x
        for role in self.path:
            y = getattr(self, role)(y)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return F.relu(y, inplace=True) if self.rectified else y
