"""The shipped ablation: which networks it holds, and that a random search trains each of them once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from search.cheap import CheapEngine, make_run

from invnas.architecture import Architecture, Convolution, Involution
from invnas.cost import cost, pricer
from invnas.measurement import Measurement, Trial
from invnas.nn import Involution2d, build
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.space import load_space

CIFAR: tuple[tuple[int, int, int], int] = ((3, 32, 32), 10)
MIDDLES = (32, 64, 128)
ROWS = [
    Convolution(3),
    *(Involution(size, 16, 4) for size in (3, 5, 7, 9)),
    *(Involution(7, channels, 4) for channels in (1, 4)),
    *(Involution(7, 16, ratio) for ratio in (None, 1, 16)),
]


def architectures() -> list[Architecture]:
    return [architecture for _, architecture in load_space("ablation").enumerate()]


def operators(architecture: Architecture) -> tuple[Any, ...]:
    return tuple(operator for _, operator in architecture.operators)


def test_eleven_valid_networks_that_differ_in_the_operator_alone() -> None:
    space, found = load_space("ablation"), architectures()
    assert space.size == len({architecture.fingerprint for architecture in found}) == 11
    one_group = tuple(Involution(7, channels, 4) for channels in MIDDLES)
    assert {operators(architecture) for architecture in found} == {*((row,) * 3 for row in ROWS), one_group}
    for architecture in found:
        architecture.check()
        stages = architecture.network.stages
        assert [stage.width // block.expansion for stage in stages for block in stage.blocks] == list(MIDDLES)
    assert len({architecture.network.stem for architecture in found}) == 1


def test_the_last_of_the_groups_is_one_group_in_each_block() -> None:
    (found,) = [a for a in architectures() if len(set(operators(a))) > 1]
    layers = [module for module in build(found, *CIFAR).modules() if isinstance(module, Involution2d)]
    assert [(layer.groups, layer.kernel_size) for layer in layers] == [(1, 7)] * 3


@pytest.mark.parametrize("convention", ["macs", "published"])
def test_costs_are_ordered_as_in_the_paper(convention: str) -> None:
    prices = {operators(a)[-1]: cost(a, *CIFAR, convention) for a in architectures()}

    def row(**setting: Any) -> tuple[int, int]:
        price = prices[dataclasses.replace(Involution(7, 16, 4), **setting)]
        return price.macs, price.parameters

    sizes = [row(kernel_size=size) for size in (3, 5, 7, 9)]
    groups = [row(group_channels=channels) for channels in (128, 16, 4, 1)]
    generators = [row(reduction_ratio=ratio) for ratio in (16, 4, None, 1)]
    for rising in (sizes, groups, generators):
        assert rising == sorted(rising)
        assert len(set(rising)) == 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_search_trains_each_network_once(seed: int, tmp_path: Path) -> None:
    def guessed(trial: Trial) -> Measurement:
        return Measurement({"top1": 0.1, "loss": 2.3})

    run, engine = make_run(tmp_path, "ablation", trials=11, seed=seed), CheapEngine(outcome=guessed)
    sampler = make_sampler(run.experiment, run.space, ())
    with run.locked():
        outcome = search(run.space, sampler, pricer(*CIFAR), engine, run, trials=11, objectives=run.experiment.axes)
    assert outcome.trained == 11
    assert len({trial.architecture.fingerprint for trial in run.trials()}) == 11


def test_the_experiment_is_found_by_name_and_asks_for_all(call: Callable[..., tuple[int, str, str]]) -> None:
    code, said, _ = call("search", "ablation", "--seed", "2", "--print_config")
    found = yaml.safe_load(said)
    assert code == 0
    assert (found["space"], found["trials"], found["seed"]) == ("ablation", load_space("ablation").size, 2)
    assert "ablation" in call("list")[1]
