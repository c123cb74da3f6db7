"""What a space says of its architectures beside choices and costs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search.cheap import CheapEngine, go, make_run
from torch import nn

from invnas import Choice, Space
from invnas.architecture import Architecture, HybridNet
from invnas.bench import Answer, Pool, replay
from invnas.caps import Caps
from invnas.cost import pricer
from invnas.errors import BadInput, InvalidArchitecture
from invnas.experiment import Experiment
from invnas.measurement import Cost, Measurement, Trial
from invnas.run import Run
from invnas.search.believe import believe
from invnas.search.references import references
from invnas.space_check import check_space

LINKS = 12


@dataclass(frozen=True)
class Chain:
    links: tuple[int, ...]

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))


def longest(chain: Chain) -> int:
    """Return how many links follow each other as 0, 1, 2, 0 do, at most: no count of options says that."""
    fits = [b == (a + 1) % 3 for a, b in itertools.pairwise(chain.links)]
    return 1 + max(len(list(run)) if fit else 0 for fit, run in itertools.groupby(fits))


def runs(chain: Chain) -> dict[str, float]:
    return {"longest": longest(chain)}


PLAIN = Space(Chain(tuple(Choice(0, 1, 2) for _ in range(LINKS))), name="chains")  # type: ignore[arg-type]
TOLD = replace(PLAIN, traits=runs)
FIRST = Architecture(Chain((0, 1, 2) * (LINKS // 3)))


def price(architecture: Architecture) -> Cost:
    return Cost.counted(1000 + sum(architecture.network.links), 10, 10)


def answer(architecture: Architecture) -> Answer:
    return price(architecture), Measurement({"top1": longest(architecture.network) / (LINKS + 1)})


def test_a_price_has_them_beside_the_costs() -> None:
    assert TOLD.priced(price)(FIRST) == Cost({**price(FIRST).values, "trait_longest": float(LINKS)})
    assert PLAIN.priced(price) is price


@given(st.dictionaries(st.text(min_size=1), st.floats(1e-300, 1e300) | st.integers(1, 10**300), max_size=4))
def test_any_positive_numbers_by_name_are_taken(numbers: dict[str, float]) -> None:
    found = replace(PLAIN, traits=lambda chain: numbers).priced(price)(FIRST)
    assert found.values == {
        **price(FIRST).values,
        **{f"trait_{name}": float(number) for name, number in numbers.items()},
    }


def test_one_that_is_called_as_an_objective_is_neither_that_nor_a_cost() -> None:
    space = replace(PLAIN, traits=lambda chain: {"top1": 3, "macs": 5})
    found = replay(space, answer, "known-cost", 14)
    assert [measured.top1 for _, measured in found] == [answer(one)[1].top1 for one, _ in found]
    assert space.priced(price)(FIRST).macs == price(FIRST).macs


WRONG: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "zero": (lambda chain: {"depth": 0}, r"`depth` is 0; add 1 to what may be 0$"),
    "less": (lambda chain: {"depth": -1.5}, r"`depth` is -1\.5"),
    "no number": (lambda chain: {"depth": "deep"}, r"`depth` is 'deep'"),
    "nan": (lambda chain: {"depth": math.nan}, r"`depth` is nan"),
    "infinite": (lambda chain: {"depth": math.inf}, r"`depth` is inf"),
    "complex": (lambda chain: {"depth": 1j}, r"`depth` is 1j"),
    "no mapping": (lambda chain: [1.0], r"numbers by name, such as \{'depth': 4\}, but returned \[1\.0\]$"),
    "nothing": (lambda chain: None, r"but returned None$"),
    "no name": (lambda chain: {3: 1.0}, r"but returned \{3: 1\.0\}$"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_trait_is_refused_in_one_sentence(what: str) -> None:
    traits, said = WRONG[what]
    with pytest.raises(BadInput, match=rf"^the traits `<lambda>` must return .*{said}"):
        replace(PLAIN, traits=traits).priced(price)(FIRST)


def test_a_number_beyond_all_floats_is_refused() -> None:
    with pytest.raises(BadInput, match="must return positive numbers"):
        replace(PLAIN, traits=lambda chain: {"ways": 10**400}).priced(price)(FIRST)


def test_names_that_change_are_refused() -> None:
    priced = replace(PLAIN, traits=lambda chain: {f"ends in {chain.links[-1]}": 1}).priced(price)
    priced(FIRST)
    with pytest.raises(
        BadInput, match=r"the same names for every architecture, but returned ends in 0 after ends in 2"
    ):
        priced(Architecture(Chain((0,) * LINKS)))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(
        BadInput, match=r"^`traits` of a space must be a function of the network, but got \{'depth': 4\}"
    ):
        replace(PLAIN, traits={"depth": 4})  # type: ignore[arg-type]


def test_one_that_raises_refuses_that_architecture_alone() -> None:
    def few(chain: Chain) -> dict[str, float]:
        return {"share": 1 / (LINKS - longest(chain))}

    space = replace(PLAIN, traits=few)
    with pytest.raises(InvalidArchitecture, match=r"^the traits `few` raised ZeroDivisionError: division by zero"):
        space.priced(price)(FIRST)
    found = replay(space, answer, "known-cost", 30)
    assert len(found) == 30
    assert all(longest(one.network) < LINKS for one, _ in found)


def test_a_space_is_checked_with_them() -> None:
    def wrong(chain: Chain) -> dict[str, float]:
        return {"zeros": chain.links.count(0)}

    with pytest.raises(BadInput, match="add 1 to what may be 0"):
        check_space(replace(PLAIN, traits=wrong), price)
    rare = check_space(replace(PLAIN, traits=lambda chain: {"ok": 1 // (chain.links[0] != 2)}), price)
    assert rare.valid_share == pytest.approx(2 / 3, abs=0.05)


def test_a_pool_has_those_of_its_space() -> None:
    held = [TOLD.sample(random.Random(seed))[1] for seed in range(5)]
    assert Pool.of(TOLD, held).traits is runs


def test_known_cost_finds_by_them_what_no_count_of_options_says() -> None:
    def best(space: Space, seed: int) -> float:
        return max(measured.top1 for _, measured in replay(space, answer, "known-cost", 30, seed))

    told, plain = (np.mean([best(space, seed) for seed in range(4)]) for space in (TOLD, PLAIN))
    assert told > plain + 1 / (LINKS + 1)


def test_what_is_believed_is_believed_by_them() -> None:
    found = replay(PLAIN, answer, "random", 60)

    def rank(space: Space) -> float:
        cost = space.priced(price)
        trials = [
            Trial(i, one, space.decisions(one) or {}, cost(one), "complete", measured, seed=0)
            for i, (one, measured) in enumerate(found)
        ]
        correlation = believe(trials, Experiment().axes).rank["top1"]
        return 0.0 if correlation is None else correlation

    assert rank(TOLD) > max(rank(PLAIN), 0.9)


FILE = """
from dataclasses import dataclass
from torch import nn
from invnas import Choice, Space

@dataclass(frozen=True)
class Wide:
    width: int
    def build(self, input_shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, classes))

space = Space(Wide(Choice(4, 8, 12, 16)), traits=lambda network: {"half": network.width / 2})
"""


def test_a_run_keeps_them_with_its_space(tmp_path: Path) -> None:
    file = tmp_path / "wide.py"
    file.write_text(FILE)
    run = make_run(tmp_path, str(file), sampler="known-cost", trials=3)
    with run.locked():
        go(run, CheapEngine(outcome=lambda job: Measurement({"top1": 0.5, "loss": 1.0})), price=pricer((1, 8, 8), 10))
    again = Run.open(run.folder)
    assert [trial.cost["trait_half"] for trial in again.trials()] == [
        trial.architecture.network.width / 2 for trial in again.trials()
    ]
    assert again.space.traits is not None


def test_networks_from_elsewhere_have_none(tmp_path: Path) -> None:
    def depth(network: HybridNet) -> dict[str, float]:
        return {"blocks": sum(len(stage.blocks) for stage in network.stages)}

    run, cost = make_run(tmp_path, "digits", trials=12, sampler="branch-uniform"), pricer((1, 8, 8), 10)
    with run.locked():
        go(run, CheapEngine(), price=cost)
    space = replace(run.space, traits=depth)
    known = references(space, run.trials(), run.experiment.axes, cost, Caps(), 0)
    assert {bool(one.decisions) for one in known} == {True, False}
    assert all(("trait_blocks" in one.cost) == bool(one.decisions) for one in known)
