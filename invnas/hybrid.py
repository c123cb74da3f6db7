"""Networks of stages as frozen values: a stem, then stages of blocks, each around a spatial operator.

A block turns `in_channels` into the width of its stage, a network an image into maps for a head. Like an operator, a
block, stem or network of a user's own is any frozen dataclass with a `build` method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from invnas.blocks import BLOCKS, Block, ShippedBlock
from invnas.choice import facts_of
from invnas.errors import shown
from invnas.operators import OPERATORS, Operator, ShippedOperator
from invnas.rules import fits, odd, problems_of, whole

if TYPE_CHECKING:
    from torch import nn


class Stem(Protocol):
    """A stem of a user's own: a frozen dataclass with a field `width`; a method `problems()` may say its rules."""

    @property
    def width(self) -> int:
        """Channels that leave it."""
        ...

    def build(self, in_channels: int) -> nn.Module:
        """Return a module that turns images (B, in_channels, H, W) into (B, width, H', W')."""
        ...


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first one carries the stride.

    Attributes:
        width: Channels that leave the stage.
        blocks: The blocks; in a space, usually a Repeat.
        stride: Step of the first block, 1 or more.

    >>> from invnas import Bottleneck, Convolution, Involution
    >>> len(Stage(width=64, blocks=(Bottleneck(Convolution(3)), Bottleneck(Involution(7))), stride=2).blocks)
    2
    """

    width: int
    blocks: Sequence[Block | ShippedBlock]
    stride: int = 1


@dataclass(frozen=True)
class PlainStem:
    """A convolution with batch norm and ReLU, then perhaps a max pool.

    Attributes:
        width: Channels that leave the stem.
        kernel_size: Window of the convolution, odd.
        stride: Step of the convolution.
        pool: Whether a 3 x 3 max pool of stride 2 follows.

    >>> PlainStem(width=32, kernel_size=3, stride=1, pool=False).width
    32
    """

    width: int = 64
    kernel_size: int = 7
    stride: int = 2
    pool: bool = True

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        yield from whole("width", self.width)
        yield from odd("kernel_size", self.kernel_size)
        yield from whole("stride", self.stride)


@dataclass(frozen=True)
class DeepStem:
    """A 3 x 3 convolution (with the stride) to half the width, a spatial operator, a 3 x 3 convolution to the width.

    Attributes:
        spatial: The operator in the middle.
        width: Channels that leave the stem, even.
        stride: Step of the first convolution.
        pool: Whether a 3 x 3 max pool of stride 2 follows.

    >>> from invnas import Involution
    >>> list(DeepStem(Involution(3), width=63).problems())
    ['`width` of a DeepStem must be even, but got 63']
    """

    spatial: Operator | ShippedOperator
    width: int = 64
    stride: int = 2
    pool: bool = True

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        broken = [*whole("width", self.width), *whole("stride", self.stride)]
        if not broken and self.width % 2:
            broken = [f"`width` of a DeepStem must be even, but got {self.width}"]
        broken += fits(self.spatial, "spatial operator", OPERATORS)
        yield from broken or problems_of(self.spatial, self.width // 2)


@dataclass(frozen=True)
class HybridNet:
    """A residual network of stages, each block convolution or involution, then global average pool and a linear layer.

    Attributes:
        stem: PlainStem, DeepStem, or the user's own.
        stages: The stages, first to last.

    >>> from invnas import Bottleneck, Involution
    >>> block = Bottleneck(Involution(3, group_channels=8, reduction_ratio=2), expansion=2)
    >>> network = HybridNet(PlainStem(16, 3, 1, False), [Stage(16, [block])])
    >>> list(network.problems())
    []
    """

    stem: Stem | PlainStem | DeepStem
    stages: Sequence[Stage]

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken, with its stage and block."""
        broken = [*fits(self.stem, "stem", (PlainStem, DeepStem)), *whole("width", getattr(self.stem, "width", None))]
        yield from (f"{sentence} (stem)" for sentence in broken or problems_of(self.stem))
        if not isinstance(self.stages, tuple | list):
            yield f"`stages` must be a list of Stage, but got {shown(self.stages, 60)}"
        channels = getattr(self.stem, "width", None)
        for s, stage in enumerate(self.stages if isinstance(self.stages, tuple | list) else ()):
            yield from (f"{sentence} (stage {s + 1}{place})" for sentence, place in _stage_problems(stage, channels))
            channels = getattr(stage, "width", None)


def _block_problems(block: Any, in_channels: Any, width: int) -> tuple[str, ...]:
    """Return the broken rules of a block; a frozen value is asked once for each pair of widths."""
    facts, key = facts_of(block), ("problems", in_channels, width)
    found: tuple[str, ...] | None = facts.get(key)
    if found is None:
        broken = [*fits(block, "block", BLOCKS)] or problems_of(block, in_channels, width)
        found = facts[key] = tuple(islice(broken, 10))  # a user's own method may never end
    return found


def _stage_problems(stage: Any, channels: Any) -> Iterator[tuple[str, str]]:
    """Yield each broken rule of a stage with its block."""
    if not isinstance(stage, Stage):
        yield f"{shown(stage, 60)} stands where a Stage is wanted", ""
        return
    broken = [*whole("width", stage.width), *whole("stride", stage.stride)]
    if not isinstance(stage.blocks, tuple | list) or not stage.blocks:
        # Without blocks the width and stride would decide nothing: two values for one network.
        broken.append(f"`blocks` must be a list of at least one block, but got {shown(stage.blocks, 60)}")
    yield from ((sentence, "") for sentence in broken)
    for b, block in enumerate(() if broken else stage.blocks):
        yield from ((sentence, f", block {b + 1}") for sentence in _block_problems(block, channels, stage.width))
        channels = stage.width
