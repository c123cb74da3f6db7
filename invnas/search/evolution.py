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
from invnas.errors import BadInput
from invnas.measurement import Trial
from invnas.pareto import non_dominated
from invnas.space import Space


@dataclass(frozen=True)
class _Member:
    decisions: Decisions
    values: tuple[float, ...]


class Evolution:
    """Proposes mutations of the fitter of two random members of the population.

    Args:
        space: Where to search.
        objectives: Names of the values that are told.
        rng: Source of randomness.
        history: Trials known before.
        population: How many members are kept; until there are as many, proposals are uniform.

    Raises:
        BadInput: If the population is below 2.
    """

    def __init__(
        self,
        space: Space,
        objectives: tuple[str, ...],
        rng: random.Random,
        history: Sequence[Trial] = (),
        population: int = 16,
    ) -> None:
        if not isinstance(population, int) or population < 2:
            raise BadInput(
                f"`population` of the evolution must be a whole number of at least 2, but got {population!r}"
            )
        self._space = space
        self._objectives = objectives
        self._rng = rng
        self._population = population
        self._fittest_first: list[_Member] = []
        for trial in history:
            if trial.measurement is not None:
                self.tell(trial.decisions, trial.measurement.values(objectives))

    def ask(self) -> Decisions:
        """Return a uniform draw while the population grows, then a child."""
        if len(self._fittest_first) < self._population or self._space.size == 1:
            return self._space.draw(self._rng)
        parent = min(self._rng.sample(range(len(self._fittest_first)), 2))
        try:
            return self._space.mutate(self._fittest_first[parent].decisions, self._rng)[0]
        except BadInput:  # a parent without valid neighbours
            return self._space.draw(self._rng)

    def tell(self, decisions: Decisions, values: tuple[float, ...] | None) -> None:
        """Take a measured child into the population; a rejected or failed one is forgotten."""
        if values is not None:
            everyone = [*self._fittest_first, _Member(decisions, values)]
            self._fittest_first = _by_fitness(everyone, self._objectives)[: self._population]


def _by_fitness(members: list[_Member], objectives: tuple[str, ...]) -> list[_Member]:
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
