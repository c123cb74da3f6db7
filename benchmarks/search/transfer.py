"""What InvBench says of networks of another space: a forest on what both spaces share, as a truth for searches.

A network is described by what can be said in any space of hybrids: which operators stand in its earlier and its later
half, and its place among the draws of its own space in multiply-adds, parameters and depth.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from invnas.architecture import Architecture
from invnas.bench import Answer, InvBench
from invnas.bench.truth import Fitted, Forest, targets_of
from invnas.measurement import Cost, Measurement
from invnas.operators import Convolution, Involution
from invnas.space import Space

Price = Callable[[Architecture], Cost]


class Transferred(Fitted):
    """Cost and accuracy of any architecture of a space, by what InvBench found: a table for `replay`.

    Args:
        bench: What it is fitted to, the mean over the seeds of each architecture.
        space: Whose architectures are asked for.
        price: What they cost.
        drawn: Some of them: what is small or large in this space.
    """

    def __init__(self, bench: InvBench, space: Space, price: Price, drawn: Sequence[Architecture]) -> None:
        self._price, self._here = price, _Place([(one, price(one)) for one in drawn])
        there = _Place(list(bench.costs.items()))
        found = {one: [logit for logit, _ in seeds] for one, seeds in targets_of(bench).items()}
        rows = np.array([there.row(one, bench.costs[one]) for one in found])
        self._forest = Forest(rows, np.array([[statistics.fmean(values)] for values in found.values()]))
        several = [statistics.variance(values) for values in found.values() if len(values) > 1]
        self._spread = math.sqrt(statistics.fmean(several))

    def answer(self, architecture: Architecture, luck: float) -> Answer:
        """Return cost and measurement of a training so many standard deviations of the seeds above the mean."""
        cost = self._price(architecture)
        (logit,) = self._forest.predict(self._here.row(architecture, cost))
        return cost, Measurement({"top1": 1 / (1 + math.exp(-logit - luck * self._spread))})


class _Place:
    """Describes architectures beside others of their space."""

    def __init__(self, many: Sequence[tuple[Architecture, Cost]]) -> None:
        self._sizes = np.sort([_sizes(one, cost) for one, cost in many], axis=0)

    def row(self, architecture: Architecture, cost: Cost) -> np.ndarray:
        operators = [operator for _, operator in architecture.operators]
        half = (len(operators) + 1) // 2
        sizes = _sizes(architecture, cost)
        places = [
            np.searchsorted(column, size) / len(column) for column, size in zip(self._sizes.T, sizes, strict=True)
        ]
        return np.array([*_shares(operators[:half]), *_shares(operators[half:]), *places])


def _sizes(architecture: Architecture, cost: Cost) -> tuple[float, float, float]:
    return cost["macs"], cost["parameters"], len(architecture.operators)


def _shares(operators: Sequence[object]) -> list[float]:
    """Return how often involution stands, and the means of what operators of either kind are like."""
    inside = [one for one in operators if isinstance(one, Involution)]
    outside = [one for one in operators if isinstance(one, Convolution)]
    return [
        len(inside) / max(len(operators), 1),
        *(
            _mean([getattr(one, name) for one in inside])
            for name in ("kernel_size", "group_channels", "reduction_ratio")
        ),
        *(_mean([getattr(one, name) for one in outside]) for name in ("kernel_size", "groups")),
    ]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else 0.0
