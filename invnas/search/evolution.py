"""Pareto evolution: the fitter of two parents is mutated, the least fit of the population leaves.

Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002 (rank and crowding); one
child at a time and mutation alone, as in Real et al., "Regularized Evolution for Image Classifier Architecture Search",
AAAI 2019.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invnas.choice import Decisions
from invnas.errors import BadInput, shown
from invnas.objective import Objective
from invnas.pareto import non_dominated
from invnas.search.pool import Key, key_of
from invnas.search.sampler import Context, Draws, Told
from invnas.space import Space

#: Children, then uniform draws, in search of one that was never trained.
_CHILDREN, _DRAWS = 20, 200


@dataclass(frozen=True)
class _Member:
    decisions: Decisions
    values: tuple[float, ...]


class Evolution:
    """Proposes mutations of the fitter of two random members of the population.

    Args:
        space: Where to search.
        objectives: The values that count.
        seed: Seed of the draws.
        population: How many members are kept; until as many were trained, to the end or not, proposals are uniform.

    Raises:
        BadInput: If the population is below 2.
    """

    uniform = False

    def __init__(self, space: Space, objectives: Sequence[Objective], seed: int = 0, population: int = 16) -> None:
        if not isinstance(population, int) or population < 2:
            raise BadInput(
                f"`population` of the evolution must be a whole number of at least 2, but got {shown(population)}"
            )
        self._space, self._objectives, self._draws = space, objectives, Draws(seed)
        self._population = population
        self._fittest_first: list[_Member] = []
        self._begun = 0
        self._known: set[Key] = set()

    def ask(self, context: Context) -> Decisions:
        """Return a uniform draw while the population begins, then a child; one never trained, if any is found."""
        rng = self._draws.at(context.number)
        pending = {key_of(trial.decisions) for trial in context.pending}
        for attempt in range(_CHILDREN + _DRAWS):
            proposal = self._child(rng) if attempt < _CHILDREN else self._space.draw(rng)
            key = key_of(proposal)
            if key not in self._known and key not in pending:
                break
        return proposal

    def _child(self, rng: random.Random) -> Decisions:
        # Trials that were stopped count: of four trials one is trained to the end, and all would be uniform draws.
        if self._begun < self._population or len(self._fittest_first) < 2:
            return self._space.draw(rng)
        parent = min(rng.sample(range(len(self._fittest_first)), 2))
        try:
            return self._space.mutate(self._fittest_first[parent].decisions, rng)[0]
        except BadInput:  # a parent without valid neighbours
            return self._space.draw(rng)

    def tell(self, told: Told) -> None:
        """Take a measured child into the population; what was stopped or failed is only not proposed again."""
        if told.trial is None:
            return
        self._known.add(key_of(told.decisions))
        self._begun += told.outcome != "failed"
        if told.outcome == "measured":
            everyone = [*self._fittest_first, _Member(told.decisions, told.trial.values(self._objectives))]
            self._fittest_first = _by_fitness(everyone, self._objectives)[: self._population]


def _by_fitness(members: list[_Member], objectives: Sequence[Objective]) -> list[_Member]:
    """Return the members front after front; within a front, those in sparse regions first."""
    ordered: list[_Member] = []
    rest = members
    while rest:
        values = np.array([member.values for member in rest], dtype=float)
        best = non_dominated(values, objectives)
        front = [member for member, keep in zip(rest, best, strict=True) if keep]
        sparse = _crowding(values[best])
        ordered += [front[i] for i in np.argsort(-sparse, kind="stable")]
        rest = [member for member, keep in zip(rest, best, strict=True) if not keep]
    return ordered


def _crowding(values: np.ndarray) -> np.ndarray:
    """Return for each of (n, k) points the distance of its neighbours along the front; infinite at its ends."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance
