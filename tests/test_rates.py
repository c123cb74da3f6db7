"""From losses at rising rates to one rate."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.rates import SHARE, RateSearch, Sweep


def sweep(rates: list[float], losses: list[float]) -> Sweep:
    return Sweep("f", 10, tuple(rates), tuple(losses))


def test_a_single_step_is_its_own_valley() -> None:
    assert sweep([0.3], [2.0]).lowest == 0.3
    found = RateSearch((sweep([0.3], [2.0]),))
    assert found.rate == 0.1
    assert found.words == "the loss of one architecture is smallest at a rate of 0.3; a third of it is 0.1"


def test_the_bottom_of_a_valley_is_found_among_noise() -> None:
    rates = [10 ** (-4 + 5 * i / 119) for i in range(120)]
    losses = [abs(math.log10(rate) + 1) + (0.4 if i % 2 else 0.0) for i, rate in enumerate(rates)]
    losses[20] = 0.0  # one lucky batch
    assert math.log10(sweep(rates, losses).lowest) == pytest.approx(-1, abs=0.15)


@given(st.lists(st.floats(-6, 1), min_size=1, max_size=5))
def test_the_rate_is_a_third_of_the_mean_of_logarithms(exponents: list[float]) -> None:
    found = RateSearch(tuple(sweep([10**one], [1.0]) for one in exponents))
    assert found.rate == pytest.approx(SHARE * 10 ** (sum(exponents) / len(exponents)), rel=0.06)
    assert RateSearch.from_dict(json.loads(json.dumps(found.to_dict()))).rate == found.rate
    assert f"{found.rate:g}" in found.words
