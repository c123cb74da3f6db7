"""What a training is believed to find: a Gaussian process over counts of options and logarithms of costs.

A linear part (so many involutions in stage 2 are worth so much) and a part of nearby things (an RBF kernel) over
standardised features, whose groups are weighted as wholes. Weights, shares, length and noise are those of the highest
marginal likelihood on a fixed grid: nothing is descended, so the same data choose the same in every process.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2, 2.7 and 5.4.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

#: Weights of the groups of features: those of the network, of a stage, of a place, the costs.
PROFILES = ((1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.3, 1.0), (0.3, 1.0, 1.0, 0.5), (1.0, 0.5, 0.2, 2.0))
#: Share of the linear part, and length scale of the other.
MIXES = ((0.95, 1.0), (0.7, 0.7), (0.7, 1.4), (0.3, 0.7), (0.3, 1.4))
#: Variance of the noise in units of that of the signal, and that of the second kind of data in units of the first.
NOISES, SECONDS = tuple(np.geomspace(1e-3, 3.0, 9)), (1.0, 3.0, 10.0, 30.0)
#: Below and beyond so many observations the linear part stands alone: little can be told, or little waited for.
FEW, MANY = 20, 1_000
#: Observations by which the grid is judged at most.
JUDGED = 256
#: Variance of the constant of each source of data, in units of that of the signal.
_OFFSET = 10.0
#: No feature counts as if it varied less: a rare option is no wide axis.
_LEAST_SPREAD = 0.15


@dataclass(frozen=True)
class Data:
    """Observations.

    Attributes:
        rows: (n, d) features.
        values: (n,) gains.
        source: (n,) where each comes from: 0 is here, another number is a run with a constant of its own.
        rough: (n,) whether it has the noise of the second kind: of another run, or of a part of a training.
    """

    rows: np.ndarray
    values: np.ndarray
    source: np.ndarray
    rough: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, kept: slice | np.ndarray) -> Data:
        return Data(self.rows[kept], self.values[kept], self.source[kept], self.rough[kept])


@dataclass(frozen=True)
class Setting:
    """One point of the grid, and the variance of the signal there."""

    profile: tuple[float, ...] = PROFILES[0]
    mix: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.1
    second: float = SECONDS[1]
    variance: float = 1.0

    def noises(self, rough: np.ndarray) -> np.ndarray:
        """Return the noise of each observation."""
        return self.noise * np.where(rough, self.second, 1.0)


class Surrogate:
    """Chooses a setting by data, and says what follows from data by it.

    Args:
        groups: (d,) the group of each feature, 0 to 3.
        population: (m, d) features of usual candidates, by which they are standardised.
    """

    def __init__(self, groups: np.ndarray, population: np.ndarray) -> None:
        self._groups = groups
        self._centre = population.mean(axis=0)
        self._scale = np.maximum(population.std(axis=0), _LEAST_SPREAD)
        self._number = np.maximum(np.bincount(groups, minlength=len(PROFILES[0])), 1)

    def mapped(self, rows: np.ndarray, profile: tuple[float, ...]) -> np.ndarray:
        """Return features whose inner product is the linear kernel: about 1 of a usual candidate with itself."""
        weights = np.array(profile) / np.sqrt(self._number * sum(w * w for w in profile))
        return (rows - self._centre) / self._scale * weights[self._groups]

    def choose(self, data: Data) -> Setting:
        """Return the setting of the highest marginal likelihood; a wide prior keeps the noise off the ends."""
        number = len(data)
        if number > JUDGED:
            data = data[np.linspace(0, number - 1, JUDGED).astype(int)]
        mixes = MIXES if FEW <= number <= MANY else ((1.0, 1.0),)
        several = SECONDS if data.rough.any() else (SECONDS[1],)
        unit = unit_of(data.values)  # so that limits which are numbers mean the same of small values and of large ones
        data = replace(data, values=data.values / unit)
        best, highest = Setting(), -math.inf
        for profile in PROFILES:
            mapped = self.mapped(data.rows, profile)
            for mix in mixes:
                covariance = kernel(mapped, mapped, mix) + _constants(data.source, data.source)
                for noise, second in itertools.product(NOISES, several):
                    setting = Setting(profile, mix, noise, second)
                    likelihood, variance = _likelihood(covariance, setting, data)
                    if likelihood > highest + 1e-6:  # no other machine's rounding may choose otherwise
                        best, highest = replace(setting, variance=variance * unit**2), likelihood
        return best

    def condition(self, setting: Setting, data: Data) -> Posterior:
        """Return what is believed after some data."""
        make = _Linear if setting.mix[0] == 1 and len(data) > data.rows.shape[1] else _Process
        return Posterior(self, setting, data, make(self.mapped(data.rows, setting.profile), setting, data))


class Posterior:
    """What is believed of candidates."""

    def __init__(self, surrogate: Surrogate, setting: Setting, data: Data, weights: _Linear | _Process) -> None:
        self._surrogate, self._setting, self._data, self._weights = surrogate, setting, data, weights

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of (m, d) candidates, without the noise of a training."""
        mean, variance = self._weights.predict(self._surrogate.mapped(rows, self._setting.profile))
        return mean, np.sqrt(self._setting.variance * np.maximum(variance, 1e-9))

    def believing(self, rows: np.ndarray) -> Posterior:
        """Return what is believed when candidates are taken to come out at their mean."""
        if not len(rows):
            return self
        here = np.zeros(len(rows), dtype=int)
        more = Data(rows, self.predict(rows)[0], here, here.astype(bool))
        pairs = zip(_parts(self._data), _parts(more), strict=True)
        return self._surrogate.condition(self._setting, Data(*(np.concatenate(pair) for pair in pairs)))


def unit_of(values: np.ndarray) -> float:
    """Return the power of two by which values have a range of 1 to 2: to divide by it rounds nothing.

    >>> unit_of(np.array([0.5, 0.8])), unit_of(np.array([-3e9, 2e9])) / 2**32, unit_of(np.array([7.0]))
    (0.25, 1.0, 1.0)
    """
    width = float(values.max() / 2 - values.min() / 2)
    return math.ldexp(1.0, math.frexp(width)[1]) if width else 1.0


def _parts(data: Data) -> tuple[np.ndarray, ...]:
    return data.rows, data.values, data.source, data.rough


def kernel(a: np.ndarray, b: np.ndarray, mix: tuple[float, float]) -> np.ndarray:
    """Return the covariance of (n, d) with (m, d) mapped features: a linear part and an RBF part."""
    inner: np.ndarray = a @ b.T
    share, length = mix
    if share == 1:
        return inner
    distance = np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * inner, 0.0)
    found: np.ndarray = share * inner + (1 - share) * np.exp(-distance / (2 * length**2))
    return found


def _constants(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = _OFFSET * (a[:, None] == b)
    return found


def _likelihood(covariance: np.ndarray, setting: Setting, data: Data) -> tuple[float, float]:
    """Return the logarithm of the marginal likelihood at the best variance of the signal, and that variance."""
    root = _root(covariance, setting.noises(data.rough))
    whitened = solve_triangular(root, data.values - data.values.mean(), lower=True, check_finite=False)
    number = len(data)
    variance = max(float(whitened @ whitened) / number, 1e-12)
    prior = math.log(setting.noise / 0.1) ** 2 / 8
    return -0.5 * number * math.log(variance) - float(np.log(np.diag(root)).sum()) - prior, variance


def _root(covariance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of a covariance with noise; the noise is raised where rounding made it indefinite."""
    extra = 1e-8
    while True:
        try:
            found: np.ndarray = cholesky(covariance + np.diag(noise + extra), lower=True, check_finite=False)
        except LinAlgError:
            extra *= 100
        else:
            return found


class _Process:
    """The Gaussian process in the space of observations: n x n."""

    def __init__(self, mapped: np.ndarray, setting: Setting, data: Data) -> None:
        self._mapped, self._mix, self._source = mapped, setting.mix, data.source
        covariance = kernel(mapped, mapped, setting.mix) + _constants(data.source, data.source)
        self._root, self._middle = _root(covariance, setting.noises(data.rough)), float(data.values.mean())
        whitened = solve_triangular(self._root, data.values - self._middle, lower=True, check_finite=False)
        self._weights = solve_triangular(self._root, whitened, lower=True, trans="T", check_finite=False)

    def predict(self, mapped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        here = np.zeros(len(mapped), dtype=int)
        cross = kernel(mapped, self._mapped, self._mix) + _constants(here, self._source)
        own = self._mix[0] * (mapped * mapped).sum(axis=1) + (1 - self._mix[0]) + _OFFSET
        left = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        return self._middle + cross @ self._weights, own - (left * left).sum(axis=0)


class _Linear:
    """The linear part alone, in the space of features: d x d (Bayesian ridge regression)."""

    def __init__(self, mapped: np.ndarray, setting: Setting, data: Data) -> None:
        self._sources = int(data.source.max()) + 1
        x, noise = self._with_constants(mapped, data.source), setting.noises(data.rough) + 1e-8
        weighted = x / noise[:, None]
        self._root = _root(weighted.T @ x, np.ones(x.shape[1]))
        self._middle = float(data.values.mean())
        whitened = solve_triangular(
            self._root, weighted.T @ (data.values - self._middle), lower=True, check_finite=False
        )
        self._weights = solve_triangular(self._root, whitened, lower=True, trans="T", check_finite=False)

    def _with_constants(self, mapped: np.ndarray, source: np.ndarray) -> np.ndarray:
        return np.column_stack([mapped, math.sqrt(_OFFSET) * (source[:, None] == np.arange(self._sources))])

    def predict(self, mapped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._with_constants(mapped, np.zeros(len(mapped), dtype=int))
        left = solve_triangular(self._root, x.T, lower=True, check_finite=False)
        return self._middle + x @ self._weights, (left * left).sum(axis=0)
