"""Uniform proposals: every architecture of the space is equally likely."""

from __future__ import annotations

import random

from invnas.choice import Decisions
from invnas.space import Space


class RandomSampler:
    """Draws uniformly over all architectures and learns nothing.

    Args:
        space: Where to draw.
        rng: Source of randomness.
    """

    def __init__(self, space: Space, rng: random.Random) -> None:
        self._space = space
        self._rng = rng

    def ask(self) -> Decisions:
        """Return a uniform draw, valid or not."""
        return self._space.draw(self._rng)

    def tell(self, decisions: Decisions, values: tuple[float, ...] | None) -> None:
        """Forget what came out."""
