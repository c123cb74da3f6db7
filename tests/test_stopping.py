"""Where trainings are judged, and what a stopper refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.errors import BadInput
from invnas.experiment import Experiment, Recipe
from invnas.stopping import Halving, Rungs, rungs_of


@pytest.mark.parametrize(
    ("epochs", "args", "expected"),
    [
        (2, {"eta": 2}, (1,)),
        (3, {"eta": 2}, (1, 2)),
        (3, {"eta": 3}, (1,)),
        (5, {"eta": 2}, (1, 3)),
        (7, {"eta": 2}, (1, 2, 4)),
        (8, {"eta": 2}, (1, 2, 4)),
        (8, {"eta": 3}, (1, 3)),
        (8, {"eta": 16}, (1,)),
        (8, {"eta": 2, "first": 2}, (2, 4)),
        (8, {"eta": 2, "first": 3}, (4,)),
        (8, {"eta": 2, "first": 4}, (4,)),
        (30, {"eta": 3}, (1, 3, 10)),
        (27, {"eta": 3}, (1, 3, 9)),
        (300, {"eta": 4, "first": 10}, (19, 75)),
    ],
)
def test_rungs(epochs: int, args: dict[str, int], expected: tuple[int, ...]) -> None:
    assert Halving(**{"first": 1, **args}).rungs(epochs).epochs == expected


@given(epochs=st.integers(2, 2000), eta=st.integers(2, 4))
def test_rungs_rise_and_lie_next_to_the_powers(epochs: int, eta: int) -> None:
    found = Halving(eta=eta, first=1).rungs(epochs).epochs
    assert found[0] == 1 or epochs / eta ** (len(found) + 1) < 0.5  # there is no room for an earlier one
    for k, rung in enumerate(reversed(found), start=1):
        assert abs(rung - epochs / eta**k) <= 0.5
    assert list(found) == sorted(set(found))
    assert found[-1] < epochs


def test_images_are_those_of_the_settings() -> None:
    assert Halving(images=7).rungs(4) == Rungs((1,), 7)
    assert rungs_of("halving", {"images": 0, "eta": 2}, 4) == Rungs((1, 2), 0)


def test_without_a_stopper_nothing_is_judged_and_a_scheduler_judges_every_epoch() -> None:
    assert rungs_of("none", {}, 9) == Rungs()
    assert rungs_of("ray.tune.schedulers.ASHAScheduler", {"metric": "top1"}, 4).epochs == (1, 2, 3)
    assert rungs_of("ray.tune.schedulers.ASHAScheduler", {}, 1).epochs == ()


def test_an_experiment_knows_its_rungs() -> None:
    asked = Experiment(recipe=Recipe(epochs=9), stopper="halving", stopper_args={"eta": 3})
    assert asked.rungs.epochs == (1, 3)
    assert Experiment.from_dict(asked.to_dict()) == asked
    assert Experiment().rungs == Rungs()


def test_a_stopper_with_a_dot_is_a_scheduler_of_tune() -> None:
    path = "ray.tune.schedulers.ASHAScheduler"
    assert Experiment(stopper=path, engine="ray").tune_scheduler == path
    assert [Experiment(stopper=name).tune_scheduler for name in ("none", "halving")] == [None, None]


@pytest.mark.parametrize(
    ("stopper", "args", "words"),
    [
        ("halvin", {}, ["unknown stopper 'halvin'", "nearest: 'halving'", "class path"]),
        ("", {}, ["unknown stopper ''", "class path"]),
        ("none", {"eta": 2}, ["the stopper none has no argument 'eta'", "it takes none"]),
        ("halving", {"etta": 2}, ["the stopper halving has no argument 'etta'", "nearest: 'eta'"]),
        ("halving", {"eta": 1}, ["`stopper_args.eta` must be at least 2, but got 1"]),
        ("halving", {"eta": 2.5}, ["`stopper_args.eta`", "2.5"]),
        ("halving", {"eta": "many"}, ["`stopper_args.eta`", "'many'"]),
        ("halving", {"first": 0}, ["`stopper_args.first` must be at least 1, but got 0"]),
        ("halving", {"images": -1}, ["`stopper_args.images` must be at least 0, but got -1"]),
        ("halving", {"eta": 17}, ["no epoch to judge at", "recipe.epochs is 8", "eta is 17"]),
        ("halving", {"first": 5}, ["no epoch to judge at", "recipe.epochs is 8", "eta is 4", "first is 5"]),
    ],
)
def test_bad_stopper(stopper: str, args: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        Experiment(recipe=Recipe(epochs=8), stopper=stopper, stopper_args=args)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert ". " not in str(error.value)


def test_one_epoch_cannot_be_halved() -> None:
    with pytest.raises(BadInput, match=r"no epoch to judge at: recipe\.epochs is 1"):
        Experiment(recipe=Recipe(epochs=1), stopper="halving")
