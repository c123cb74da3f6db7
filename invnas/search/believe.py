"""What is believed of the architectures of a record: a surrogate over all of them, and what each was seen to reach.

An architecture is worth what its decisions and costs say (`surrogate`), and something of its own; a training shows that
with the luck of its seed. Where seeds were repeated they tell how large that luck is, and what is left of the noise
belongs to the architectures. Where none was repeated, means take all of it for luck (on 154 networks of InvBench, with
further seeds of 30, that was nearest to them), and bands take half of it for the architecture's own (there, deviations
of the further seeds in units of what the band and their own noise allow were 1.1 to 1.2 with it, 1.3 to 1.5 without).

All follows in closed form: with V the covariance of what was seen and D the luck in it, means are y - D V^-1 (y - m),
variances D - D^2 diag(V^-1), and predictions without an observation of its own y - V^-1 (y - m) / diag(V^-1).

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2 and 5.4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import ThreadpoolController

from invnas.belief import LEAST, Belief, Estimate
from invnas.choice import Decisions
from invnas.features import Encoder, chosen
from invnas.measurement import Cost, Trial
from invnas.objective import LATENCY, SMALLEST, Objective
from invnas.search.observations import Observations
from invnas.search.surrogate import Data, Setting, Surrogate, kernel, unit_of

#: Variance of the constant, in units of that of the signal.
_CONSTANT = 10.0
#: What the noise that the surrogate finds weighs against repeated seeds, in repetitions; the share of it that may be
#: the architecture's own as long as none tells.
_PRIOR, _MAYBE_OWN = 4.0, 0.5
_LEVELS = ("network", "stage", "place")
_BLAS = ThreadpoolController()


def believe(trials: Iterable[Trial], objectives: Sequence[Objective]) -> Belief:
    """Return what the trials of a record say of its architectures; too few of them, or all equal, say what they say.

    Args:
        trials: Those of the search, of the random baseline, and further seeds; what is of no space is left out.
        objectives: The axes; the learned ones are believed, costs are numbers.
    """
    learned = [objective for objective in objectives if objective.source == "learned"]
    told = _told(trials, objectives)
    names = list(dict.fromkeys(trial.architecture.fingerprint for trial in told.trials))
    whole: dict[str, int] = dict.fromkeys(names, 0)
    for trial in told.complete:
        whole[trial.architecture.fingerprint] += 1
    if sum(number > 0 for number in whole.values()) < LEAST:
        return Belief()
    rows = _Rows(told.trials)
    with _BLAS.limit(limits=1, user_api="blas"):
        fits = {one.name: fit for one in learned if (fit := Fit.of(one, told, rows, names)) is not None}
        estimates = {name: fit.estimates() for name, fit in fits.items()}
    known = tuple(one for one in learned if one.name in fits)
    return Belief(known, estimates, whole, {name: fit.rank for name, fit in fits.items()}, fits)


def _told(trials: Iterable[Trial], objectives: Sequence[Objective]) -> Observations:
    """Take each training once: what continues a stopped one, or was taken over from another phase, is the same one."""
    found: dict[tuple[str, int | None], Trial] = {}
    for trial in sorted(trials, key=lambda trial: (trial.state != "complete", trial.number)):
        if trial.decisions and trial.state in ("complete", "stopped"):
            found.setdefault((trial.architecture.fingerprint, trial.seed), trial)
    told = Observations(objectives)
    for trial in sorted(found.values(), key=lambda trial: trial.number):
        told.add(trial)
    return told


class _Rows:
    """Architectures as numbers, from the record alone, so that the run of a stranger is believed alike."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        labels: dict[tuple[str, int], str] = {}
        for trial in trials:
            for taken in trial.decisions.items():
                if taken not in labels:
                    labels[taken] = chosen(trial.architecture.network, *taken)
        self.encoder = Encoder(labels)
        # What was measured is not known of what the belief is asked about; what is counted says the same.
        self.costs = sorted(frozenset.intersection(*(trial.cost.modelled for trial in trials)) - {LATENCY.name})
        levels = [_LEVELS.index(feature.level) for feature in self.encoder.features]
        self.groups = np.array([*levels, *[3] * len(self.costs)], dtype=int)
        first = {trial.architecture.fingerprint: trial for trial in reversed(trials)}
        table = self.table([trial.decisions for trial in first.values()], [trial.cost for trial in first.values()])
        self.of = dict(zip(first, table, strict=True))

    def table(self, many: Sequence[Decisions], costs: Sequence[Cost]) -> np.ndarray:
        """Return (n, features) numbers: counts of options, then logarithms of costs."""
        logs = [[math.log(max(cost[name], SMALLEST)) for name in self.costs] for cost in costs]
        return np.column_stack([self.encoder.encode(many), np.array(logs).reshape(len(many), len(self.costs))])


class Fit:
    """What is believed along one learned objective.

    Args:
        objective: The objective.
        rows: How architectures become numbers.
        names: Fingerprints of the architectures.
        data: (n,) the mean of what was seen of each, and how many whole trainings that is worth.
        surrogate: The surrogate.
        setting: Its setting.
        luck: Variance of one training about its architecture, in units of that of the signal, and how much of that may
            be the architecture's own, for all that is known.
    """

    def __init__(
        self,
        objective: Objective,
        rows: _Rows,
        names: Sequence[str],
        data: tuple[np.ndarray, np.ndarray],
        surrogate: Surrogate,
        setting: Setting,
        luck: tuple[float, float],
    ) -> None:
        self._objective, self._rows, self._surrogate, self._setting = objective, rows, surrogate, setting
        self._names = names
        self._values, weights = data
        self._luck, self._unknown = luck
        self._own = max(setting.noise - self._luck, 0.0)
        self._middle = float(self._values.mean())
        mapped = surrogate.mapped(np.array([rows.of[name] for name in names]), setting.profile)
        self._each = self._luck / weights
        noise = self._own + self._each + 1e-8
        linear = setting.mix[0] == 1 and len(names) > mapped.shape[1]
        self._covariance = (_LowRank if linear else _Dense)(mapped, noise, setting)
        self._weights, self._diagonal = self._covariance.solved(self._values - self._middle)

    @classmethod
    def of(cls, objective: Objective, told: Observations, rows: _Rows, names: Sequence[str]) -> Fit | None:
        """Fit what was told; None where all of it is one value."""
        place = {name: float(i) for i, name in enumerate(names)}
        at = {trial.number: np.array([place[trial.architecture.fingerprint]]) for trial in told.trials}
        seen = told.of(objective, at, np.zeros((0, 1)))
        if not len(seen) or np.ptp(seen.values) <= 1e-9 * np.abs(seen.values).max():
            return None
        which = seen.rows[:, 0].astype(int)
        table = np.array([rows.of[name] for name in names])
        surrogate = Surrogate(rows.groups, table)
        setting = surrogate.choose(Data(table[which], seen.values, seen.source, seen.rough))
        luck = _luck(which[~seen.rough], seen.values[~seen.rough], setting)
        each = 1.0 / np.where(seen.rough, setting.second, 1.0)
        weights = np.bincount(which, each, len(names))
        seen_of = np.flatnonzero(weights)  # nobody knows what the others, stopped early, were worth
        means = np.bincount(which, each * seen.values, len(names))[seen_of] / weights[seen_of]
        mine = [names[i] for i in seen_of.tolist()]
        return cls(objective, rows, mine, (means, weights[seen_of]), surrogate, setting, luck)

    def estimates(self) -> dict[str, Estimate]:
        """Return what is believed of each architecture that was seen, by fingerprint."""
        gains = self._values - self._each * self._weights
        variances = np.maximum(self._each - self._each**2 * self._diagonal, 0.0) + self._unknown
        return {
            name: Estimate.of(self._objective, float(gain), math.sqrt(variance), math.hypot(self.luck, variance**0.5))
            for name, gain, variance in zip(self._names, gains, self._setting.variance * variances, strict=True)
        }

    @property
    def luck(self) -> float:
        """Standard deviation of one training about its architecture, as a gain."""
        return math.sqrt(self._setting.variance * self._luck)

    @property
    def rank(self) -> float | None:
        """Rank correlation of what was seen with what the other architectures predict."""
        unit = unit_of(self._values)
        seen, other = (ranks_of(np.round(values / unit, 9)) for values in (self._values, self.left_out()))
        if not seen.std() or not other.std():
            return None
        return float(np.corrcoef(seen, other)[0, 1])

    def left_out(self) -> np.ndarray:
        """Return what the other architectures predict of each one that was seen, as gains."""
        found: np.ndarray = self._values - self._weights / self._diagonal
        return found

    def predict(self, many: Sequence[Decisions], costs: Sequence[Cost]) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations of the mean of any architectures, as gains."""
        return self.predict_rows(self._rows.table(many, costs))

    def predict_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of architectures that are numbers already."""
        mapped = self._surrogate.mapped(rows, self._setting.profile)
        mean, variance = self._covariance.predicted(mapped, self._weights)
        return self._middle + mean, np.sqrt(
            self._setting.variance * np.maximum(variance + self._own + self._unknown, 1e-12)
        )


def _luck(which: np.ndarray, values: np.ndarray, setting: Setting) -> tuple[float, float]:
    """Return the luck of one training by repeats and the noise, and how much of it may be no luck."""
    number = np.bincount(which)
    means = np.bincount(which, values) / np.maximum(number, 1)
    freedom = float(np.maximum(number - 1, 0).sum())
    squares = float(((values - means[which]) ** 2).sum()) / setting.variance
    share = _PRIOR / (freedom + _PRIOR)
    return max(squares / (freedom + _PRIOR) + share * setting.noise, 1e-6), _MAYBE_OWN * share * setting.noise


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Return the ranks of numbers; equal ones share the middle of theirs.

    >>> ranks_of(np.array([3.0, 1.0, 3.0])).tolist()
    [1.5, 0.0, 1.5]
    """
    _, place, number = np.unique(values, return_inverse=True, return_counts=True)
    middle: np.ndarray = np.cumsum(number) - (number + 1) / 2
    return middle[place.reshape(-1)]


class _Dense:
    """Architectures against each other: n x n."""

    def __init__(self, mapped: np.ndarray, noise: np.ndarray, setting: Setting) -> None:
        self._mapped, self._mix = mapped, setting.mix
        covariance = kernel(mapped, mapped, setting.mix) + _CONSTANT + np.diag(noise)
        self._inverse = cho_solve(cho_factor(covariance, lower=True), np.eye(len(mapped)))

    def solved(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._inverse @ values, np.diag(self._inverse)

    def predicted(self, mapped: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cross = kernel(mapped, self._mapped, self._mix) + _CONSTANT
        own = self._mix[0] * (mapped * mapped).sum(axis=1) + (1 - self._mix[0]) + _CONSTANT
        return cross @ weights, own - ((cross @ self._inverse) * cross).sum(axis=1)


class _LowRank:
    """Features against each other: d x d, where only the linear part is and there are more architectures."""

    def __init__(self, mapped: np.ndarray, noise: np.ndarray, setting: Setting) -> None:
        self._x, self._noise = self._with_constant(mapped), noise
        weighted = self._x / noise[:, None]
        inner = weighted.T @ self._x + np.eye(self._x.shape[1])
        self._inverse = cho_solve(cho_factor(inner, lower=True), np.eye(len(inner)))

    @staticmethod
    def _with_constant(mapped: np.ndarray) -> np.ndarray:
        return np.column_stack([mapped, np.full(len(mapped), math.sqrt(_CONSTANT))])

    def solved(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weighted = self._x / self._noise[:, None]
        reduced = weighted @ self._inverse
        diagonal = 1 / self._noise - (reduced * weighted).sum(axis=1)
        return values / self._noise - reduced @ (weighted.T @ values), diagonal

    def predicted(self, mapped: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._with_constant(mapped)
        return x @ (self._x.T @ weights), ((x @ self._inverse) * x).sum(axis=1)
