"""What a candidate is expected to add to a front, in closed form, where some of its numbers are known exactly.

All numbers are gains: more is better. A candidate is an independent normal distribution along each axis, of deviation
zero where its number is exact. What the front leaves free is cut into boxes that are open upwards along the first axis;
the expected volume that a candidate covers of a box is a product over the axes, and the boxes add up.

Source: Yang et al., "Multi-Objective Bayesian Global Optimization using expected hypervolume improvement gradient",
2019 (boxes of the free region); Olofsson et al., "Bayesian multi-objective optimisation with mixed analytical and
black-box functions: application to tissue engineering", 2019, and BoTorch's `DeterministicModel` (some exact).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class Boxes:
    """The region that a front leaves free, in boxes that do not overlap.

    Attributes:
        low: (boxes, k) lower corners.
        high: (boxes, k) upper corners; infinite along the first axis, and beyond the best of the front along others.
    """

    low: np.ndarray
    high: np.ndarray


def free_boxes(points: np.ndarray, worst: np.ndarray) -> Boxes:
    """Cut what is better than `worst` and no point dominates into at most 2 n + 1 boxes.

    Args:
        points: (n, k) gains, k being 2 or 3; dominated ones may be among them.
        worst: (k,) the corner below which nothing counts.

    >>> boxes = free_boxes(np.array([[1.0, 2.0], [3.0, 1.0]]), np.zeros(2))
    >>> sorted(zip(boxes.low.tolist(), boxes.high.tolist()))
    [([0.0, 2.0], [inf, inf]), ([1.0, 1.0], [inf, 2.0]), ([3.0, 0.0], [inf, 1.0])]
    """
    k = len(worst)
    flat = k == 2  # a third axis along which everything reaches from 0 to 1 makes two axes a case of three
    if flat:
        points, worst = np.column_stack([points, np.ones(len(points))]), np.append(worst, 0.0)
    better = points[(points > worst).all(axis=1)]
    order = np.lexsort((-better[:, 2], -better[:, 1], -better[:, 0]))
    end = 1.0 if flat else math.inf
    shadow = _Shadow(float(worst[1]), float(worst[2]))
    boxes: list[tuple[float, ...]] = []
    for level, x, y in [*better[order].tolist(), (float(worst[0]), math.inf, end)]:
        # From the highest level down: a part of the plane belongs to the first point whose shadow falls on it.
        boxes += [(level, *rectangle) for rectangle in shadow.add(x, y)]
    table = np.array(boxes)
    low, high = table[:, [0, 1, 3]], np.column_stack([np.full(len(table), math.inf), table[:, 2], table[:, 4]])
    return Boxes(low[:, :k], high[:, :k])


class _Shadow:
    """The union of the rectangles from a corner to some points of a plane, as a falling staircase."""

    def __init__(self, left: float, bottom: float) -> None:
        self._left, self._bottom = left, bottom
        self._x: list[float] = []  # rising
        self._y: list[float] = []  # falling

    def add(self, x: float, y: float) -> list[tuple[float, float, float, float]]:
        """Take a point; return what it adds to the union as (left, right, bottom, top)."""
        end = bisect_right(self._x, x)
        start = end
        while start and self._y[start - 1] <= y:
            start -= 1
        if (end < len(self._x) and self._y[end] >= y) or (start and self._x[start - 1] == x):
            return []
        at = self._x[start - 1] if start else self._left
        added = []
        for i in range(start, end + 1):
            right = min(self._x[i], x) if i < len(self._x) else x
            bottom = self._y[i] if i < len(self._y) else self._bottom
            if right > at and y > bottom:
                added.append((at, right, bottom, y))
            at = right
        self._x[start:end], self._y[start:end] = [x], [y]
        return added


def expected_gain(mean: np.ndarray, deviation: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Return the expected volume that each of n candidates adds to a front.

    Args:
        mean: (n, k) gains.
        deviation: (n, k) standard deviations; an axis that is zero for all is exact.
        boxes: What the front leaves free.
    """
    volume = np.ones((len(mean), len(boxes.low)))
    for axis in range(mean.shape[1]):
        low, high = boxes.low[:, axis], boxes.high[:, axis]
        centre, spread = mean[:, axis, None], deviation[:, axis, None]
        if not spread.any():
            volume *= np.clip(np.minimum(centre, high) - low, 0.0, None)
        elif np.isinf(high).all():
            volume *= _expected_above(centre, spread, low)
        else:
            volume *= _expected_above(centre, spread, low) - _expected_above(centre, spread, high)
    found: np.ndarray = volume.sum(axis=1)
    return found


def _expected_above(mean: np.ndarray, deviation: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return E[max(U - level, 0)] of a normal U: what it is expected to exceed a level by."""
    spread = np.where(deviation > 0, deviation, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):  # nothing exceeds infinity; a square may
        z = (mean - level) / spread
        found = spread * (z * ndtr(z) + np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
        found = np.where(deviation > 0, found, mean - level)
    return np.where(np.isinf(level), 0.0, np.maximum(found, 0.0))
