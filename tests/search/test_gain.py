from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.objective import Objective
from invnas.pareto import Box, hypervolume
from invnas.search.gain import expected_gain, free_boxes

AXES = [Objective(name, name, name, "maximize", "number", log=False) for name in "abc"]
shapes = given(seed=st.integers(0, 10**6), points=st.integers(0, 12), axes=st.integers(2, 3))


def drawn(seed: int, points: int, axes: int) -> np.ndarray:
    """Return points in the unit cube, some of them equal in an axis, some on its edge."""
    return np.random.default_rng(seed).integers(0, 7, size=(points, axes)) / 6


def volume(points: np.ndarray, worst: float = 0.0) -> float:
    axes = points.shape[1]
    return hypervolume(points, AXES[:axes], Box((worst,) * axes, (1.0,) * axes))


def added(points: np.ndarray, one: np.ndarray) -> float:
    return volume(np.vstack([points, one[None]])) - volume(points)


@shapes
@settings(deadline=None, max_examples=80)
def test_boxes_do_not_overlap_and_with_the_front_they_fill_everything(seed: int, points: int, axes: int) -> None:
    front = drawn(seed, points, axes)
    boxes = free_boxes(front, np.zeros(axes))
    sizes = np.clip(np.minimum(boxes.high, 1.0) - boxes.low, 0, None).prod(axis=1)
    assert sizes.sum() + volume(front) == pytest.approx(1.0)
    assert len(boxes.low) <= 2 * points + 1
    middles = (boxes.low + np.minimum(boxes.high, boxes.low + 0.01)) / 2
    for middle in middles:
        assert ((middle >= boxes.low) & (middle < boxes.high)).all(axis=1).sum() == 1
        assert not (front >= middle).all(axis=1).any()


@shapes
@settings(deadline=None, max_examples=80)
def test_the_gain_of_what_is_known_is_the_hypervolume_it_adds(seed: int, points: int, axes: int) -> None:
    front, many = drawn(seed, points, axes), np.random.default_rng(seed + 1).uniform(0, 1, (5, axes))
    found = expected_gain(many, np.zeros((5, axes)), free_boxes(front, np.zeros(axes)))
    assert found == pytest.approx([added(front, one) for one in many], abs=1e-9)


@pytest.mark.parametrize("learned", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_expected_gain_is_the_mean_of_many_draws(axes: int, learned: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(learned))
    front = rng.uniform(0.1, 0.6, (8, axes))
    mean = rng.uniform(0.3, 0.7, (2, axes))
    deviation = np.zeros((2, axes))
    deviation[:, [axis for axis in learned if axis < axes]] = 0.08
    found = expected_gain(mean, deviation, free_boxes(front, np.zeros(axes)))
    for i in range(2):
        draws = mean[i] + deviation[i] * rng.normal(size=(700, axes))
        gains = [added(front, one) for one in draws]
        assert found[i] == pytest.approx(np.mean(gains), abs=5 * np.std(gains) / np.sqrt(len(gains)) + 1e-9)


def test_what_is_worse_than_the_floor_gains_nothing_and_a_cheaper_one_gains() -> None:
    boxes = free_boxes(np.array([[0.5, -2.0]]), np.array([0.2, -3.0]))
    found = expected_gain(np.array([[0.1, -1.0], [0.3, -1.0], [0.4, -2.5]]), np.zeros((3, 2)), boxes)
    assert found == pytest.approx([0, 0.1, 0])


@pytest.mark.parametrize("unit", [2.0**-100, 2.0**100])
def test_the_unit_of_what_is_learned_scales_the_gain_alone(unit: float) -> None:
    rng = np.random.default_rng(3)
    front, mean, scale = rng.uniform(0, 1, (6, 2)), rng.uniform(0, 1, (20, 2)), np.array([unit, 1.0])
    deviation = np.column_stack([np.where(np.arange(20) % 4, 0.1, 0.0), np.zeros(20)])  # some are sure
    plain = expected_gain(mean, deviation, free_boxes(front, np.zeros(2)))
    scaled = expected_gain(mean * scale, deviation * scale, free_boxes(front * scale, np.zeros(2)))
    assert scaled / unit == pytest.approx(plain, rel=1e-12)
    assert plain[::4] == pytest.approx([added(front, one) for one in mean[::4]], abs=1e-12)
