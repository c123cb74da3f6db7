"""A sampler that knows what a proposal costs: the expected gain of the front, with only the accuracy modelled.

Source: known functions within a multi-objective acquisition are from Olofsson et al., "Bayesian multi-objective
optimisation with mixed analytical and black-box functions: application to tissue engineering", 2019, and BoTorch's
deterministic models; the pool of neighbours is local search as in White et al., "BANANAS", AAAI 2021.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from invnas.choice import Decisions
from invnas.errors import BadInput, shown
from invnas.objective import COSTS, Objective
from invnas.pareto import non_dominated
from invnas.search.gain import Boxes, expected_gain, free_boxes
from invnas.search.observations import Earlier, Observations
from invnas.search.pool import Entry, Key, Pool, key_of
from invnas.search.sampler import Candidate, Context, Told
from invnas.search.stratified import StratifiedSampler
from invnas.search.surrogate import Data, Posterior, Setting, Surrogate
from invnas.space import Space

#: Members of the front whose neighbours are looked at, and how often the neighbours of the best so many are.
PARENTS, CLIMBS, CLIMBED = 24, 2, 6
#: Numbers for which neighbours of the front stay, and those of the best.
WIDE, NARROW = 12, 4
#: Observations without which nothing is modelled.
_LEAST = 4
_BLAS = ThreadpoolController()
_GAIN = Objective("gain", "gain", "Gain", "maximize", "number", log=False, source="learned")


class KnownCost:
    """Proposes what is expected to add most to the front of what is believed.

    Args:
        space: Where to search.
        objectives: The values that count; those that are not counted exactly have a surrogate each.
        seed: Seed of the draws.
        start: Measured trials that are spread over the cost before anything is modelled.
        earlier: What earlier runs on this space found, perhaps on other images.
        numbers: Features of some decisions beside the counts of options.

    Raises:
        BadInput: If an argument cannot be.
    """

    uniform = False

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int = 0,
        start: int = 12,
        earlier: Sequence[Earlier] = (),
        numbers: Callable[[Decisions], Sequence[float]] = lambda decisions: (),
    ) -> None:
        if not isinstance(start, int) or start < _LEAST:
            raise BadInput(f"`start` of known-cost must be a whole number of at least {_LEAST}, but got {shown(start)}")
        self._objectives, self._start = tuple(objectives), start
        self._pool = Pool(space, seed, numbers)
        self._first = StratifiedSampler(space, objectives, seed, self._pool)
        self._seen = Observations(objectives, earlier)
        self._closed: set[Key] = set()
        self._refused: tuple[int, set[Key]] = (0, set())
        self._settings: dict[tuple[str, int], Setting] = {}

    def ask(self, context: Context) -> Decisions:
        """Return what is expected to gain most; at first, what spreads over the cost."""
        if self._refused[0] != context.number:
            self._refused = context.number, set()
        if not self._ready or not self._pool.population(context):
            return self._first.ask(context)
        # One thread: many small products gain nothing by more, and round alike however many cores a machine has.
        with _BLAS.limit(limits=1, user_api="blas"):
            return self._most_promising(context)

    def _most_promising(self, context: Context) -> Decisions:
        belief = self._believed(context)
        closed = self._closed | self._refused[1] | {key_of(trial.decisions) for trial in context.pending}
        worth: dict[Key, tuple[float, float]] = {}

        def look(entries: Sequence[Entry]) -> None:
            new = list({one.key: one for one in entries if one.key not in worth and one.key not in closed}.values())
            worth.update(zip([one.key for one in new], belief.worth(new), strict=True))

        def order(key: Key) -> tuple[float, float, Key]:
            return -worth[key][0], -worth[key][1], key

        look(self._pool.draws(context))
        look(self._pool.neighbours(context, belief.parents, WIDE))
        for _ in range(CLIMBS):
            look(self._pool.neighbours(context, heapq.nsmallest(CLIMBED, worth, key=order), NARROW))
        # Of what was trained the sampler was told but for the baseline, which only the record knows.
        for key in sorted(worth, key=order):
            if isinstance(context.candidates([dict(key)])[0], Candidate):
                return dict(key)
        return self._first.ask(context)

    def tell(self, told: Told) -> None:
        """Learn from a measured trial; what was stopped, failed or refused is not proposed again."""
        self._first.tell(told)
        if told.trial is None:
            self._refused[1].add(key_of(told.decisions))
            return
        self._closed.add(key_of(told.decisions))
        self._seen.add(told.trial)

    @property
    def _ready(self) -> bool:
        """Whether enough was seen to be modelled: with earlier runs a few of this one tell how they compare."""
        start = _LEAST if self._seen.earlier else self._start
        return len(self._seen.trials) >= start and len(self._seen.complete) >= _LEAST

    def _believed(self, context: Context) -> _Belief:
        population = self._pool.population(context)
        seen = {trial.number: self._pool.entry(trial.decisions, trial.cost) for trial in self._seen.trials}
        pending = [self._pool.entry(trial.decisions, trial.cost) for trial in context.pending]
        complete = [seen[trial.number] for trial in self._seen.complete]
        rows = {number: entry.row for number, entry in seen.items()}
        earlier = self._pool.priced(context, [one.decisions for one in self._seen.earlier])
        before = np.array([entry.row for entry in earlier])
        surrogate = Surrogate(self._pool.groups, np.array([entry.row for entry in population]))
        posteriors, worst = dict[int, Posterior](), list[float]()
        for axis, objective in enumerate(self._objectives):
            if all(objective.name in entry.cost for entry in population):  # counted, or foretold by who meters it
                worst.append(min(entry.gain(objective) for entry in (*population, *complete, *pending)))
                continue
            data, posterior = self._learned(surrogate, objective, rows, before)
            worst.append(float(data.values[data.source == 0][: self._start].min()))
            posteriors[axis] = posterior.believing(np.array([entry.row for entry in pending]))
        limits = []
        for cost in COSTS:
            cap = context.caps.limits.get(cost.name)
            foretold = all(cost.name in entry.cost for entry in population)
            if cap is not None and not foretold:  # nobody knows it before it is metered
                limits.append((self._learned(surrogate, cost, rows, before)[1], cost.gain(cap)))
        return _Belief(self._objectives, posteriors, [*complete, *pending], np.array(worst), limits)

    def _learned(
        self, surrogate: Surrogate, objective: Objective, rows: Mapping[int, np.ndarray], before: np.ndarray
    ) -> tuple[Data, Posterior]:
        data = self._seen.of(objective, rows, before)
        return data, surrogate.condition(self._setting(surrogate, objective, rows, before), data)

    def _setting(
        self, surrogate: Surrogate, objective: Objective, rows: Mapping[int, np.ndarray], before: np.ndarray
    ) -> Setting:
        """Return the setting of an objective, chosen anew after each eighth more, by what was known then."""
        trials, chosen = self._seen.trials, _LEAST
        while chosen + max(chosen // 8, 1) <= len(trials):
            chosen += max(chosen // 8, 1)
        if sum(trial.state == "complete" for trial in trials[:chosen]) < _LEAST:  # too little was known then
            return surrogate.choose(self._seen.of(objective, rows, before))
        at = objective.name, chosen
        if at not in self._settings:
            self._settings = {other: setting for other, setting in self._settings.items() if other[0] != at[0]}
            self._settings[at] = surrogate.choose(self._seen.of(objective, rows, before, chosen))
        return self._settings[at]


class _Belief:
    """What is believed of the trials and of candidates, along all objectives."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        posteriors: dict[int, Posterior],
        known: Sequence[Entry],
        worst: np.ndarray,
        limits: Sequence[tuple[Posterior, float]],
    ) -> None:
        self._objectives, self._posteriors, self._limits = objectives, posteriors, limits
        # The boxes are open along the first axis, which costs least where that one is learned.
        self._order = sorted(range(len(objectives)), key=lambda axis: axis not in posteriors)
        mean, _ = self._predicted(known)
        front = non_dominated(mean, [_GAIN] * len(objectives))
        on = np.flatnonzero(front)
        self._boxes: Boxes = free_boxes(mean[on], worst[self._order])
        self.parents = [known[i].key for i in on[np.argsort(-mean[on, 0], kind="stable")]][:PARENTS]

    def worth(self, entries: Sequence[Entry]) -> list[tuple[float, float]]:
        """Return the expected gain of candidates, and how little is known of them, which decides between equals."""
        if not entries:
            return []
        mean, deviation = self._predicted(entries)
        gain = expected_gain(mean, deviation, self._boxes)
        for posterior, cap in self._limits:  # times the chance to be within
            middle, spread = posterior.predict(np.array([entry.row for entry in entries]))
            gain *= ndtr((middle - cap) / spread)
        # Nine digits, so that no other machine's last bit chooses otherwise.
        pairs = zip(gain, deviation[:, 0], strict=True)
        return [(float(f"{one:.9g}"), float(f"{spread:.9g}")) for one, spread in pairs]

    def _predicted(self, entries: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array([entry.row for entry in entries])
        mean, deviation = np.zeros((len(entries), len(self._order))), np.zeros((len(entries), len(self._order)))
        for column, axis in enumerate(self._order):
            if axis in self._posteriors:
                mean[:, column], deviation[:, column] = self._posteriors[axis].predict(rows)
            else:
                objective = self._objectives[axis]
                mean[:, column] = [entry.gain(objective) for entry in entries]
        return mean, deviation
