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
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import make_dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.choice import Choice, Decisions
from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement, Trial
from invnas.objective import Objective
from invnas.search.known_cost import KnownCost
from invnas.search.pool import key_of
from invnas.search.sampler import Candidate, Context, Rejection, told_of
from invnas.space import Space

_STATES = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed", TrialState.PRUNED: "failed"}


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
        floor: Quantile of the first values below which a learned value counts nothing.

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
        floor: float = 0.25,
    ) -> None:
        if not search_space:
            raise BadInput("`search_space` must name at least one parameter, but it is empty")
        self._distributions = dict(search_space)
        self._grids = [_grid(name, one, levels) for name, one in self._distributions.items()]
        fields = [(f"p{i}", Any) for i in range(len(self._grids))]
        point = make_dataclass("Point", fields, frozen=True)
        self._space = Space(point(*(Choice(*range(len(grid))) for grid in self._grids)), name="search_space")
        self._cost, self._log, self._max = cost, log_cost, () if max_cost is None else tuple(np.atleast_1d(max_cost))
        self._seed, self._start, self._floor = seed, start, floor
        self._prices: dict[tuple[tuple[str, int], ...], tuple[float, ...]] = {}
        self._independent = RandomSampler(seed=seed)
        self._mind: KnownCost | None = None
        self._told: set[int] = set()
        self._one_at_a_time = threading.Lock()  # `n_jobs` of a study are threads that share their sampler
        KnownCost(self._space, (), seed, start, floor)  # refuses what cannot be

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space that was given."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what is expected to add most to the front."""
        with self._one_at_a_time:
            return self._parameters(self._asked(study, trial))

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
            axes = self._axes(study)
            self._mind = KnownCost(self._space, axes, self._seed, self._start, self._floor, numbers=self._numbers)
        pending = []
        for other in sorted(study.get_trials(deepcopy=False), key=lambda other: other.number):
            if other.number in self._told or other.number == trial.number or not self._is_whole(other):
                continue
            if other.state in _STATES:
                self._mind.tell(told_of(self._trial(other)))
                self._told.add(other.number)
            elif other.state == TrialState.RUNNING:
                pending.append(self._trial(other))
        context = Context(trial.number, pending, self._caps, self._candidates)
        return self._mind.ask(context)

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

    @property
    def _caps(self) -> Caps:
        return Caps(self._relative(self._max).values)

    @cached_property
    def _first(self) -> tuple[float, ...]:
        """The costs of one place on the grid."""
        return self._price(self._space.walk(lambda path, choice: 0))

    def _relative(self, prices: Sequence[float]) -> Cost:
        """Return costs by name in units of those of one place, whatever they are counted in."""
        units = [abs(unit) if math.isfinite(unit) and unit else 1.0 for unit in self._first]
        return Cost({f"cost{i}": price / units[i] for i, price in enumerate(prices)})

    def _parameters(self, decisions: Decisions) -> dict[str, Any]:
        grids = zip(self._distributions, self._grids, strict=True)
        return {name: grid[decisions[f"p{i}"]] for i, (name, grid) in enumerate(grids)}

    def _numbers(self, decisions: Decisions) -> list[float]:
        """Return how far up its grid each number is: a grid of numbers has an order that options have not."""
        plain = [not isinstance(one, CategoricalDistribution) for one in self._distributions.values()]
        return [decisions[f"p{i}"] / max(len(self._grids[i]) - 1, 1) for i, number in enumerate(plain) if number]

    def _decisions(self, params: Mapping[str, Any]) -> Decisions:
        """Return the nearest place on the grid: others suggest what they like."""
        found = {}
        for i, (name, distribution) in enumerate(self._distributions.items()):
            grid, value = self._grids[i], params[name]
            if isinstance(distribution, CategoricalDistribution):
                found[f"p{i}"] = int(distribution.to_internal_repr(value))
            else:
                found[f"p{i}"] = min(range(len(grid)), key=lambda at: abs(grid[at] - value))
        return found

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return self._distributions.keys() <= trial.params.keys()

    def _price(self, decisions: Decisions) -> tuple[float, ...]:
        key = key_of(decisions)
        if key not in self._prices:
            self._prices[key] = tuple(float(one) for one in np.atleast_1d(self._cost(self._parameters(decisions))))
        return self._prices[key]

    def _candidates(self, many: Sequence[Decisions]) -> list[Candidate | Rejection]:
        return [self._candidate(decisions) for decisions in many]

    def _candidate(self, decisions: Decisions) -> Candidate | Rejection:
        prices = self._price(decisions)
        if not all(map(math.isfinite, prices)):
            return Rejection(decisions, "invalid", "the cost is not finite")
        cost = self._relative(prices)
        found = Candidate(decisions, self._architecture(decisions), cost)
        reason = self._caps.reason(cost)
        return Rejection(decisions, "cap", reason, found) if reason else found

    def _architecture(self, decisions: Decisions) -> Architecture:
        return Architecture(self._space.resolver.resolve(lambda path, choice: decisions[path]))

    def _trial(self, trial: FrozenTrial) -> Trial:
        decisions = self._decisions(trial.params)
        cost = self._relative(self._price(decisions))
        architecture = self._architecture(decisions)
        if trial.state != TrialState.COMPLETE:
            state: Any = _STATES.get(trial.state, "running")
            return Trial(trial.number, architecture, decisions, cost, state)
        learned = len(trial.values) - len(cost.values)
        values = {f"value{i}": value for i, value in enumerate(trial.values[:learned])}
        return Trial(trial.number, architecture, decisions, cost, "complete", Measurement(values))


def _grid(name: str, distribution: BaseDistribution, levels: int) -> list[Any]:
    """Return the values that are looked at, in their order."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise BadInput(f"the parameter `{name}` has a {type(distribution).__name__}, which no grid can stand for")
    low, high, step = distribution.low, distribution.high, distribution.step
    spread = np.geomspace if distribution.log else np.linspace
    if step is None or distribution.log:
        values = spread(low, high, levels)
        found = sorted({round(value) for value in values} if isinstance(low, int) else set(values.tolist()))
        return [min(max(value, low), high) for value in found]
    steps = round((high - low) / step)
    return [low + int(at) * step for at in sorted({*np.linspace(0, steps, min(steps + 1, levels)).round().tolist()})]
