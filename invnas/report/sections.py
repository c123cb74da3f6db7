"""The spatial operators of a network part by part, and what share of involution a space holds in each."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from invnas.architecture import Architecture
from invnas.errors import InvalidArchitecture
from invnas.operators import INVOLUTIONS, kind_of
from invnas.space import Space

#: Draws that say what a space holds.
_DRAWS = 200


@dataclass(frozen=True)
class Section:
    """The spatial operators of one part of a network, such as its stem or its second stage.

    Attributes:
        name: What to call it, such as "stage 2".
        operators: The operators in their order.
    """

    name: str
    operators: tuple[Any, ...]

    @property
    def share(self) -> float:
        """Share of the operators that are involutions, 0 to 1."""
        return sum(kind_of(operator) == "involution" for operator in self.operators) / len(self.operators)

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Kernel sizes of the involutions, each once, smallest first."""
        return tuple(sorted({o.kernel_size for o in self.operators if isinstance(o, INVOLUTIONS)}))


def sections_of(architecture: Architecture) -> tuple[Section, ...]:
    """Return the spatial operators of a network by part: stem, stages, or the fields of a user's own value."""
    parts: dict[str, list[Any]] = {}
    for path, operator in architecture.operators:
        first, *rest = path.split(".")
        numbered = rest and rest[0].isdigit()
        name = f"{first.removesuffix('s')} {int(rest[0]) + 1}" if numbered else first
        parts.setdefault(name, []).append(operator)
    return tuple(Section(name, tuple(operators)) for name, operators in parts.items())


def prior_of(space: Space, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return the share of involution in each part of a network that a space holds, whoever searches it.

    Args:
        space: The space.
        seed: Seed of the draws.

    Returns:
        By the name of a part: of draws uniform over architectures, and over the options of each choice.
    """
    shares: dict[str, tuple[list[float], list[float]]] = {}
    for which, draw in enumerate((space.draw, space.draw_branches)):
        rng = random.Random(f"prior/{seed}/{which}")
        for _ in range(_DRAWS):
            with suppress(InvalidArchitecture):
                for part in sections_of(space.architecture(draw(rng))):
                    shares.setdefault(part.name, ([], []))[which].append(part.share)
    return {name: (_mean(uniform), _mean(branches)) for name, (uniform, branches) in shares.items()}


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares) if shares else math.nan
