from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from invnas.errors import BadInput
from invnas.objective import Objective
from invnas.pareto import Box, hypervolume
from invnas.search.in_optuna import KnownCostSampler

SPACE = {
    "depth": IntDistribution(1, 8),
    "width": IntDistribution(8, 256, log=True),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "kind": CategoricalDistribution(["plain", "gated", None]),
}
GAIN = Objective("value", "value", "Value", "maximize", "number", log=False)
PRICE = Objective("cost", "cost", "Cost", "minimize", "number")


def cost(params: dict[str, Any]) -> float:
    return 1e-9 * params["depth"] * params["width"] ** 2  # however small its unit is


def suggested(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "depth": trial.suggest_int("depth", 1, 8),
        "width": trial.suggest_int("width", 8, 256, log=True),
        "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        "kind": trial.suggest_categorical("kind", ["plain", "gated", None]),
    }


def accuracy(params: dict[str, Any]) -> float:
    gated = 1.3 if params["kind"] == "gated" else 1.0
    learned = 1 - math.exp(-0.3 * gated * math.log(params["depth"] * params["width"]))
    return learned - 0.02 * (math.log10(params["rate"]) + 2.3) ** 2


def objective(trial: optuna.Trial) -> tuple[float, float]:
    params = suggested(trial)
    return accuracy(params), cost(params)


def studied(sampler: Any, trials: int, asked: Callable[..., Any] = objective, ways: int = 2, **options: Any) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", *["minimize"] * (ways - 1)], sampler=sampler)
    study.optimize(asked, n_trials=trials, **options)
    return study


def share(study: optuna.Study, first: int) -> float:
    values = np.array([trial.values for trial in study.trials[:first]])
    return hypervolume(values, [GAIN, PRICE], Box((0.6, 1e-9 * 8 * 256**2), (1.0, 1e-9 * 64)))


def test_two_thirds_of_the_trials_do_more_than_those_of_tpe_and_random() -> None:
    for seed in range(3):
        ours = studied(KnownCostSampler(SPACE, cost, seed=seed), 40)
        for other in (optuna.samplers.TPESampler(seed=seed), optuna.samplers.RandomSampler(seed=seed)):
            assert share(ours, 40) > share(studied(other, 60), 60)
        assert len({str(trial.params) for trial in ours.trials}) == 40


def test_the_same_seed_suggests_the_same_also_to_a_sampler_that_comes_later() -> None:
    first = studied(KnownCostSampler(SPACE, cost, seed=3), 18)
    again = studied(KnownCostSampler(SPACE, cost, seed=3), 15)
    again.sampler = KnownCostSampler(SPACE, cost, seed=3)
    again.optimize(objective, n_trials=3)
    assert [trial.params for trial in again.trials] == [trial.params for trial in first.trials]


def test_caps_impossible_parameters_and_two_costs_are_exact() -> None:
    def two(params: dict[str, Any]) -> tuple[float, float]:
        return (math.nan if params["kind"] is None else cost(params)), float(params["depth"])

    def asked(trial: optuna.Trial) -> tuple[float, float, float]:
        params = suggested(trial)
        return (accuracy(params), *two(params))

    study = studied(KnownCostSampler(SPACE, two, max_cost=(1e-5, 4), log_cost=False), 20, asked, ways=3)
    assert all(trial.params["kind"] is not None for trial in study.trials)
    assert all(trial.values[1] <= 1e-5 and trial.values[2] <= 4 for trial in study.trials)


def test_failed_pruned_enqueued_and_parallel_trials_and_other_parameters() -> None:
    def asked(trial: optuna.Trial) -> tuple[float, float]:
        if trial.number % 7 == 3:
            raise ValueError("broken")
        trial.suggest_float("beside", 0, 1)
        return objective(trial)

    sampler = KnownCostSampler(SPACE, cost, start=4)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.enqueue_trial({"depth": 3, "width": 77, "rate": 0.0123, "kind": "plain"})
    study.enqueue_trial({"depth": 2})
    running = study.ask()
    study.optimize(asked, n_trials=20, catch=ValueError, n_jobs=2)
    study.tell(running, state=TrialState.FAIL)
    sampler.reseed_rng()
    study.optimize(asked, n_trials=2)
    assert all(0 <= t.params["beside"] <= 1 for t in study.trials if t.state == TrialState.COMPLETE)
    assert study.trials[0].params.get("width", 77) == 77


def test_threads_of_a_study_are_served_one_after_the_other() -> None:
    inside: list[int] = []
    most = 0

    def slow(params: dict[str, Any]) -> float:
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        time.sleep(1e-4)  # lets the other threads run
        inside.pop()
        return cost(params)

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=KnownCostSampler(SPACE, slow, start=4))
    study.optimize(objective, n_trials=16, n_jobs=4)
    assert most == 1
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_unit_of_what_is_learned_changes_nothing(unit: float) -> None:
    def scaled(trial: optuna.Trial) -> tuple[float, float]:
        value, price = objective(trial)
        return value * unit, price

    plain, other = (studied(KnownCostSampler(SPACE, cost, start=6), 14, asked) for asked in (objective, scaled))
    assert [trial.params for trial in other.trials] == [trial.params for trial in plain.trials]


@pytest.mark.parametrize("value", [-1e308, 1e308, -math.inf])
def test_values_that_stand_for_a_failure_are_not_modelled(value: float) -> None:
    def asked(trial: optuna.Trial) -> tuple[float, float]:
        found = objective(trial)
        return (value, found[1]) if trial.number % 3 == 1 else found

    study = studied(KnownCostSampler(SPACE, cost, start=4), 14, asked)
    assert len({str(trial.params) for trial in study.trials}) == 14


@pytest.mark.parametrize(
    ("price", "log"),
    [
        (lambda params: 0, True),
        (lambda params: 10.0 ** (70 * params["depth"] - 300), True),
        (lambda params: -cost(params), False),
        (lambda params: 10**400 if params["depth"] > 4 else params["depth"], True),
    ],
    ids=["nothing", "of all sizes", "negative", "beyond floats"],
)
def test_costs_of_any_size(price: Callable[[dict[str, Any]], float], log: bool) -> None:
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=KnownCostSampler(SPACE, price, start=4, log_cost=log)
    )
    study.optimize(lambda trial: (accuracy(suggested(trial)), 1.0), n_trials=14)
    assert len({str(trial.params) for trial in study.trials}) == 14
    assert all(price(trial.params) < 10**300 for trial in study.trials)


def test_what_is_far_cheaper_than_the_first_place_is_told_apart() -> None:
    """The first category is the dearest by far."""
    sizes = {"huge": 1e9, "large": 1e3, "small": 1e2, "tiny": 1e1}
    space = {"size": CategoricalDistribution(list(sizes)), "kind": IntDistribution(1, 12)}

    def asked(trial: optuna.Trial) -> tuple[float, float]:
        size, kind = trial.suggest_categorical("size", list(sizes)), trial.suggest_int("kind", 1, 12)
        return 0.5 + 0.01 * kind, sizes[size]

    sampler = KnownCostSampler(space, lambda params: sizes[params["size"]], start=6)
    assert studied(sampler, 12, asked).trials
    trials = studied(sampler, 20, asked).trials[6:]
    assert any(trial.params == {"size": "tiny", "kind": 12} for trial in trials)


@pytest.mark.parametrize("most", [3, 0, -2])
def test_a_space_that_is_searched_to_its_end_is_suggested_again_within_its_cap(most: int) -> None:
    space = {"step": IntDistribution(-4, 8)}

    def asked(trial: optuna.Trial) -> tuple[float, float]:
        step = trial.suggest_int("step", -4, 8)
        return float(step), float(step)

    sampler = KnownCostSampler(space, lambda params: params["step"], max_cost=most, log_cost=False, start=4)
    steps = [trial.params["step"] for trial in studied(sampler, 16, asked).trials]
    assert set(steps) == set(range(-4, most + 1))


def test_a_single_point_is_suggested_again_and_again() -> None:
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=KnownCostSampler({"a": IntDistribution(3, 3)}, lambda p: 1)
    )
    study.optimize(lambda trial: (trial.suggest_int("a", 3, 3), 1), n_trials=14)
    assert {trial.params["a"] for trial in study.trials} == {3}


def test_equal_categories_are_one() -> None:
    space = {"kind": CategoricalDistribution([1, True, "1"])}
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=KnownCostSampler(space, lambda p: 1))
    study.optimize(lambda trial: (trial.suggest_categorical("kind", [1, True, "1"]) == 1, 1), n_trials=4)
    assert {str(trial.params["kind"]) + type(trial.params["kind"]).__name__ for trial in study.trials} == {
        "1int",
        "1str",
    }


def test_a_pickled_sampler_goes_on_with_the_study() -> None:
    whole = studied(KnownCostSampler(SPACE, cost, seed=3, start=4), 12)
    study = studied(KnownCostSampler(SPACE, cost, seed=3, start=4), 9)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(objective, n_trials=3)
    assert [trial.params for trial in study.trials] == [trial.params for trial in whole.trials]
    copied = copy.deepcopy(study)
    copied.optimize(objective, n_trials=1)
    assert len(copied.trials) == 13


def test_another_study_begins_anew() -> None:
    sampler = KnownCostSampler(SPACE, cost, start=4)
    first, second = studied(sampler, 8), studied(sampler, 8)
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    with pytest.raises(BadInput, match="two or three objectives"):
        studied(sampler, 1, ways=1)


def test_what_runs_and_has_not_asked_for_all_it_was_given_is_not_suggested_again() -> None:
    study = studied(KnownCostSampler(SPACE, cost, start=4), 12)
    for _ in range(6):
        study.ask().suggest_int("depth", 1, 8)  # its thread is slow: the others are suggested already
    assert study.sampler._mind is not None
    given = [str(one) for number, one in study.sampler._suggested.items() if number >= 12]
    assert len(set(given)) == 6


def test_trials_of_other_categories_are_left_out() -> None:
    study = studied(KnownCostSampler(SPACE, cost, start=4), 12)
    assert any(trial.params["kind"] is None for trial in study.trials)
    narrow = {**SPACE, "kind": CategoricalDistribution(["plain", "gated"])}

    def asked(trial: optuna.Trial) -> tuple[float, float]:
        params = {name: trial._suggest(name, distribution) for name, distribution in narrow.items()}
        return accuracy(params), cost(params)

    other = optuna.create_study(directions=["maximize", "minimize"], sampler=KnownCostSampler(narrow, cost, start=4))
    other.add_trials(study.trials)
    other.optimize(asked, n_trials=2)
    assert {trial.params["kind"] for trial in other.trials[12:]} <= {"plain", "gated"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"search_space": {}}, "at least one parameter"),
        ({"search_space": {"x": {}}}, "`x` has a dict"),
        ({"search_space": ["depth"]}, r"`search_space` must map names to distributions, but got \['depth'\]"),
        ({"search_space": None}, "`search_space` must map names to distributions, but got None"),
        ({"cost": 3}, "`cost` must be a function of the parameters by name, but got 3"),
        ({"log_cost": "no"}, "`log_cost` must be True or False, but got 'no'"),
        ({"start": 1}, "at least 4"),
        ({"levels": 0}, "`levels` must be a whole number of at least 1"),
        ({"seed": None}, "`seed` must be a whole number"),
        ({"seed": 10**30}, "`seed` must be below"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0"),
        ({"max_cost": math.nan}, "`max_cost` must be a number for each cost, but one is NaN"),
        ({"max_cost": "big"}, "`max_cost` must be a number or a sequence of numbers, but is 'big'"),
        ({"max_cost": (1, 2)}, "`max_cost` must be 1 numbers, one for each cost, but has 2"),
        ({"max_cost": 1e-30}, "no parameters were found that are possible and within `max_cost`"),
        ({"cost": lambda params: math.nan}, "no parameters were found that are possible"),
        ({"cost": lambda params: None}, "`cost` must be a number or a sequence of numbers, but is None"),
        ({"cost": lambda params: ()}, r"`cost` must be a number or a sequence of numbers, but is \(\)"),
        ({"cost": lambda params: [1.0] * params["depth"]}, r"`cost` must return 1 numbers .* but returns \(1.0, 1.0"),
        ({"cost": lambda params: -1}, "numbers that are not negative, or `log_cost` be False"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        studied(KnownCostSampler(**{"search_space": SPACE, "cost": cost, **options}), 1)


def test_a_study_of_accuracy_alone_is_refused() -> None:
    with pytest.raises(BadInput, match="two or three objectives, the last 1 of them costs, but it has 1"):
        studied(KnownCostSampler(SPACE, cost), 1, lambda trial: accuracy(suggested(trial)), ways=1)
