"""What a sampler looks at before it proposes: draws and neighbours, priced and encoded once.

All of it is a function of the seed, the number of the trial and who is asked to have neighbours, never of what was
looked at before: a search that was killed looks at the same. What was drawn for earlier numbers stays in a window that
slides on, so that a number pays for little that is new.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from invnas.choice import Decisions
from invnas.errors import BadInput
from invnas.measurement import Cost
from invnas.objective import SMALLEST, Objective
from invnas.search.moves import Moves
from invnas.search.sampler import Candidate, Context, Rejection
from invnas.space import Space

#: Draws that say how wide a space is; draws, and neighbours of each parent, that are new with each number.
POPULATION, FRESH, NEIGHBOURS = 320, 16, 2
#: Numbers for which draws stay.
WINDOW = 16
#: Share of the draws that are uniform over architectures; the others are uniform over the options of each choice.
UNIFORM = 0.4
#: Rounds of draws for the population at most, and those beyond the caps from which the next one steps on.
_ROUNDS, _NEAREST = 8, 16
#: Architectures that are remembered.
REMEMBERED = 20_000

Key = tuple[tuple[str, int], ...]


def key_of(decisions: Decisions) -> Key:
    """Return decisions as a value."""
    return tuple(sorted(decisions.items()))


def draw(space: Space, rng: random.Random) -> Decisions:
    """Return a draw that is uniform over architectures, which are mostly deep, or over the options of each choice."""
    return space.draw(rng) if rng.random() < UNIFORM else space.draw_branches(rng)


@dataclass(frozen=True)
class Entry:
    """An architecture that could be trained, in numbers.

    Attributes:
        key: Its decisions.
        cost: Its exact price.
        row: Its features: counts of options, then the logarithms of what is counted.
    """

    key: Key
    cost: Cost = field(compare=False)
    row: np.ndarray = field(compare=False)
    _gains: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def gain(self, objective: Objective) -> float:
        """Return what its price is worth along an objective."""
        found = self._gains.get(objective.name)
        if found is None:
            found = self._gains[objective.name] = objective.gain(self.cost[objective.name])
        return found

    @property
    def decisions(self) -> Decisions:
        """Its decisions."""
        return dict(self.key)


class Pool:
    """Draws and neighbours by number.

    Args:
        space: Where to look.
        seed: Seed of the draws.
        numbers: Features of some decisions beside the counts of options.
    """

    def __init__(
        self, space: Space, seed: int, numbers: Callable[[Decisions], Sequence[float]] = lambda decisions: ()
    ) -> None:
        self._numbers = numbers
        self._space, self._seed, self._moves = space, seed, Moves(space)
        self._drawn: dict[tuple[int, Key | None], list[Key]] = {}
        self._number = 0
        self._entries: dict[Key, Entry | None] = {}
        self._elsewhere: dict[Key, Entry] = {}
        self._population: tuple[Entry, ...] | None = None
        self.costs: tuple[str, ...] = ()

    @property
    def groups(self) -> np.ndarray:
        """The group of each feature: of the network, of a stage, of a place, a cost."""
        levels = [("network", "stage", "place").index(feature.level) for feature in self._space.features]
        rest = len(self._population[0].row) - len(levels) - len(self.costs) if self._population else 0
        return np.array([*levels, *[2] * rest, *[3] * len(self.costs)], dtype=int)

    def population(self, context: Context) -> tuple[Entry, ...]:
        """Return what says how wide the space is: draws that are valid and within the caps, trained or not."""
        if self._population is None:
            self._population = self._drawn_population(context)
        return self._population

    def _drawn_population(self, context: Context) -> tuple[Entry, ...]:
        """Draw, and where rules or caps leave little, step on from what is within or comes nearest."""
        rng, parents = random.Random(f"{self._seed}/population"), list[Key]()
        within: dict[Key, Entry] = {}
        beyond: dict[Key, float] = {}
        for _ in range(_ROUNDS):
            draws = POPULATION if not parents else POPULATION // 2
            many = [draw(self._space, rng) for _ in range(draws)]
            many += [self._moves.neighbour(dict(rng.choice(parents)), rng) for _ in range(POPULATION - draws)]
            within |= {entry.key: entry for entry in self._look(context, [key_of(one) for one in many])}
            if len(within) >= POPULATION // 2:
                break
            for judged in context.candidates(many):
                if isinstance(judged, Rejection) and judged.kind == "cap" and judged.candidate is not None:
                    beyond[key_of(judged.decisions)] = context.caps.excess(judged.candidate.cost)
            parents = [*within, *sorted(beyond, key=lambda key: (beyond[key], key))[:_NEAREST]]
        return tuple(within.values())

    def draws(self, context: Context) -> list[Entry]:
        """Return the population and the draws of late, as far as they are valid and within the caps."""
        return [*self.population(context), *self._look(context, self._of_late(context.number, None, WINDOW))]

    def neighbours(self, context: Context, parents: Iterable[Key], window: int) -> list[Entry]:
        """Return the neighbours of some parents, those of so many numbers, as far as they are valid and within."""
        late = [key for parent in parents for key in self._of_late(context.number, parent, window)]
        return self._look(context, late)

    def priced(self, context: Context, many: Sequence[Decisions]) -> list[Entry]:
        """Return what was trained elsewhere, at its price here, whatever caps say of it.

        Raises:
            BadInput: If something of it is not valid here.
        """
        keys = [key_of(decisions) for decisions in many]
        new = [dict(key) for key in keys if key not in self._elsewhere]
        for judged in context.candidates(new):
            if isinstance(judged, Rejection) and judged.candidate is None:
                raise BadInput(f"what an earlier run has trained is not valid here: {judged.reason}")
            one = judged.candidate if isinstance(judged, Rejection) else judged
            if one is not None:
                self._elsewhere[key_of(one.decisions)] = self.entry(one.decisions, one.cost)
        return [self._elsewhere[key] for key in keys]

    def entry(self, decisions: Decisions, cost: Cost) -> Entry:
        """Return an architecture whose price is known."""
        key = key_of(decisions)
        found = self._entries.get(key) or self._remember(key, cost)
        # What was foretold of it as a candidate is not what was measured.
        return found if found.cost == cost else Entry(key, cost, found.row)

    def _look(self, context: Context, keys: Sequence[Key]) -> list[Entry]:
        keys = list(dict.fromkeys(keys))
        new = [dict(key) for key in keys if key not in self._entries]
        for decisions, judged in zip(new, context.candidates(new), strict=False):
            one = judged if isinstance(judged, Candidate) else judged.candidate if judged.kind == "known" else None
            if one is None:
                self._entries[key_of(decisions)] = None
            else:
                self._remember(key_of(decisions), one.cost)
        return [found for key in keys if (found := self._entries.get(key)) is not None]

    def _remember(self, key: Key, cost: Cost) -> Entry:
        while len(self._entries) >= REMEMBERED:
            self._entries.pop(next(iter(self._entries)))
        self.costs = self.costs or tuple(sorted(cost.modelled))
        # A cost that nobody has foretold is that of an earlier version of invnas.
        logs = [math.log(max(cost.values.get(name, 0.0), SMALLEST)) for name in self.costs]
        found = Entry(key, cost, np.concatenate([self._space.encode(dict(key)), self._numbers(dict(key)), logs]))
        self._entries[key] = found
        return found

    def _of_late(self, number: int, parent: Key | None, window: int) -> list[Key]:
        if number != self._number:
            self._number = number
            self._drawn = {at: found for at, found in self._drawn.items() if at[0] > number - WINDOW}
        return [key for late in range(max(number - window + 1, 0), number + 1) for key in self._at(late, parent)]

    def _at(self, number: int, parent: Key | None) -> list[Key]:
        found = self._drawn.get((number, parent))
        if found is None:
            rng = random.Random(f"{self._seed}/{number}/{parent}")
            if parent is None:
                many = [draw(self._space, rng) for _ in range(FRESH)]
            else:
                many = [self._moves.neighbour(dict(parent), rng) for _ in range(NEIGHBOURS)]
            found = self._drawn[number, parent] = [key_of(decisions) for decisions in many]
        return found
