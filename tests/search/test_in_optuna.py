from __future__ import annotations

import math
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
from invnas.search.in_optuna import KnownCostSampler, _grid

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


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (IntDistribution(2, 5), [2, 3, 4, 5]),
        (IntDistribution(1, 9, step=4), [1, 5, 9]),
        (IntDistribution(3, 3), [3]),
        (IntDistribution(1, 64, log=True), [1, 3, 8, 23, 64]),
        (IntDistribution(0, 100), [0, 25, 50, 75, 100]),
        (FloatDistribution(0, 1, step=0.5), [0, 0.5, 1]),
        (FloatDistribution(0, 1), [0, 0.25, 0.5, 0.75, 1]),
        (FloatDistribution(0.01, 100, log=True), [0.01, 0.1, 1, 10, 100]),
        (CategoricalDistribution(["a", None, 3]), ["a", None, 3]),
    ],
    ids=str,
)
def test_grids(distribution: Any, values: list[Any]) -> None:
    found = _grid("x", distribution, 5)
    assert [type(one) for one in found] == [
        type(one) if not isinstance(distribution, FloatDistribution) else float for one in values
    ]
    assert found == [pytest.approx(one) if isinstance(one, float) else one for one in values]
    assert all(distribution._contains(distribution.to_internal_repr(one)) for one in found)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(BadInput, match="at least one parameter"):
        KnownCostSampler({}, cost)
    with pytest.raises(BadInput, match="at least 4"):
        KnownCostSampler(SPACE, cost, start=1)
    with pytest.raises(BadInput, match="two or three objectives, the last 1 of them costs, but it has 1"):
        studied(KnownCostSampler(SPACE, cost), 1, lambda trial: accuracy(suggested(trial)), ways=1)
    with pytest.raises(BadInput, match="`x` has a dict"):
        KnownCostSampler({"x": {}}, cost)  # type: ignore[dict-item]
