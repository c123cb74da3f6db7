"""What a front is compared with: pure members of its space, and well-known small networks of about its cost.

Pure members are those that are expected to be best, by what the search has shown, at the cost of the knee and at
that of the dearest member of the front. None of this is shown to a sampler.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from invnas.architecture import Architecture
from invnas.belief import Belief
from invnas.blocks import BasicBlock
from invnas.caps import Caps
from invnas.choice import Choice, Decisions, children
from invnas.errors import InvnasError
from invnas.measurement import Trial
from invnas.objective import MACS, Objective
from invnas.operators import OPERATORS, kind_of
from invnas.pareto import knee
from invnas.search.believe import believe
from invnas.search.sampler import Candidate
from invnas.space import Space
from invnas.space_check import Price
from invnas.zoo import SMALL, small_networks

#: Networks of one family at most.
EACH = 2
#: Draws of a kind; rounds in which neighbours of so many of the best are looked at, so many of each.
DRAWS, ROUNDS, BEST, NEIGHBOURS = 256, 3, 8, 8
_KINDS: tuple[Literal["convolution", "involution"], ...] = ("convolution", "involution")
_BLAS = ThreadpoolController()


def references(
    space: Space, trials: Sequence[Trial], objectives: Sequence[Objective], price: Price, caps: Caps, seed: int
) -> list[Candidate]:
    """Return what to train beside a search, cheapest first in each family; nothing where there is no front.

    Costs alone are compared by looking at them: without a learned objective there is nothing to train.

    Args:
        space: Where was searched.
        trials: Those of the search.
        objectives: The objectives.
        price: What an architecture costs; one that it refuses is left out.
        caps: Largest cost allowed.
        seed: Seed of the draws.
    """
    belief = believe(trials, objectives)
    best = belief.front(trials, objectives)
    learned = next((one for one in objectives if one.source == "learned"), None)
    if not best or learned is None:
        return []
    axis = next((one for one in objectives if one.source == "counted"), MACS)
    costs = [trial.cost[axis.name] for trial in best]
    levels = sorted({knee(belief.of(trials), objectives).cost[axis.name], max(costs)})
    shop, expected = _Shop(space, price, caps), _Expected(belief, learned, axis)
    found = [one for kind in _KINDS for one in _pure(shop, expected, kind, trials, levels, seed)]
    for family in SMALL:
        named = [small for name, small in small_networks().items() if name.startswith(f"{family} x ")]
        priced = [one for small in named if (one := shop.candidate({}, small)) is not None]
        found += _spread([one for one in priced if min(costs) <= one.cost[axis.name] <= max(costs)], axis)
    return list({one.fingerprint: one for one in found}.values())


def _spread(fitting: Sequence[Candidate], axis: Objective) -> list[Candidate]:
    """Return the dearest one, and one from the middle: what is cheap has less to show."""
    ordered = sorted(fitting, key=lambda one: one.cost[axis.name])
    places = {len(ordered) * (i + 1) // EACH - 1 for i in range(EACH)}
    return [one for i, one in enumerate(ordered) if i in places]


class _Shop:
    """Says what decisions or an architecture would be, at its price; nothing that is refused."""

    def __init__(self, space: Space, price: Price, caps: Caps) -> None:
        self.space, self._price, self._caps = space, price, caps
        self._own = space.priced(price)

    def candidate(self, decisions: Decisions, architecture: Architecture | None = None) -> Candidate | None:
        with suppress(InvnasError):  # a head of a user's own need not fit a network from elsewhere
            # What is from elsewhere has no traits.
            one = architecture or self.space.architecture(decisions)
            cost = (self._price if architecture else self._own)(one)
            if self._caps.reason(cost) is None:
                return Candidate(decisions, one, cost)
        return None

    def pure(self, kind: str, many: Iterable[Decisions]) -> list[Candidate]:
        found = (self.candidate(decisions) for decisions in many)
        return [one for one in found if one is not None and one.architecture.kind == kind]


def _pure(
    shop: _Shop, expected: _Expected, kind: str, trials: Sequence[Trial], levels: Sequence[float], seed: int
) -> list[Candidate]:
    """Return the member of one kind that is expected to be best at each level of cost."""
    rng = random.Random(f"{seed}/references/{kind}")
    known = [trial.decisions for trial in trials if trial.decisions and trial.architecture.kind == kind]
    draws = [shop.space.walk(_only(kind, rng)) for _ in range(DRAWS)]
    pool = {one.fingerprint: one for one in shop.pure(kind, [*known, *draws])}
    for _ in range(ROUNDS):
        near = [one for level in levels for one in expected.ranked(pool.values(), level)[:BEST]]
        for one in near:
            with suppress(InvnasError):  # nothing valid is one decision away
                steps = [shop.space.mutate(one.decisions, rng)[0] for _ in range(NEIGHBOURS)]
                pool |= {other.fingerprint: other for other in shop.pure(kind, steps)}
    chosen = [expected.ranked(pool.values(), level)[:1] for level in levels]
    return list({one.fingerprint: one for found in chosen for one in found}.values())


def _only(kind: str, rng: random.Random) -> Callable[[str, Choice], int]:
    """Return what takes any option that can become something without operators of another kind."""

    def decide(path: str, choice: Choice) -> int:
        allowed = [i for i, option in enumerate(choice.options) if _can_be(option, kind)]
        return rng.choice(allowed or range(len(choice.options)))

    return decide


def _can_be(node: Any, kind: str) -> bool:
    if isinstance(node, (*OPERATORS, BasicBlock)):
        return kind_of(node) == kind
    if isinstance(node, Choice):
        return any(_can_be(option, kind) for option in node.options)
    return all(_can_be(part, kind) for _, part in children(node))


@dataclass(frozen=True)
class _Expected:
    """Ranks by what is believed; where too little was trained to believe anything, by cost.

    Attributes:
        belief: What is believed.
        learned: The objective that counts.
        axis: The cost.
    """

    belief: Belief
    learned: Objective
    axis: Objective

    def ranked(self, many: Iterable[Candidate], level: float) -> list[Candidate]:
        """Return those that cost no more than a level, best first."""
        within = [one for one in many if one.cost[self.axis.name] <= level]
        if not within:
            return []
        worth = np.round(self._of(within), 9)  # no other machine's last bit shall choose otherwise
        return [within[i] for i in sorted(range(len(within)), key=lambda i: (-worth[i], within[i].fingerprint))]

    def _of(self, many: Sequence[Candidate]) -> np.ndarray:
        predictor = self.belief.predictors.get(self.learned.name)
        if predictor is None:
            return np.array([one.cost[self.axis.name] for one in many])
        with _BLAS.limit(limits=1, user_api="blas"):
            return predictor.predict([one.decisions for one in many], [one.cost for one in many])[0]
