"""An architecture: one point of a space, as a value that can be named, checked, written down and compared.

What networks are made of stands in `operators`, `blocks` and `hybrid`; files of a user's own may import the older of
those values from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any

from invnas.blocks import BLOCKS, BasicBlock, Block, Bottleneck
from invnas.choice import children
from invnas.dense import DENSE_HEADS, NECKS, DenseNet
from invnas.errors import BadInput, InvalidArchitecture, shown
from invnas.hybrid import DeepStem, HybridNet, PlainStem, Stage, Stem
from invnas.operators import INVOLUTIONS, OPERATORS, Convolution, Involution, Kind, LocalAttention, Operator, kind_of
from invnas.plain import from_plain, to_plain, to_text
from invnas.rules import fits, problems_of

__all__ = [
    "INVOLUTIONS",
    "OPERATORS",
    "SHIPPED",
    "Architecture",
    "Block",
    "Bottleneck",
    "Convolution",
    "DeepStem",
    "HybridNet",
    "Involution",
    "Kind",
    "LocalAttention",
    "Operator",
    "PlainStem",
    "Stage",
    "Stem",
    "kind_of",
]

#: The values invnas ships, by the name that stands under "type" in JSON.
SHIPPED: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (*OPERATORS, *BLOCKS, Stage, PlainStem, DeepStem, HybridNet, *NECKS, *DENSE_HEADS, DenseNet)
}


@dataclass(frozen=True)
class Architecture:
    """One point of a space: a network value without choices.

    Attributes:
        network: HybridNet, DenseNet or the user's own frozen dataclass.

    >>> block = Bottleneck(Involution(3, group_channels=8, reduction_ratio=2), expansion=2)
    >>> one = Architecture(HybridNet(PlainStem(16, 3, 1, False), (Stage(16, (block,)),)))
    >>> one.kind, Architecture.from_json(one.to_json()) == one
    ('involution', True)
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

    @cached_property
    def kind(self) -> str:
        """Which spatial operators it has: "convolution" or "involution" alone, "hybrid" with both, else "own".

        A network of convolutions (or involutions) and operators of the user's own is "own"; a network of the user's own
        without operators that invnas knows is what it says of itself by `kind`.
        """
        kinds = {kind_of(operator) for _, operator in self.operators} or {kind_of(self.network)}
        if {"convolution", "involution"} <= kinds:
            return "hybrid"
        return kinds.pop() if len(kinds) == 1 else "own"

    @cached_property
    def problem(self) -> str | None:
        """The first rule that is broken, or None."""
        return next(iter([*fits(self.network, "network", (HybridNet, DenseNet))] or problems_of(self.network)), None)

    def check(self) -> None:
        """Raise InvalidArchitecture with the first rule that is broken."""
        if self.problem is not None:
            raise InvalidArchitecture(self.problem)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data in which each value says its type."""
        plain = to_plain(self.network)
        assert isinstance(plain, dict)
        return plain

    def to_json(self) -> str:
        """Return one line of JSON."""
        return to_text(self.network)

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
            raise BadInput(f"an architecture must be an object with a `type`, but got {shown(data, 80)}")
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
    alone = isinstance(value, BasicBlock) or not isinstance(value, BLOCKS)
    block = alone and ".blocks." in path and path.rpartition(".")[2].isdigit()
    if isinstance(value, OPERATORS) or ((path.endswith("spatial") or block) and is_dataclass(value)):
        yield path, value
    if isinstance(value, NECKS):
        yield f"{path}.spatial", value.spatial
    for name, part in children(value):
        yield from _operators(part, f"{path}.{name}" if path else name)
