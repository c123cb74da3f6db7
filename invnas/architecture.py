"""Architectures as frozen values: what a network is, without building it.

An operator keeps the number of channels; a block turns `in_channels` into the width of its stage; a network turns an
image into class scores. The values here are the ones invnas ships; a user's own operator, block or network is any frozen
dataclass with a `build` method (see docs/own_space.md) and may state its rules in a method `problems`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from invnas.choice import children
from invnas.errors import BadInput, InvalidArchitecture, nearest


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, smallest first."""
    return [d for d in range(1, number + 1) if number % d == 0]


def _near_divisors(number: int, wanted: int) -> str:
    closest = sorted(divisors(number), key=lambda d: abs(d - wanted))[:3]
    return ", ".join(map(str, sorted(closest)))


def _odd(name: str, value: int) -> Iterator[str]:
    if value < 1 or value % 2 == 0:
        yield f"`{name}` must be odd so that the map keeps its size, but got {value}; nearest: {max(value - 1, 1)}, {value + 1}"


def _divides(name: str, value: int, channels: int) -> Iterator[str]:
    if value < 1 or channels % value:
        yield (
            f"`{name}` must divide the channels, but got {name}={value} and {channels} channels; "
            f"nearest: {_near_divisors(channels, value)}"
        )


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
        yield from _odd("kernel_size", self.kernel_size)
        yield from _divides("groups", self.groups, channels)


@dataclass(frozen=True)
class Involution:
    """A k x k involution: a kernel for every position, generated from the input, shared by the channels of a group.

    Attributes:
        kernel_size: Height and width of the window, odd.
        group_channels: Channels that share a kernel; must divide the channels.
        reduction_ratio: Channels over hidden channels of the kernel generator; must divide the channels.

    Source: Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition", CVPR 2021, section 3.
    """

    kernel_size: int = 7
    group_channels: int = 16
    reduction_ratio: int = 4

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken on this many channels."""
        yield from _odd("kernel_size", self.kernel_size)
        yield from _divides("group_channels", self.group_channels, channels)
        yield from _divides("reduction_ratio", self.reduction_ratio, channels)


@dataclass(frozen=True)
class Bottleneck:
    """A residual block: 1 x 1 convolution, the spatial operator (with the stride), 1 x 1 convolution, shortcut.

    Attributes:
        spatial: The operator in the middle: Convolution, Involution, or the user's own.
        expansion: Width of the block over the width in its middle; must divide the width.
    """

    spatial: Any
    expansion: int = 4

    def problems(self, in_channels: int, width: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken between `in_channels` and `width`."""
        broken = list(_divides("expansion", self.expansion, width))
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

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        yield from _odd("kernel_size", self.kernel_size)


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

    def problems(self, channels: int) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        broken = list(_divides("2", 2, self.width))
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
        channels = self.stem.width
        for sentence in problems_of(self.stem, 3):
            yield f"{sentence} (stem)"
        for s, stage in enumerate(self.stages):
            if stage.width < 1 or stage.stride < 1:
                yield f"`width` and `stride` must be at least 1, but got {stage.width} and {stage.stride} (stage {s})"
                return
            for b, block in enumerate(stage.blocks):
                for sentence in problems_of(block, channels, stage.width):
                    yield f"{sentence} (stage {s}, block {b})"
                channels = stage.width


def problems_of(value: Any, *shape: int) -> Iterator[str]:
    """Yield what a value says against itself; a user's own value needs no `problems` method."""
    check = getattr(value, "problems", None)
    return iter(check(*shape)) if check is not None else iter(())


#: The values invnas ships, by the name that stands under "type" in JSON.
SHIPPED: Mapping[str, type] = {
    cls.__name__: cls for cls in (Convolution, Involution, Bottleneck, Stage, PlainStem, DeepStem, HybridNet)
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
        involutions = [isinstance(operator, Involution) for _, operator in self.operators]
        if not involutions:
            return "other"
        return "involution" if all(involutions) else "hybrid" if any(involutions) else "convolution"

    def check(self) -> None:
        """Raise InvalidArchitecture with the first rule that is broken."""
        for sentence in problems_of(self.network):
            raise InvalidArchitecture(sentence)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data in which each value says its type."""
        plain = _to_plain(self.network)
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
        network = _from_plain(data, {**SHIPPED, **(types or {})}, "architecture")
        if not is_dataclass(network) or isinstance(network, type):
            raise BadInput(f"an architecture must be an object with a `type`, but got {data!r:.80}")
        return cls(network)

    @classmethod
    def from_json(cls, text: str, types: Mapping[str, type] | None = None) -> Architecture:
        """Rebuild from `to_json`; the errors are those of `from_dict`."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(f"the architecture is not valid JSON: {error}") from None
        return cls.from_dict(data, types)


def _operators(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Convolution | Involution):
        yield path, value
    elif path.endswith("spatial") and is_dataclass(value):
        yield path, value
    for name, part in children(value):
        yield from _operators(part, f"{path}.{name}" if path else name)


def _to_plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{name: _to_plain(part) for name, part in children(value)}}
    if isinstance(value, tuple | list):
        return [_to_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadInput(f"an architecture holds numbers, text and dataclasses only, but found {value!r:.80}")


def _from_plain(data: Any, types: Mapping[str, type], path: str) -> Any:
    if isinstance(data, list):
        return tuple(_from_plain(part, types, f"{path}.{i}") for i, part in enumerate(data))
    if not isinstance(data, dict):
        return data
    name = data.get("type")
    if name not in types:
        raise BadInput(f"unknown type '{name}' at {path}; {nearest(str(name), types)}")
    values = {key: _from_plain(part, types, f"{path}.{key}") for key, part in data.items() if key != "type"}
    target = types[name]
    known = {field.name: field for field in fields(target) if field.init}
    for key in values:
        if key not in known:
            raise BadInput(f"unknown key '{key}' in {name} at {path}; {nearest(key, known)}")
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise BadInput(f"the key '{key}' of {name} is missing at {path}")
        if key in values and target in SHIPPED.values():
            _check_kind(values[key], field.type, f"{path}.{key}")
    return target(**values)


def _check_kind(value: Any, kind: Any, path: str) -> None:
    wanted = {"int": int, "bool": bool}.get(str(kind))
    if wanted is not None and type(value) is not wanted:
        raise BadInput(
            f"{path} must be {'a whole number' if wanted is int else 'true or false'}, but got {value!r:.40}"
        )
