"""Truths made by formula on any conditional space: how accurate an architecture would be, and what a training sees.

Four kinds, as real spaces may be: `additive` (each option is worth something, at its place and in all), `pairs` (and
each pair of options that are taken), `rugged` (and each combination of options in a block by itself), `capacity` (the
logarithm of the parameters, and little else). Drawn by a seed, standardised over branch-uniform draws.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable

import numpy as np

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import InvalidArchitecture
from invnas.measurement import Cost
from invnas.space import Space

KINDS = ("pairs", "rugged", "additive", "capacity")
#: Median error, and the standard deviation of its logarithm over branch-uniform draws.
ERROR, SPREAD = 0.25, 0.3
#: Images by which a training is validated: binomial noise.
IMAGES = 2_000


class Truth:
    """What is found about each architecture of a space.

    Args:
        space: The space.
        price: What an architecture costs.
        kind: One of KINDS.
        seed: Which truth of its kind.
    """

    def __init__(self, space: Space, price: Callable[[Architecture], Cost], kind: str, seed: int = 0) -> None:
        self.space, self.price, self.kind, self.seed = space, price, kind, seed
        rng = np.random.default_rng([KINDS.index(kind), seed])
        number = len(space.features)
        levels = np.array([{"network": 0.5, "stage": 0.5, "place": 0.7}[one.level] for one in space.features])
        self._weights = rng.normal(size=number) * levels
        self._pairs = rng.normal(size=(number, 6)) / math.sqrt(number)
        draws, costs = [], []
        rng_draws = random.Random(f"truth/{seed}")
        while len(draws) < 600:
            decisions = space.draw_branches(rng_draws)
            try:
                costs.append(price(space.architecture(decisions)))
            except InvalidArchitecture:
                continue
            draws.append(decisions)
        rows = space.encode_many(draws)
        self._centre, self._scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 0.15)
        self._sizes = [math.log(cost.parameters) for cost in costs]
        parts = np.array([self._parts(one, cost) for one, cost in zip(draws, costs, strict=True)])
        self._mean, self._deviation = parts.mean(axis=0), np.maximum(parts.std(axis=0), 1e-9)
        mixed = ((parts - self._mean) / self._deviation) @ self._shares
        self._whole = float(mixed.std())

    @property
    def _shares(self) -> np.ndarray:
        # additive, pairs, rugged, capacity
        return np.sqrt(
            {
                "additive": [0.8, 0.0, 0.0, 0.2],
                "pairs": [0.35, 0.45, 0.0, 0.2],
                "rugged": [0.35, 0.2, 0.25, 0.2],
                "capacity": [0.1, 0.1, 0.0, 0.8],
            }[self.kind]
        )

    def _parts(self, decisions: Decisions, cost: Cost) -> np.ndarray:
        row = (self.space.encode(decisions) - self._centre) / self._scale
        through = row @ self._pairs
        pairs = through[0] * through[1] + through[2] * through[3] + through[4] * through[5]
        blocks: dict[str, list[str]] = {}
        for path, index in sorted(decisions.items()):
            blocks.setdefault(".".join(path.split(".")[:4]), []).append(f"{path}:{index}")
        rugged = sum(_hashed(f"{self.seed}/{'/'.join(block)}") for block in blocks.values())
        return np.array([row @ self._weights, pairs, rugged, math.log(cost.parameters)])

    def gain(self, decisions: Decisions, cost: Cost) -> float:
        """Return minus the logarithm of the error."""
        parts = (self._parts(decisions, cost) - self._mean) / self._deviation
        spread = float(parts @ self._shares) / self._whole
        return -math.log(ERROR) + SPREAD * spread

    def accuracy(self, decisions: Decisions, cost: Cost) -> float:
        """Return the accuracy without noise."""
        return 1 - min(math.exp(-self.gain(decisions, cost)), 0.95)

    def seen(self, decisions: Decisions, cost: Cost, training: int = 0) -> float:
        """Return the accuracy that one training finds."""
        true = self.accuracy(decisions, cost)
        rng = np.random.default_rng(zlib.crc32(f"{training}/{sorted(decisions.items())}".encode()))
        return float(rng.binomial(IMAGES, true)) / IMAGES


def _hashed(text: str) -> float:
    return (zlib.crc32(text.encode()) / 2**32 - 0.5) * math.sqrt(12)
