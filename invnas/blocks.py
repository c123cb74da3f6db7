"""Blocks as frozen values: what turns `in_channels` into the width of a stage around its spatial operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from invnas.operators import OPERATORS, Operator, ShippedOperator
from invnas.rules import divides, fits, odd, one_of, problems_of, whole

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "relu6", "hardswish"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu6", "hardswish")


class Block(Protocol):
    """A block of a user's own: a frozen dataclass; a method `problems(in_channels, width)` may say its rules."""

    def build(self, in_channels: int, width: int, stride: int) -> nn.Module:
        """Return a module that turns (B, in_channels, H, W) into (B, width, H', W')."""
        ...


@dataclass(frozen=True)
class Bottleneck:
    """A residual block: 1 x 1 convolution, the spatial operator (with the stride), 1 x 1 convolution, shortcut.

    Attributes:
        spatial: The operator in the middle: one of OPERATORS, or the user's own.
        expansion: Width of the block over the width in its middle; must divide the width.

    >>> from invnas import Convolution
    >>> list(Bottleneck(Convolution(3), expansion=4).problems(in_channels=32, width=64))
    []
    """

    spatial: Operator | ShippedOperator
    expansion: int = 4

    def problems(self, in_channels: int, width: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken between `in_channels` and `width`."""
        broken = [*divides("expansion", self.expansion, width), *fits(self.spatial, "spatial operator", OPERATORS)]
        yield from broken or problems_of(self.spatial, width // self.expansion)


@dataclass(frozen=True)
class BasicBlock:
    """A residual block of two k x k convolutions, the first with the stride, and the shortcut of a Bottleneck.

    It holds no other operator, so it counts as one convolution.

    Attributes:
        kernel_size: Height and width of both windows, odd.

    >>> list(BasicBlock().problems(in_channels=32, width=64))
    []

    Source: He et al., "Deep Residual Learning", CVPR 2016, figure 5, left.
    """

    kernel_size: int = 3
    kind: ClassVar[str] = "convolution"

    def problems(self, in_channels: int, width: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken between `in_channels` and `width`."""
        yield from odd("kernel_size", self.kernel_size)


@dataclass(frozen=True)
class InvertedResidual:
    """1 x 1 convolution to a wider middle, the spatial operator (with the stride), a gate, 1 x 1 convolution.

    The input is added where stride is 1 and the widths are equal; nothing follows the sum. With expansion 1 there is no
    first convolution. The activation stands after all but the last convolution; the gate of each channel is a hard
    sigmoid of two linear maps, a ReLU between them, of its mean over the map.

    Attributes:
        spatial: The operator in the middle: depthwise in the papers; an involution makes it a hybrid.
        expansion: Channels in the middle over those that enter, at least 1.
        squeeze_ratio: Channels in the middle over hidden channels of the gate, a divisor; None: there is no gate.
        activation: "relu6" as in MobileNetV2, "relu" or "hardswish" as in MobileNetV3.

    >>> from invnas import DepthwiseConvolution
    >>> list(InvertedResidual(DepthwiseConvolution(5), 6, squeeze_ratio=4).problems(in_channels=16, width=24))
    []

    Source: Sandler et al., "MobileNetV2", CVPR 2018, table 1; Howard et al., "Searching for MobileNetV3", ICCV 2019,
    section 5.3.
    """

    spatial: Operator | ShippedOperator
    expansion: int = 6
    squeeze_ratio: int | None = None
    activation: Activation = "relu6"

    def problems(self, in_channels: int, width: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken between `in_channels` and `width`."""
        broken = [*whole("expansion", self.expansion), *fits(self.spatial, "spatial operator", OPERATORS)]
        if not broken:
            middle = in_channels * self.expansion
            broken += divides("squeeze_ratio", 1 if self.squeeze_ratio is None else self.squeeze_ratio, middle)
            broken += problems_of(self.spatial, middle)
        yield from (*broken, *one_of("activation", self.activation, ACTIVATIONS))


@dataclass(frozen=True)
class PointwiseBlock:
    """A 1 x 1 convolution (with the stride) and its activation, without a shortcut or a spatial operator.

    Attributes:
        activation: "relu6" as before the pool of a MobileNetV2, "relu" or "hardswish".

    >>> list(PointwiseBlock("relu7").problems(in_channels=8, width=8))
    ["unknown activation 'relu7'; nearest: 'relu'; valid: relu, relu6, hardswish"]
    """

    activation: Activation = "relu6"

    def problems(self, in_channels: int, width: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken between `in_channels` and `width`."""
        yield from one_of("activation", self.activation, ACTIVATIONS)


#: The blocks invnas ships.
BLOCKS = (Bottleneck, BasicBlock, InvertedResidual, PointwiseBlock)
ShippedBlock = Bottleneck | BasicBlock | InvertedResidual | PointwiseBlock
