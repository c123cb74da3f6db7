"""Spatial operators as frozen values: what mixes the positions of a map and keeps its channels.

The values here are the ones invnas ships; a user's own is any frozen dataclass with a `build` method (see
docs/own_space.md) and may state its rules in a method `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from invnas.plain import LATER
from invnas.rules import divides, odd, softmax_of

if TYPE_CHECKING:
    from torch import nn


class Operator(Protocol):
    """A spatial operator of a user's own: a frozen dataclass with this method.

    It may say its rules in a method `problems(channels)`, one sentence for each that is broken, and what it is in an
    attribute `kind`: "convolution" or "involution"; it is "own" otherwise.

    >>> from dataclasses import dataclass
    >>> from torch import nn
    >>> from invnas import Bottleneck
    >>> @dataclass(frozen=True)
    ... class Depthwise:
    ...     kernel_size: int
    ...     kind: ClassVar[str] = "convolution"
    ...     def build(self, channels: int, stride: int) -> nn.Module:
    ...         return nn.Conv2d(channels, channels, self.kernel_size, stride, self.kernel_size // 2, groups=channels)
    >>> Bottleneck(Depthwise(3), expansion=1).spatial.build(8, 2).groups
    8
    """

    def build(self, channels: int, stride: int) -> nn.Module:
        """Return a module that turns (B, channels, H, W) into (B, channels, ceil(H / stride), ceil(W / stride))."""
        ...


@dataclass(frozen=True)
class Convolution:
    """A k x k convolution that keeps the number of channels.

    Attributes:
        kernel_size: Height and width of the window, odd.
        groups: Groups of channels that do not mix; must divide the channels.

    >>> list(Convolution(kernel_size=4).problems(channels=8))
    ['`kernel_size` must be odd so that the map keeps its size, but got 4; nearest: 3, 5']
    """

    kernel_size: int = 3
    groups: int = 1

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken on this many channels."""
        yield from odd("kernel_size", self.kernel_size)
        yield from divides("groups", self.groups, channels)


@dataclass(frozen=True)
class DepthwiseConvolution:
    """A k x k convolution of each channel by itself: as many groups as channels, whatever their number.

    Attributes:
        kernel_size: Height and width of the window, odd.

    >>> list(DepthwiseConvolution(kernel_size=2).problems(channels=8))
    ['`kernel_size` must be odd so that the map keeps its size, but got 2; nearest: 1, 3']
    """

    kernel_size: int = 3

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken on this many channels."""
        yield from odd("kernel_size", self.kernel_size)


@dataclass(frozen=True)
class Involution:
    """A k x k involution: a kernel for every position, generated from the input, shared by the channels of a group.

    Attributes:
        kernel_size: Height and width of the window, odd.
        group_channels: Channels that share a kernel; must divide the channels.
        reduction_ratio: Channels over hidden channels of the kernel generator, a divisor; None: it is one linear map.
        patch_size: The generator's first map sees a patch of this height and width instead of one pixel, odd.
        softmax: The taps of a kernel are passed through a softmax: positive, and their sum is 1.

    >>> list(Involution(kernel_size=7, group_channels=16, reduction_ratio=4).problems(channels=64))
    []

    Source: Li et al., "Involution: Inverting the Inherence of Convolution", CVPR 2021, section 3.
    """

    kernel_size: int = 7
    group_channels: int = 16
    reduction_ratio: int | None = 4
    patch_size: int = field(default=1, metadata=LATER)
    softmax: bool = field(default=False, metadata=LATER)

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken on this many channels."""
        yield from odd("kernel_size", self.kernel_size)
        yield from divides("group_channels", self.group_channels, channels)
        yield from divides("reduction_ratio", 1 if self.reduction_ratio is None else self.reduction_ratio, channels)
        yield from odd("patch_size", self.patch_size)
        yield from softmax_of(self.softmax, self.kernel_size)


@dataclass(frozen=True)
class LocalAttention:
    """Self-attention over the k x k neighbourhood: an involution of values by the products of queries and keys.

    Attributes:
        kernel_size: Height and width of the neighbourhood, odd; beside the edge it holds zeros.
        group_channels: Channels of a head; must divide the channels.
        softmax: The weights of a neighbourhood are passed through a softmax, as attention does.

    >>> LocalAttention(kernel_size=3, group_channels=8)
    LocalAttention(kernel_size=3, group_channels=8, softmax=True)
    """

    kernel_size: int = 7
    group_channels: int = 16
    softmax: bool = True

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken on this many channels."""
        yield from odd("kernel_size", self.kernel_size)
        yield from divides("group_channels", self.group_channels, channels)
        yield from softmax_of(self.softmax, self.kernel_size)


#: The spatial operators invnas ships whose kernels come from the input, and all of them.
INVOLUTIONS = (Involution, LocalAttention)
OPERATORS = (Convolution, DepthwiseConvolution, *INVOLUTIONS)
ShippedOperator = Convolution | DepthwiseConvolution | Involution | LocalAttention


Kind = Literal["convolution", "involution", "own"]


def kind_of(value: Any) -> Kind:
    """Return what an operator is: one of invnas's own, what a user's value says of itself by `kind`, or "own".

    >>> kind_of(LocalAttention()), kind_of(object())
    ('involution', 'own')
    """
    if isinstance(value, OPERATORS):
        return "involution" if isinstance(value, INVOLUTIONS) else "convolution"
    said = getattr(value, "kind", None)
    return said if said in ("convolution", "involution") else "own"
