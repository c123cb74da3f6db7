"""Which architectures InvBench holds, and in which order they are trained: a function of the seed and of earlier rows.

They come in rounds. The first is drawn: by cost (a golden-ratio sequence over the logarithm of the multiply-adds, the
nearest of many draws), branch by branch, and uniformly. Each later one has such draws too, networks of one kind of
operator, and mutations, one or two steps, of what the first fronts of the rows so far hold: the front and its
surroundings are covered as well as the ordinary. While they are trained with seed 0, some of the first round get other
seeds and budgets; the front follows.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from invnas.architecture import Architecture
from invnas.choice import Choice, Decisions
from invnas.cost import pricer
from invnas.errors import BadInput, InvalidArchitecture
from invnas.experiment import Experiment
from invnas.pareto import ranks
from invnas.space import Space

Row = dict[str, Any]
#: Fingerprint, seed, epochs.
Key = tuple[str, int, int]
#: Fingerprint, decisions, how it was drawn.
Drawn = tuple[str, Decisions, str]

SEEDS = 3
#: Architectures of the first round and of each later one; of a later one so many are drawn as the first round is, and
#: so many have one kind of operator alone, which is rare among the others.
FIRST, LATER, FRESH, PURE = 200, 100, 40, 20
#: So many are drawn at once, in these shares by cost and branch by branch, the rest uniformly; then shuffled.
DRAWN = 400
BY_COST, BY_BRANCH = 0.4, 0.33
#: Valid draws of which the nearest in cost is taken.
POOL = 3_000
#: Fronts, one below the other, whose members are mutated.
FRONTS = 3
#: After so many architectures trained with seed 0, one of the first round gets its other trainings.
EVERY = 5
#: Share of the repeated architectures that comes from the first round; the others are the front in the end.
ORDINARY = 2 / 3


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        decisions: Which architecture.
        fingerprint: Of it.
        seed: Of the training.
        epochs: Of the training.
        round: In which round it was drawn, from 0.
        drawn: How: "cost", "branch", "uniform", "pure", "mutation".
    """

    decisions: Decisions
    fingerprint: str
    seed: int
    epochs: int
    round: int
    drawn: str

    @property
    def key(self) -> Key:
        """What is never trained twice."""
        return self.fingerprint, self.seed, self.epochs


def key_of(row: Row) -> Key:
    """Return what is never trained twice."""
    return row["fingerprint"], row["seed"], row["epochs"]


class Draws:
    """Architectures by round; none comes twice."""

    def __init__(self, space: Space) -> None:
        self._space, self._price = space, pricer((1, 8, 8), 10)
        self._taken: set[str] = set()
        self._ordinary: deque[Drawn] = deque()
        self._batches = 0

    def ordinary(self, count: int) -> list[Drawn]:
        """Return the next architectures that are drawn without a look at any row."""
        while len(self._ordinary) < count:
            rng = random.Random(f"invbench/{self._batches}")
            by_cost, by_branch = round(BY_COST * DRAWN), round(BY_BRANCH * DRAWN)
            batch = [
                *self._new("cost", self._by_cost(rng), by_cost),
                *self._new("branch", _forever(lambda: self._space.draw_branches(rng)), by_branch),  # noqa: B023
                *self._new("uniform", _forever(lambda: self._space.draw(rng)), DRAWN - by_cost - by_branch),  # noqa: B023
            ]
            rng.shuffle(batch)
            self._ordinary.extend(batch)
            self._batches += 1
        return [self._ordinary.popleft() for _ in range(count)]

    def later(self, number: int, pure: int, mutations: int, parents: Sequence[Decisions]) -> list[Drawn]:
        """Return what the round of this number has of one kind of operator, and of neighbours of some architectures."""
        rng = random.Random(f"invbench/round/{number}")
        return [
            *self._new("pure", _forever(lambda: self._pure(rng)), pure),
            *self._new("mutation", _forever(lambda: self._mutated(parents, rng)), mutations),
        ]

    def _new(self, how: str, draws: Iterator[Decisions], wanted: int) -> list[Drawn]:
        found: list[Drawn] = []
        while len(found) < wanted:
            decisions = next(draws)
            valid = self._valid(decisions)
            if valid is not None and valid.fingerprint not in self._taken:
                self._taken.add(valid.fingerprint)
                found.append((valid.fingerprint, decisions, how))
        return found

    def _valid(self, decisions: Decisions) -> Architecture | None:
        try:
            return self._space.architecture(decisions)
        except InvalidArchitecture:
            return None

    def _by_cost(self, rng: random.Random) -> Iterator[Decisions]:
        pool: list[Decisions] = []
        costs: list[float] = []
        while len(pool) < POOL:
            decisions = (self._space.draw, self._space.draw_branches)[len(pool) % 2](rng)
            if (valid := self._valid(decisions)) is not None:
                pool.append(decisions)
                costs.append(math.log(self._price(valid).macs))
        far = np.array(costs)
        low, high = far.min(), far.max()
        point = rng.random()
        while True:
            point = (point + (math.sqrt(5) - 1) / 2) % 1
            nearest = int(np.argmin(abs(far - (low + point * (high - low)))))
            far[nearest] = math.inf
            yield pool[nearest]

    def _pure(self, rng: random.Random) -> Decisions:
        """Return a branch-uniform draw in which every operator is a convolution, or every one an involution."""
        taken: Decisions = {}
        kind = rng.randrange(2)

        def decide(path: str, choice: Choice) -> int:
            taken[path] = kind if path.endswith(".spatial") else rng.randrange(len(choice.options))
            return taken[path]

        self._space.resolver.walk(decide)
        return taken

    def _mutated(self, parents: Sequence[Decisions], rng: random.Random) -> Decisions:
        decisions = rng.choice(parents)
        for _ in range(rng.choice((1, 2))):
            try:
                decisions = self._space.mutate(decisions, rng)[0]
            except BadInput:  # no valid neighbour
                break
        return decisions


def _forever(draw: Callable[[], Decisions]) -> Iterator[Decisions]:
    while True:
        yield draw()


class Tasks:
    """What is trained next, given what was trained.

    Args:
        space: The space.
        architectures: How many there shall be.
        repeated: How many of them get every seed and budget.
        known: Rows that are there already.
        budgets: Epochs of a training: the whole, then the parts from the smallest.
        limit: Trainings after which nothing more comes.
    """

    def __init__(
        self,
        space: Space,
        architectures: int,
        repeated: int,
        known: Sequence[Row],
        budgets: tuple[int, ...],
        limit: int | None = None,
    ) -> None:
        self._draws, self._axes = Draws(space), Experiment(space="invbench").axes
        self._target, self._repeated, self._limit = architectures, repeated, limit
        self._whole, self._parts = budgets[0], budgets[1:]
        self._rows = {key_of(row): row for row in known}
        self._asked = set(self._rows)
        self._drawn: list[Task] = []
        self._rounds = 0
        self._first: deque[Task] = deque()
        self._extras: deque[list[Task]] = deque()
        self._late: deque[Task] = deque()
        self._again: set[str] = set()
        self._since = 0
        self._current: deque[Task] = deque()
        self._front_added = False

    @property
    def architectures(self) -> int:
        """How many were trained with the whole budget and seed 0."""
        return sum(seed == 0 and epochs == self._whole for _, seed, epochs in self._rows)

    def add(self, row: Row) -> None:
        """Take what a training found."""
        self._rows[key_of(row)] = row

    def next(self) -> Task | None:
        """Return what to train now; None when all is done, or waits for a row."""
        if self._limit is not None:
            self._limit -= 1
            if self._limit < 0:
                return None
        while (task := self._some()) is not None:
            if task.key not in self._asked:
                self._asked.add(task.key)
                return task
        return None

    def _some(self) -> Task | None:
        if self._current:
            return self._current.popleft()
        if self._since >= EVERY and self._extras:
            self._since = 0
            self._current.extend(self._extras.popleft())
            return self._current.popleft()
        if not self._first and len(self._drawn) < self._target and self._all_known():
            self._begin_round()
        if self._first:
            self._since += 1
            return self._first.popleft()
        if self._extras:  # the next round waits for a row, or there is none
            return self._extras[0].pop(0) if len(self._extras[0]) > 1 else self._extras.popleft()[0]
        if not self._front_added and len(self._drawn) >= self._target and self._all_known():
            self._front_added = True
            self._repeat(self._best(self._repeated - round(ORDINARY * self._repeated)))
            return self._some()
        return self._late.popleft() if self._late else None

    def _all_known(self) -> bool:
        return all(task.key in self._rows for task in self._drawn)

    def _begin_round(self) -> None:
        count = min(LATER if self._rounds else FIRST, self._target - len(self._drawn))
        fresh = min(FRESH, count) if self._rounds else count
        pure = min(PURE, count - fresh)
        found = self._draws.ordinary(fresh)
        if count > fresh:
            parents = [task.decisions for task in self._by_rank()[0]]
            found += self._draws.later(self._rounds, pure, count - fresh - pure, parents)
            random.Random(self._rounds).shuffle(found)
        drawn = [Task(taken, mark, 0, self._whole, self._rounds, how) for mark, taken, how in found]
        self._drawn += drawn
        self._first.extend(drawn)
        if not self._rounds:
            self._repeat(drawn[: round(ORDINARY * self._repeated)])
        self._rounds += 1

    def _by_rank(self) -> tuple[list[Task], list[Task]]:
        """Return the first fronts, and all by front after front; what failed is in none."""
        measured = [task for task in self._drawn if "top1" in self._rows[task.key]]
        values = np.array([[self._rows[task.key][axis.name] for axis in self._axes] for task in measured])
        place = ranks(values, self._axes)
        order = np.argsort(place, kind="stable")
        best = sorted(set(place))[:FRONTS]
        return [measured[i] for i in order if place[i] in best], [measured[i] for i in order]

    def _best(self, count: int) -> list[Task]:
        return [task for task in self._by_rank()[1] if task.fingerprint not in self._again][:count]

    def _repeat(self, many: Sequence[Task]) -> None:
        self._again.update(task.fingerprint for task in many)
        for task in many:
            again = [self._other(task, seed, self._whole) for seed in range(1, SEEDS)]
            self._extras.append([*again, *(self._other(task, 0, epochs) for epochs in reversed(self._parts))])
        self._late.extend(
            self._other(task, seed, epochs)
            for seed in range(1, SEEDS)
            for task in many
            for epochs in reversed(self._parts)
        )

    def _other(self, task: Task, seed: int, epochs: int) -> Task:
        return Task(task.decisions, task.fingerprint, seed, epochs, task.round, task.drawn)
