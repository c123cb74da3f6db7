from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from invnas.search import surrogate as module
from invnas.search.surrogate import Data, Setting, Surrogate

pytestmark = pytest.mark.usefixtures("one_thread")
GROUPS = np.array([0, 0, 1, 1, 2, 2, 3])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """More threads wait for each other longer than such small matrices take."""
    with threadpool_limits(1, "blas"):
        yield


def drawn(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (number, len(GROUPS))).astype(float)


def data(rows: np.ndarray, values: np.ndarray, source: int = 0, rough: bool = False) -> Data:
    return Data(rows, values, np.full(len(rows), source), np.full(len(rows), rough))


def both(one: Data, other: Data) -> Data:
    return Data(*(np.concatenate([getattr(part, name) for part in (one, other)]) for name in vars(one)))


def linear(rows: np.ndarray) -> np.ndarray:
    return rows @ np.linspace(-1, 1, len(GROUPS)) + 5


def believed(seen: Data, setting: Setting | None = None) -> module.Posterior:
    surrogate = Surrogate(GROUPS, drawn(200, 9))
    return surrogate.condition(setting or surrogate.choose(seen), seen)


@pytest.mark.parametrize("number", [1, 2, 4, 19, 20, 60])
def test_the_mean_comes_near_and_the_truth_lies_within_the_band(number: int) -> None:
    rng, rows, new = np.random.default_rng(1), drawn(number), drawn(300, 5)
    posterior = believed(data(rows, linear(rows) + 0.05 * rng.normal(size=number)))
    mean, deviation = posterior.predict(new)
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()
    if number >= 19:
        assert np.corrcoef(mean, linear(new))[0, 1] > 0.97
        assert (abs(mean - linear(new)) < 2 * deviation + 0.05).mean() > 0.7


def test_interactions_are_learned_beyond_what_is_linear() -> None:
    rows, new = drawn(100), drawn(200, 3)
    truth = lambda x: (x[:, 0] - 1) * (x[:, 2] - 1)  # noqa: E731
    seen = data(rows, truth(rows))
    chosen = Surrogate(GROUPS, drawn(200, 9)).choose(seen)
    assert chosen.mix[0] < 1
    assert np.corrcoef(believed(seen).predict(new)[0], truth(new))[0, 1] > 0.7
    ridge = believed(seen, Setting())
    assert abs(np.corrcoef(ridge.predict(new)[0], truth(new))[0, 1]) < 0.5


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_values_are_believed_everywhere(value: float) -> None:
    mean, deviation = believed(data(drawn(25), np.full(25, value))).predict(drawn(9, 4))
    assert mean == pytest.approx(np.full(9, value))
    assert np.isfinite(deviation).all()


def test_a_repeated_row_is_no_trouble() -> None:
    rows = np.repeat(drawn(1), 30, axis=0)
    mean, _ = believed(data(rows, np.linspace(0, 1, 30))).predict(rows[:1])
    assert mean == pytest.approx([0.5], abs=0.02)


@pytest.mark.parametrize("rough", [False, True])
def test_the_linear_part_is_the_same_in_both_spaces(rough: bool) -> None:
    """Weights of features and weights of observations say the same: one is the other's slow truth."""
    rows = drawn(60)
    seen = both(data(rows[:40], linear(rows[:40])), data(rows[40:], linear(rows[40:]) + 3, source=1, rough=rough))
    setting, new = Setting(noise=0.3, variance=2.0), drawn(20, 8)
    surrogate = Surrogate(GROUPS, drawn(200, 9))
    mapped = surrogate.mapped(seen.rows, setting.profile)
    there = [part(mapped, setting, seen).predict(surrogate.mapped(new, setting.profile)) for part in
             (module._Linear, module._Process)]  # fmt: skip
    for one, other in zip(*there, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


def test_believing_a_candidate_keeps_the_mean_and_narrows_the_band() -> None:
    rows, new = drawn(40), drawn(5, 7)
    posterior = believed(data(rows, linear(rows)), Setting(mix=(0.7, 0.7)))
    surer = posterior.believing(new)
    assert surer.predict(new)[0] == pytest.approx(posterior.predict(new)[0], abs=1e-3)
    assert (surer.predict(new)[1] < posterior.predict(new)[1]).all()
    assert posterior.believing(new[:0]) is posterior


def test_another_source_helps_whatever_its_constant_and_counts_less() -> None:
    """Other images are easier by a constant, and rank a little otherwise."""
    rng, rows, new = np.random.default_rng(0), drawn(86), drawn(200, 3)
    truth = linear(rows)
    few = data(rows[:6], truth[:6])
    elsewhere = data(rows[6:], truth[6:] + 40 + 0.3 * rng.normal(size=80), source=1, rough=True)
    helped, alone = believed(both(few, elsewhere)), believed(few)
    error = [abs(posterior.predict(new)[0] - linear(new)).mean() for posterior in (helped, alone)]
    assert error[0] < 0.5 * error[1]
    noisy = data(rows[6:], 10 * rng.normal(size=80), source=1, rough=True)
    assert Surrogate(GROUPS, drawn(200, 9)).choose(both(data(rows[:40], truth[:40]), noisy[40:])).second == 30.0


def test_the_same_data_choose_the_same_and_long_ones_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn(120)
    seen = data(rows, linear(rows))
    surrogate = Surrogate(GROUPS, drawn(200, 9))
    assert surrogate.choose(seen) == surrogate.choose(seen)
    monkeypatch.setattr(module, "JUDGED", 40)
    assert surrogate.choose(seen) == surrogate.choose(seen[np.linspace(0, 119, 40).astype(int)])
    monkeypatch.setattr(module, "MANY", 100)
    assert surrogate.choose(seen).mix[0] == 1
    assert isinstance(surrogate.condition(surrogate.choose(seen), seen)._weights, module._Linear)


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**-30, 2.0**100])
@pytest.mark.parametrize("number", [10, 60])
def test_the_unit_of_the_values_changes_nothing(unit: float, number: int) -> None:
    rows = drawn(number)
    values = linear(rows) + 0.3 * np.random.default_rng(2).normal(size=number)
    plain, scaled = believed(data(rows, values)), believed(data(rows, values * unit))
    for one, other in zip(plain.predict(drawn(9, 4)), scaled.predict(drawn(9, 4)), strict=True):
        assert (other / unit).tolist() == one.tolist()
