from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.latency.predictor import fitted, telling


def tables(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([np.ones(n), rng.uniform(1, 9, (n, 3)), rng.uniform(1e6, 9e6, n), np.zeros(n)])


@given(st.integers(0, 99))
def test_rates_without_noise_are_found(seed: int) -> None:
    rates = np.array([0.3, 0.1, 0.0, 0.2, 1e-7, 0.0])
    rows = tables(16, seed)
    found = fitted(rows, list(rows @ rates))
    assert found.error < 0.02
    assert found.networks == 16
    new = tables(8, seed + 1)
    assert [found(row) for row in new] == pytest.approx(list(new @ rates), rel=0.05)


def test_the_error_is_that_of_what_was_not_seen() -> None:
    rng, rows = np.random.default_rng(0), tables(60, 0)
    times = rows @ np.array([0.3, 0.1, 0.2, 0.2, 1e-7, 0.0]) * np.exp(rng.normal(0, 0.1, 60))
    assert fitted(rows, list(times)).error == pytest.approx(0.1, rel=0.35)


def test_a_bad_timing_moves_little() -> None:
    rates, rows = np.array([0.3, 0.1, 0.2, 0.2, 1e-7, 0.0]), tables(20, 3)
    times = rows @ rates
    times[4] *= 3
    assert [fitted(rows, list(times))(row) for row in rows] == pytest.approx(list(rows @ rates), rel=0.15)


@pytest.mark.parametrize("n", [2, 3])
def test_few_networks_foretell_something_positive(n: int) -> None:
    rows = tables(n, 0)
    assert fitted(rows, [1.0] * n)(rows[0]) > 0
    assert fitted(rows, [1.0] * n)(np.zeros(6)) > 0


def test_the_most_telling_rows_are_different_ones_and_cover_each_column() -> None:
    rows = np.zeros((30, 4))
    rows[:, 0] = 1
    rows[5, 1] = rows[17, 2] = rows[29, 3] = 5
    assert {5, 17, 29} < set(telling(rows, 4))
    assert sorted(telling(rows, 99)) == list(range(30))
    assert telling(rows[:1], 3) == [0]
