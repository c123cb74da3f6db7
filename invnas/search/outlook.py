"""What a belief says beyond what was trained: which decisions matter along the front, and what to train next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from invnas.belief import Belief, Estimate, Influence, Prospect
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.features import chosen, starred
from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.search.gain import Boxes, expected_gain, free_boxes
from invnas.search.pool import Entry, Pool, key_of
from invnas.search.proposer import Proposer
from invnas.search.random_sampler import RandomSampler
from invnas.search.sampler import Candidate, Context
from invnas.space import Space
from invnas.space_check import Price

#: Members of the front, and trained architectures whose decisions they are given, that influences are judged by.
_MEMBERS, _DONORS = 12, 24
#: Numbers whose draws and neighbours are looked at, members of the front whose neighbours are, and what is told.
_WIDE, _PARENTS, _TOLD = 12, 24, 5


def influences(belief: Belief, trials: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[Influence, ...]:
    """Return what each decision is believed to do along the front, the first learned objective being looked at.

    Members of the front take the decision, and all that was decided under it, as other trained architectures have it,
    at the costs they have: so what is told is not that more computing helps.
    """
    front = _evenly(belief.front(trials, objectives), _MEMBERS)
    complete = [trial for trial in trials if trial.state == "complete" and trial.decisions]
    donors = _evenly(complete, _DONORS)
    if not belief.known or not front:
        return ()
    roots = sorted({_root(path) for trial in donors for path in trial.decisions if not path.endswith(".times")})
    found = (_influence(belief, belief.objectives[0], root, front, donors) for root in roots)
    return tuple(one for one in found if one is not None)


def _root(path: str) -> str:
    return starred(path.split("=")[0], 1)


def _evenly(trials: Sequence[Trial], number: int) -> list[Trial]:
    places = np.unique(np.linspace(0, len(trials) - 1, min(number, len(trials))).astype(int)) if trials else ()
    return [trials[int(i)] for i in places]


def _influence(
    belief: Belief, objective: Objective, root: str, front: Sequence[Trial], donors: Sequence[Trial]
) -> Influence | None:
    labels = [_label(donor, root) for donor in donors]
    known = [(donor, label) for donor, label in zip(donors, labels, strict=True) if label]
    if len({label for _, label in known}) < 2:
        return None
    mixed = [_with(member.decisions, donor.decisions, root) for member in front for donor, _ in known]
    costs = [member.cost for member in front for _ in known]
    gains, _ = belief.predictors[objective.name].predict(mixed, costs)
    values = np.array([objective.at_gain(gain) for gain in gains.tolist()]).reshape(len(front), len(known))
    changes = objective.sign * (values - values.mean(axis=1, keepdims=True)).mean(axis=0)
    of = {label: [change for change, (_, other) in zip(changes, known, strict=True) if other == label]
          for label in dict.fromkeys(label for _, label in known)}  # fmt: skip
    best = max(of, key=lambda label: float(np.mean(of[label])))
    return Influence(root, float(values.std(axis=1).mean()), best, float(np.mean(of[best])))


def _label(trial: Trial, root: str) -> str:
    """Return what a trial has mostly decided there; empty where it had nothing to decide."""
    taken = [(path, i) for path, i in trial.decisions.items() if "=" not in path and _root(path) == root]
    labels = [chosen(trial.architecture.network, path, i) for path, i in taken]
    return max(dict.fromkeys(labels), key=labels.count, default="")


def _with(decisions: Decisions, other: Decisions, root: str) -> Decisions:
    """Return decisions of which those under a root are another's, as far as that one has the place."""
    places = {path.split("=")[0] for path in decisions if _root(path) == root}
    places &= {path.split("=")[0] for path in other}
    kept = {path: i for path, i in decisions.items() if path.split("=")[0] not in places}
    return {**kept, **{path: i for path, i in other.items() if path.split("=")[0] in places}}


class Candidates:
    """Untrained architectures with what they are expected to add to the front of what is believed.

    Args:
        space: Where to look.
        price: What an architecture costs.
        caps: Largest cost allowed.
        objectives: The axes.
        seed: Seed of the draws.
        foretold: What makes a price that foretells a metered cost, too, from the trials of a record; None where
            nothing is metered, or too few trials were.
    """

    def __init__(
        self,
        space: Space,
        price: Price,
        caps: Caps,
        objectives: Sequence[Objective],
        seed: int = 0,
        foretold: Callable[[Sequence[Trial]], Price | None] = lambda trials: None,
    ) -> None:
        self._space, self._price, self._caps, self._objectives, self._seed = space, price, caps, objectives, seed
        self._pool, self._foretold = Pool(space, seed), foretold

    def ranked(self, belief: Belief, trials: Sequence[Trial]) -> list[Prospect] | None:
        """Return candidates by what they are expected to add, most first; None where nothing is believed or foretold.

        Args:
            belief: What is believed of the trials.
            trials: All trials of the record.
        """
        if not belief.known:
            return None
        price, pool = self._foretold(trials), self._pool
        if price is not None:  # another one with each trial: what the pool has priced by others does not hold
            pool = Pool(self._space, self._seed)
        elif any(axis.source == "metered" for axis in self._objectives):
            return None
        front = belief.front([trial for trial in trials if trial.phase == "search"], self._objectives)
        judge = _Judge(belief, [trial for trial in trials if trial.state == "complete"], front, self._objectives)
        entries = self._untrained(trials, front, price or self._price, pool)
        return judge.ranked(self._space, entries) if entries else []

    def _untrained(self, trials: Sequence[Trial], front: Sequence[Trial], price: Price, pool: Pool) -> list[Entry]:
        proposer = Proposer(
            self._space, RandomSampler(self._space, self._seed), price, self._caps, trials, "search", self._seed,
            lambda event: None,
        )  # fmt: skip
        number = sum(trial.phase == "search" for trial in trials)
        context = Context(number, (), self._caps, proposer.candidates)
        parents = [key_of(trial.decisions) for trial in front][:_PARENTS]
        found = {entry.key: entry for entry in pool.draws(context)}
        found |= {entry.key: entry for entry in pool.neighbours(context, parents, _WIDE)}
        entries = list(found.values())
        judged = proposer.candidates([entry.decisions for entry in entries])
        return [entry for entry, one in zip(entries, judged, strict=True) if isinstance(one, Candidate)]


class _Judge:
    """What a candidate adds to a front, all numbers being gains."""

    def __init__(
        self, belief: Belief, trials: Sequence[Trial], front: Sequence[Trial], objectives: Sequence[Objective]
    ) -> None:
        self._belief = belief
        # The boxes are open along the first axis.
        self._axes = sorted(objectives, key=lambda axis: axis.source != "learned")
        table = self._gains(belief.of(trials))
        self._worst, best = table.min(axis=0), table.max(axis=0)
        self._boxes: Boxes = free_boxes(self._gains(belief.of(front)), self._worst)
        everything = free_boxes(np.zeros((0, len(self._axes))), self._worst)
        corner, sure = best[None], np.zeros((1, len(self._axes)))
        # What the front covers up to the best of each axis.
        self._covered = float((expected_gain(corner, sure, everything) - expected_gain(corner, sure, self._boxes))[0])

    def _gains(self, trials: Sequence[Trial]) -> np.ndarray:
        rows = [
            [axis.gain(value) for axis, value in zip(self._axes, t.values(self._axes), strict=True)] for t in trials
        ]
        return np.array(rows).reshape(len(trials), len(self._axes))

    def ranked(self, space: Space, entries: Sequence[Entry]) -> list[Prospect]:
        many, costs = [entry.decisions for entry in entries], [entry.cost for entry in entries]
        mean, deviation = np.zeros((2, len(entries), len(self._axes)))
        for column, axis in enumerate(self._axes):
            if axis.name in self._belief.predictors:
                mean[:, column], deviation[:, column] = self._belief.predictors[axis.name].predict(many, costs)
            else:
                mean[:, column] = [axis.gain(cost[axis.name]) for cost in costs]
        gains = expected_gain(mean, deviation, self._boxes)
        # Of a front that covers nothing the best would be all.
        shares = gains / (self._covered if self._covered > 0 else float(gains.max()) or 1.0)
        order = sorted(range(len(entries)), key=lambda i: (-round(float(shares[i]), 9), entries[i].key))
        return [
            Prospect(space.architecture(many[i]), costs[i], self._estimates(mean[i], deviation[i]), float(shares[i]))
            for i in order[:_TOLD]
        ]

    def _estimates(self, mean: np.ndarray, deviation: np.ndarray) -> dict[str, Estimate]:
        found = {}
        for i, axis in enumerate(self._axes):
            if (predictor := self._belief.predictors.get(axis.name)) is not None:
                spread = float(deviation[i])
                found[axis.name] = Estimate.of(axis, float(mean[i]), spread, float(np.hypot(spread, predictor.luck)))
        return found
