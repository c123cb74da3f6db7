"""Architectures as frozen values: what a network is, without building it.

An operator keeps the number of channels; a block turns `in_channels` into the width of its stage; a network turns an
image into class scores. The values here are the ones invnas ships; a user's own operator, block or network is any
frozen dataclass with a `build` method (see docs/own_space.md) and may state its rules in a method `problems`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from typing import Any

from invnas.choice import children
from invnas.errors import BadInput, InvalidArchitecture
from invnas.plain import LATER, from_plain, to_plain
from invnas.rules import divides, fits, odd, problems_of, softmax_of, whole


@dataclass(frozen=True)
class Convolution:
    """A k x k convolution that keeps the number of channels.

    Attributes:
        kernel_size: Height and width of the window, odd.
        groups: Groups of channels that do not mix; must divide the channels.
    """

    kernel_size: int = 3
    groups: int = 1

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken on this many channels."""
        yield from odd("kernel_size", self.kernel_size)
        yield from divides("groups", self.groups, channels)


@dataclass(frozen=True)
class Involution:
    """A k x k involution: a kernel for every position, generated from the input, shared by the channels of a group.

    Attributes:
        kernel_size: Height and width of the window, odd.
        group_channels: Channels that share a kernel; must divide the channels.
        reduction_ratio: Channels over hidden channels of the kernel generator, a divisor; None: it is one linear map.
        patch_size: The generator's first map sees a patch of this height and width instead of one pixel, odd.
        softmax: The taps of a kernel are passed through a softmax: positive, and their sum is 1.

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
OPERATORS = (Convolution, *INVOLUTIONS)


@dataclass(frozen=True)
class Bottleneck:
    """A residual block: 1 x 1 convolution, the spatial operator (with the stride), 1 x 1 convolution, shortcut.

    Attributes:
        spatial: The operator in the middle: one of OPERATORS, or the user's own.
        expansion: Width of the block over the width in its middle; must divide the width.
    """

    spatial: Any
    expansion: int = 4

    def problems(self, in_channels: int, width: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken between `in_channels` and `width`."""
        broken = [*divides("expansion", self.expansion, width), *fits(self.spatial, "spatial operator", OPERATORS)]
        yield from broken or problems_of(self.spatial, width // self.expansion)


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first one carries the stride.

    Attributes:
        width: Channels that leave the stage.
        blocks: The blocks; in a space, usually a Repeat.
        stride: Step of the first block, 1 or more.
    """

    width: int
    blocks: Any
    stride: int = 1


@dataclass(frozen=True)
class PlainStem:
    """A convolution with batch norm and ReLU, then perhaps a max pool.

    Attributes:
        width: Channels that leave the stem.
        kernel_size: Window of the convolution, odd.
        stride: Step of the convolution.
        pool: Whether a 3 x 3 max pool of stride 2 follows.
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
    """

    spatial: Any
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
    """

    stem: Any
    stages: Any

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken, with its stage and block."""
        broken = [*fits(self.stem, "stem", (PlainStem, DeepStem)), *whole("width", getattr(self.stem, "width", None))]
        yield from (f"{sentence} (stem)" for sentence in broken or problems_of(self.stem))
        if not isinstance(self.stages, tuple | list):
            yield f"`stages` must be a list of Stage, but got {self.stages!r:.60}"
        channels = getattr(self.stem, "width", None)
        for s, stage in enumerate(self.stages if isinstance(self.stages, tuple | list) else ()):
            yield from (f"{sentence} (stage {s}{place})" for sentence, place in _stage_problems(stage, channels))
            channels = getattr(stage, "width", None)


def _stage_problems(stage: Any, channels: Any) -> Iterator[tuple[str, str]]:
    """Yield each broken rule of a stage with its block."""
    if not isinstance(stage, Stage):
        yield f"{stage!r:.60} stands where a Stage is wanted", ""
        return
    broken = [*whole("width", stage.width), *whole("stride", stage.stride)]
    if not isinstance(stage.blocks, tuple | list) or not stage.blocks:
        # Without blocks the width and stride would decide nothing: two values for one network.
        broken.append(f"`blocks` must be a list of at least one block, but got {stage.blocks!r:.60}")
    yield from ((sentence, "") for sentence in broken)
    for b, block in enumerate(() if broken else stage.blocks):
        wrong = [*fits(block, "block", (Bottleneck,))] or problems_of(block, channels, stage.width)
        yield from ((sentence, f", block {b}") for sentence in wrong)
        channels = stage.width


#: The values invnas ships, by the name that stands under "type" in JSON.
SHIPPED: Mapping[str, type] = {
    kind.__name__: kind for kind in (*OPERATORS, Bottleneck, Stage, PlainStem, DeepStem, HybridNet)
}


@dataclass(frozen=True)
class Architecture:
    """One point of a space: a network value without choices.

    Attributes:
        network: HybridNet or the user's own frozen dataclass.
    """

    network: Any

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits, equal exactly when the networks are equal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @cached_property
    def operators(self) -> tuple[tuple[str, Any], ...]:
        """The spatial operators in their order, each with its path such as `stages.0.blocks.1.spatial`."""
        return tuple(_operators(self.network, ""))

    @property
    def kind(self) -> str:
        """Which spatial operators it has: "convolution", "involution", "hybrid", or "other" when it has neither."""
        involutions = [isinstance(operator, INVOLUTIONS) for _, operator in self.operators]
        if not involutions:
            return "other"
        return "involution" if all(involutions) else "hybrid" if any(involutions) else "convolution"

    def check(self) -> None:
        """Raise InvalidArchitecture with the first rule that is broken."""
        for sentence in [*fits(self.network, "network", (HybridNet,))] or problems_of(self.network):
            raise InvalidArchitecture(sentence)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data in which each value says its type."""
        plain = to_plain(self.network)
        assert isinstance(plain, dict)
        return plain

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: Any, types: Mapping[str, type] | None = None) -> Architecture:
        """Rebuild from `to_dict`.

        Args:
            data: Plain JSON data.
            types: The user's own dataclasses by name; `Space.types` has those of a space.

        Raises:
            BadInput: If a type or field is unknown or a value cannot be.
        """
        try:
            network = from_plain(data, {**(types or {}), **SHIPPED}, frozenset(SHIPPED))
        except RecursionError:
            raise BadInput("an architecture must not be nested this deeply") from None
        if not is_dataclass(network) or isinstance(network, type):
            raise BadInput(f"an architecture must be an object with a `type`, but got {data!r:.80}")
        return cls(network)

    @classmethod
    def from_json(cls, text: str, types: Mapping[str, type] | None = None) -> Architecture:
        """Rebuild from `to_json`; the errors are those of `from_dict`."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and endless nesting
            raise BadInput(f"the architecture is not valid JSON: {error}") from None
        return cls.from_dict(data, types)


def _operators(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, OPERATORS) or (path.endswith("spatial") and is_dataclass(value)):
        yield path, value
    for name, part in children(value):
        yield from _operators(part, f"{path}.{name}" if path else name)
