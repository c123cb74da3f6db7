"""The sampler known-cost in anyone's Optuna study: some objectives are functions of the parameters, known at once.

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from invnas.search.in_optuna import KnownCostSampler

space = {"depth": IntDistribution(1, 8), "width": IntDistribution(8, 256, log=True),
         "kind": CategoricalDistribution(["plain", "gated"])}
sampler = KnownCostSampler(space, cost=lambda p: p["depth"] * p["width"] ** 2, seed=0)
study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
study.optimize(objective, n_trials=100)  # returns the accuracy, then the cost
"""

from __future__ import annotations

import math
import random
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import BadInput, shown
from invnas.measurement import Cost, Measurement, Trial
from invnas.objective import Objective
from invnas.rules import check_whole
from invnas.search.grid import Grid
from invnas.search.known_cost import KnownCost
from invnas.search.pool import REMEMBERED, Key, Pool, key_of
from invnas.search.sampler import Candidate, Context, Rejection, told_of
from invnas.settings import whole

#: What one place costs, in units of a cost: its logarithm tells apart what is a billion times cheaper still.
_UNITS = 2.0**30


class KnownCostSampler(BaseSampler):
    """Models the first objectives of a study and computes the others.

    The space is plain: every parameter is suggested in every trial. Numbers are searched on a grid.

    Args:
        search_space: The parameters by name with their distributions.
        cost: Returns the last objective of the study, or the last ones as a sequence, from parameters by name; at once
            and exactly. NaN or infinity says that parameters are not possible: they are never suggested.
        seed: Seed of the suggestions.
        max_cost: What each cost may be at most; nothing above is suggested.
        log_cost: Whether steps of a cost are ratios: twice as cheap is the same step at every size.
        levels: Values of a number on its grid at most.
        start: Trials that are spread over the cost before anything is modelled.

    Raises:
        BadInput: If the space is empty, or an argument cannot be.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        cost: Callable[[dict[str, Any]], float | Sequence[float]],
        *,
        seed: int = 0,
        max_cost: float | Sequence[float] | None = None,
        log_cost: bool = True,
        levels: int = 24,
        start: int = 12,
    ) -> None:
        if not isinstance(search_space, Mapping):
            raise BadInput(f"`search_space` must map names to distributions, but got {shown(search_space)}")
        if not callable(cost):
            raise BadInput(f"`cost` must be a function of the parameters by name, but got {shown(cost)}")
        if not isinstance(log_cost, bool):
            raise BadInput(f"`log_cost` must be True or False, but got {shown(log_cost)}")
        given: dict[str, Any] = {"search_space": dict(search_space), "cost": cost, "seed": seed, "max_cost": max_cost}
        self._given = given | {"log_cost": log_cost, "levels": levels, "start": start}
        check_whole("seed", seed := whole(seed, "seed"), 0, 2**32 - 1)
        self._grid = Grid(search_space, levels)
        self._cost, self._log, self._max = cost, log_cost, () if max_cost is None else _numbers("max_cost", max_cost)
        if any(map(math.isnan, self._max)):
            raise BadInput("`max_cost` must be a number for each cost, but one is NaN")
        self._seed, self._start = seed, start
        self._price = lru_cache(maxsize=REMEMBERED)(self._asked_price)
        self._independent = RandomSampler(seed=seed)
        self._one_at_a_time = threading.Lock()  # `n_jobs` of a study are threads that share their sampler
        self._forget()
        KnownCost(self._grid.space, (), seed, start)  # refuses what cannot be

    def __reduce__(self) -> tuple[Any, ...]:
        # What was learned stands in the study: a copy learns it from there.
        return _again, (type(self), self._given), {"_independent": self._independent}

    def _forget(self, study: Study | None = None) -> None:
        """Begin with a study."""
        self._study = None if study is None else weakref.ref(study)
        self._mind: KnownCost | None = None
        self._told: set[int] = set()
        self._suggested: dict[int, Decisions] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space that was given."""
        return self._grid.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what is expected to add most to the front."""
        with self._one_at_a_time:
            if self._study is None or self._study() is not study:
                self._forget(study)
            decisions = self._possible(self._asked(study, trial), trial.number)
            self._suggested[trial.number] = decisions
            return self._grid.parameters(decisions)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value of a parameter that the space does not name."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Reseed what is random; suggestions of the space depend on the number of the trial, and stay."""
        self._independent.reseed_rng()

    def _asked(self, study: Study, trial: FrozenTrial) -> Decisions:
        """Return a proposal after telling what has ended since the last one."""
        if self._mind is None:
            axes, numbers = self._axes(study), self._grid.numbers
            self._mind = KnownCost(self._grid.space, axes, self._seed, self._start, numbers=numbers)
        pending = []
        for other in sorted(study.get_trials(deepcopy=False), key=lambda other: other.number):
            if other.number in self._told or other.number == trial.number:
                continue
            if (known := self._trial(other)) is not None and known.state == "running":
                pending.append(known)
            elif known is not None:
                self._mind.tell(told_of(known))
                self._told.add(other.number)
                self._suggested.pop(other.number, None)
        return self._mind.ask(Context(trial.number, pending, self._caps, self._candidates))

    def _possible(self, decisions: Decisions, number: int) -> Decisions:
        """Return decisions; where they are not possible or too dear, some that were suggested before: no other is."""
        if isinstance(self._candidate(decisions), Candidate):
            return decisions
        within = self._within.population(Context(number, (), self._caps, self._candidates))
        if not within:
            raise BadInput("no parameters were found that are possible and within `max_cost`")
        return random.Random(f"{self._seed}/{number}").choice(within).decisions

    @cached_property
    def _within(self) -> Pool:
        return Pool(self._grid.space, self._seed)

    def _axes(self, study: Study) -> tuple[Objective, ...]:
        ways = [cast(Literal["maximize", "minimize"], direction.name.lower()) for direction in study.directions]
        costs = len(self._first)
        learned = len(ways) - costs
        if learned < 1 or len(ways) not in (2, 3):
            raise BadInput(
                f"the study must have two or three objectives, the last {costs} of them costs, but it has {len(ways)}"
            )
        named = [(f"value{i}", way, False, "learned") for i, way in enumerate(ways[:learned])]
        named += [(f"cost{i}", way, self._log, "counted") for i, way in enumerate(ways[learned:])]
        return tuple(
            Objective(name, name, name, way, "number", log, source=cast(Literal["learned", "counted"], source))
            for name, way, log, source in named
        )

    @cached_property
    def _caps(self) -> Caps:
        if self._max and len(self._max) != len(self._first):
            raise BadInput(
                f"`max_cost` must be {len(self._first)} numbers, one for each cost, but has {len(self._max)}"
            )
        return Caps(self._relative(self._max).values)

    @cached_property
    def _first(self) -> tuple[float, ...]:
        """The costs of one place on the grid."""
        return self._price(key_of(self._grid.space.walk(lambda path, choice: 0)))

    def _relative(self, prices: Sequence[float]) -> Cost:
        """Return costs by name in units of those of one place, whatever they are counted in."""
        units = [abs(unit) if math.isfinite(unit) and unit else 1.0 for unit in self._first]
        return Cost({f"cost{i}": price / units[i] * _UNITS for i, price in enumerate(prices)})

    def _asked_price(self, key: Key) -> tuple[float, ...]:
        return _numbers("cost", self._cost(self._grid.parameters(dict(key))))

    def _cost_of(self, decisions: Decisions) -> Cost:
        prices = self._price(key_of(decisions))
        if len(prices) != len(self._first) or (self._log and min(prices) < 0):
            wanted = "numbers that are not negative, or `log_cost` be False" if self._log else "numbers"
            raise BadInput(
                f"`cost` must return {len(self._first)} {wanted}, but returns {shown(prices)} of "
                f"{shown(self._grid.parameters(decisions), 200)}"
            )
        return self._relative(prices)

    def _candidates(self, many: Sequence[Decisions]) -> list[Candidate | Rejection]:
        return [self._candidate(decisions) for decisions in many]

    def _candidate(self, decisions: Decisions) -> Candidate | Rejection:
        cost = self._cost_of(decisions)
        if not all(map(math.isfinite, cost.values.values())):
            return Rejection(decisions, "invalid", "the cost is not finite")
        found = Candidate(decisions, self._grid.architecture(decisions), cost)
        reason = self._caps.reason(cost)
        return Rejection(decisions, "cap", reason, found) if reason else found

    def _trial(self, trial: FrozenTrial) -> Trial | None:
        """Return what a trial says; None of one that says nothing: it waits, or others gave it what is not possible."""
        decisions = self._grid.decisions(trial.params)
        if decisions is None and trial.state != TrialState.COMPLETE:  # it has not asked for all of what it was given
            decisions = self._suggested.get(trial.number)
        if decisions is None or trial.state == TrialState.WAITING:
            return None
        cost, architecture = self._cost_of(decisions), self._grid.architecture(decisions)
        if not all(map(math.isfinite, cost.values.values())):
            return None
        if trial.state != TrialState.COMPLETE:
            state: Any = "running" if trial.state == TrialState.RUNNING else "failed"
            return Trial(trial.number, architecture, decisions, cost, state)
        learned = len(trial.values) - len(cost.values)
        values = {f"value{i}": value for i, value in enumerate(trial.values[:learned])}
        return Trial(trial.number, architecture, decisions, cost, "complete", Measurement(values))


def _again(kind: type[KnownCostSampler], given: Mapping[str, Any]) -> KnownCostSampler:
    return kind(**given)


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    """Return one number or several; what is beyond all floats is infinite."""
    with suppress(TypeError, ValueError):
        if found := tuple(_number(one) for one in np.atleast_1d(given)):
            return found
    raise BadInput(f"`{name}` must be a number or a sequence of numbers, but is {shown(given)}")


def _number(given: Any) -> float:
    try:
        return float(given)
    except OverflowError:
        return math.inf if given > 0 else -math.inf
