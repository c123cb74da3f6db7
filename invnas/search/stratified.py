"""Proposals spread evenly over the logarithm of a cost that is known before training."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from invnas.choice import Decisions
from invnas.objective import MACS, Objective
from invnas.search.pool import Key, Pool, draw, key_of
from invnas.search.sampler import Candidate, Context, Told
from invnas.space import Space

_GOLDEN = (math.sqrt(5) - 1) / 2


class StratifiedSampler:
    """Proposes what comes nearest to a cost, and spreads the costs as a golden-ratio sequence: any part of it is even.

    It learns nothing. Other samplers may start with it.

    Args:
        space: Where to search.
        objectives: The first cost among them that is known before training is what is spread; multiply-adds where there
            is none.
        seed: Seed of the draws.
        pool: Draws that are made already.

    Source: low-discrepancy sequence of the golden ratio, Kuipers and Niederreiter, "Uniform Distribution of Sequences",
    1974.
    """

    uniform = True

    def __init__(self, space: Space, objectives: Sequence[Objective], seed: int = 0, pool: Pool | None = None) -> None:
        self._space, self._seed, self._pool = space, seed, pool or Pool(space, seed)
        self._costs = [one for one in objectives if one.source != "learned"]
        self._closed: set[Key] = set()
        self._refused: tuple[int, set[Key]] = (0, set())

    def ask(self, context: Context) -> Decisions:
        """Return what may be trained and costs nearly what is next in the sequence."""
        number, refused = self._refused
        if number != context.number:
            refused = set()
            self._refused = context.number, refused
        closed = self._closed | refused | {key_of(trial.decisions) for trial in context.pending}
        entries = [entry for entry in self._pool.draws(context) if entry.key not in closed]
        rng = random.Random(f"{self._seed}/{context.number}/{len(refused)}")
        if not entries:
            return draw(self._space, rng)
        cost = next((one for one in self._costs if one.name in entries[0].cost), MACS)
        gains = [entry.gain(cost) for entry in self._pool.population(context) or entries]
        low, high = min(gains), max(gains)
        wanted = low + (high - low) * ((0.5 + _GOLDEN * context.number) % 1)
        for entry in sorted(entries, key=lambda entry: (abs(entry.gain(cost) - wanted), entry.key)):
            if isinstance(context.candidates([entry.decisions])[0], Candidate):
                return entry.decisions
        return draw(self._space, rng)

    def tell(self, told: Told) -> None:
        """Remember what not to propose again."""
        (self._refused[1] if told.trial is None else self._closed).add(key_of(told.decisions))
