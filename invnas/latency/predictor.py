"""What was not timed: seconds of each number of a table, fitted to a few networks that say most about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

#: Weights of a prior at zero beside the usual part of a number in a latency, of which the one that foretells best is
#: taken: few networks cannot tell all numbers apart.
_RIDGES = (1e-3, 0.1, 0.3)
#: Variance of a rate before anything is timed, in that of a timing.
_PRIOR = 1e3


@dataclass(frozen=True)
class Predictor:
    """Milliseconds of a table: a sum of what each number takes, none of it negative.

    Attributes:
        rates: (columns,) milliseconds of one of each number.
        error: Root mean square of the relative errors, each network foretold by the others.
        networks: How many it was fitted to.
    """

    rates: np.ndarray
    error: float
    networks: int

    def __call__(self, table: np.ndarray) -> float:
        """Return milliseconds."""
        return max(float(table @ self.rates), 1e-6)


def fitted(tables: np.ndarray, times: Sequence[float]) -> Predictor:
    """Return the predictor whose relative errors are least.

    Args:
        tables: (n, columns), n at least 2.
        times: Milliseconds of each.
    """
    ms = np.asarray(times, dtype=float)
    error, ridge = min((_left_out(tables, ms, ridge), ridge) for ridge in _RIDGES)
    return Predictor(_rates(tables, ms, ridge), error, len(ms))


def _left_out(tables: np.ndarray, ms: np.ndarray, ridge: float) -> float:
    others = ~np.eye(len(ms), dtype=bool)
    found = [tables[i] @ _rates(tables[others[i]], ms[others[i]], ridge) for i in range(len(ms))]
    return float(np.sqrt(np.mean((np.array(found) / ms - 1) ** 2)))


def _rates(tables: np.ndarray, ms: np.ndarray, ridge: float) -> np.ndarray:
    """Return rates by non-negative least squares of the relative errors; again, so that a bad timing counts less."""
    scale = np.where(tables.any(0), np.abs(tables).mean(0), 1.0)
    rows = tables / scale / ms[:, None]
    prior = np.diag(ridge * np.sqrt(len(ms)) * np.maximum(rows.mean(0), 1e-9))
    weights = np.ones(len(ms))
    for _ in range(3):
        found, _ = nnls(np.vstack([rows * weights[:, None], prior]), np.concatenate([weights, np.zeros(len(prior))]))
        off = np.abs(rows @ found - 1)
        usual = max(1.5 * float(np.median(off)), 1e-3)
        weights = np.sqrt(np.minimum(1.0, 2 * usual / np.maximum(off, 1e-9)))  # Huber's
    return np.asarray(found / scale)


def telling(tables: np.ndarray, number: int) -> list[int]:
    """Return which rows of (n, columns) to time: each one takes most from the variance of what is foretold of all rows.

    Rows are taken relative to their size, as errors are.

    Source: V-optimal designs, Fedorov, "Theory of Optimal Experiments", 1972; here greedy, after a wide prior.
    """
    scale = np.where(tables.any(0), np.abs(tables).mean(0), 1.0)
    rows = tables / scale
    rows = rows / rows.sum(1, keepdims=True)
    covariance = np.eye(rows.shape[1]) * _PRIOR
    chosen: list[int] = []
    for _ in range(min(number, len(rows))):
        between = rows @ covariance @ rows.T
        gains = (between**2).sum(0) / (1 + np.diag(between))
        gains[chosen] = -1.0
        best = int(np.argmax([float(f"{gain:.9g}") for gain in gains]))  # no other machine's last bit chooses otherwise
        chosen.append(best)
        step = covariance @ rows[best]
        covariance = covariance - np.outer(step, step) / (1 + between[best, best])
    return chosen
