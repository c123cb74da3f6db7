from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search.cheap import ONE_POINT, SMALL, SMALL_VALID, price

from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Stage
from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.errors import BadInput, InvalidArchitecture
from invnas.measurement import Cost
from invnas.space import Space, load_space
from invnas.space_check import check_space, ends_of, smallest


def own(tmp_path: Path, source: str) -> Space:
    path = tmp_path / "own.py"
    path.write_text(source)
    return load_space(path)


def test_smallest_of_a_small_space_is_exact(tmp_path: Path) -> None:
    space = own(tmp_path, SMALL)
    decisions, architecture, cost = smallest(space, price)
    assert cost.macs == min(price(found).macs for _, found in space.enumerate())
    assert space.architecture(decisions) == architecture


@pytest.mark.parametrize("name", ["digits", "hybrid_cifar"])
def test_descent_finds_the_smallest_of_a_large_space(name: str) -> None:
    """Every part as small as it can be alone is the smallest whole here; no draw is smaller."""
    space = load_space(name)
    for key in (lambda cost: cost.macs, lambda cost: cost.parameters):
        least = {key(smallest(space, price, seed, key)[2]) for seed in range(3)}
        assert len(least) == 1
        rng = random.Random(0)
        assert min(key(price(space.sample(rng)[1])) for _ in range(300)) >= least.pop()


def test_smallest_of_a_single_point(tmp_path: Path) -> None:
    space = own(tmp_path, ONE_POINT)
    assert smallest(space, price)[1] == next(space.enumerate())[1]
    check = check_space(space, price)
    assert check.macs.minimum == check.macs.median == check.macs.maximum


def test_architectures_that_the_pricing_refuses_are_no_candidates(tmp_path: Path) -> None:
    def picky(architecture: Architecture) -> Cost:
        cost = price(architecture)
        if cost.macs < 100_000:
            raise InvalidArchitecture("the map is too small")
        return cost

    space = own(tmp_path, SMALL)
    assert smallest(space, picky)[2].macs >= 100_000
    assert check_space(space, picky).reasons["the map is too small"] > 0


def test_nothing_valid_says_why() -> None:
    block = Bottleneck(Convolution(3, groups=Choice(4, 5)), expansion=1)
    space = Space(HybridNet(PlainStem(8, 3, 1, False), [Stage(6, (block,))]), name="mine")
    for look in (smallest, check_space):
        with pytest.raises(BadInput, match=r"no architecture of the space mine is valid: `groups` must divide"):
            look(space, price)


def test_check_of_a_small_space_is_exact(tmp_path: Path) -> None:
    space = own(tmp_path, SMALL)
    costs = [price(found) for _, found in space.enumerate()]
    cap = sorted(cost.macs for cost in costs)[SMALL_VALID // 2]
    check = check_space(space, price, Caps.of(macs=cap))
    assert (check.size, check.drawn, check.exact) == (36, 36, True)
    assert check.valid_share == SMALL_VALID / 36
    assert check.reasons == {"`groups` must divide the channels, but got groups=N and N channels": 4}
    assert (check.macs.minimum, check.macs.maximum) == (min(c.macs for c in costs), max(c.macs for c in costs))
    assert check.kept_share == sum(cost.macs <= cap for cost in costs) / len(costs)
    assert json.loads(json.dumps(check.to_dict()))["parameters"]["maximum"] == max(cost.parameters for cost in costs)


def test_check_of_a_large_space_draws(tmp_path: Path) -> None:
    check = check_space(load_space("digits"), price, draws=300)
    assert (check.drawn, check.exact, check.kept_share) == (300, False, None)
    assert 0.5 < check.valid_share < 1
    assert check.macs.minimum <= check.macs.median <= check.macs.maximum
    assert check == check_space(load_space("digits"), price, draws=300)


costs = st.builds(Cost.counted, *[st.integers(1, 10**9)] * 3)
limits = st.none() | st.integers(1, 10**9)


@settings(max_examples=50)
@given(costs, limits, limits)
def test_caps_refuse_exactly_what_exceeds_them(cost: Cost, max_macs: int | None, max_parameters: int | None) -> None:
    caps = Caps.of(macs=max_macs, parameters=max_parameters)
    over = (max_macs is not None and cost.macs > max_macs) or (
        max_parameters is not None and cost.parameters > max_parameters
    )
    assert (caps.reason(cost) is not None) == over == (caps.excess(cost) > 1)
    assert bool(str(caps)) == (max_macs is not None or max_parameters is not None)


def test_ends_of_a_small_space_are_exact_and_those_of_a_large_one_hold_its_draws(tmp_path: Path) -> None:
    space = own(tmp_path, SMALL)
    costs = [price(found) for _, found in space.enumerate()]
    macs = [cost.macs for cost in costs]
    parameters = [cost.parameters for cost in costs]
    expected = {"macs": (max(macs), min(macs)), "parameters": (max(parameters), min(parameters))}
    assert ends_of(space, price, ("macs", "parameters")) == expected
    digits, rng = load_space("digits"), random.Random(0)
    (worst, best) = ends_of(digits, price, ("macs",))["macs"]
    assert all(best <= price(digits.sample(rng)[1]).macs <= worst for _ in range(100))
    assert ends_of(digits, price, ("macs",)) == {"macs": (worst, best)}


@pytest.mark.parametrize("cap", [0, -5, 0.5])
def test_what_exceeds_a_cap_of_any_sign_more_is_farther_from_it(cap: float) -> None:
    excess = [Caps.of(price=cap).excess(Cost({"price": cap + more})) for more in (-3, 0, 1, 2, 30)]
    assert excess == sorted(excess)
    assert [one > 1 for one in excess] == [False, False, True, True, True]
