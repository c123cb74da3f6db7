from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest

from invnas.bench import InvBench, Training, Truth, replay, truth
from invnas.cost import pricer
from invnas.errors import BadInput
from invnas.measurement import Measurement
from invnas.space import load_space

PRICE = pricer((1, 8, 8), 10)
SPACE = load_space("invbench")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "TREES", 12)


def made(count: int, seeds: int, noise: float) -> InvBench:
    """Return a table in which top-1 follows the multiply-adds, with noise on its logits."""
    rng = random.Random(0)
    architectures = list({SPACE.sample(rng)[1]: None for _ in range(count)})
    costs = {one: PRICE(one) for one in architectures}
    trainings = []
    for one in architectures:
        for seed in range(seeds):
            logit = math.log(costs[one].macs) - 12 + rng.gauss(0, noise)
            values = {"top1": 1 / (1 + math.exp(-logit)), "loss": math.exp(-logit / 2)}
            trainings.append(Training(one, seed, 30, Measurement(values, 30, 30), {}))
    return InvBench(costs, tuple(trainings))


@pytest.fixture(scope="module")
def bench() -> InvBench:
    return made(80, 2, 0.3)


def test_a_flat_forest_answers_as_the_one_it_was_made_from() -> None:
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(60, 7)), rng.normal(size=(60, 2))
    model = RandomForestRegressor(12, min_samples_leaf=truth.LEAF, max_features=truth.SHARE, random_state=0)
    expected = model.fit(inputs, targets).predict(inputs)
    forest = truth.Forest(inputs, targets)
    np.testing.assert_allclose([forest.predict(row) for row in inputs], expected, rtol=1e-9)


def test_it_answers_for_architectures_it_has_not_seen_with_their_exact_cost(bench: InvBench) -> None:
    rng, fitted = random.Random(7), Truth(bench, PRICE)
    found = [fitted(SPACE.sample(rng)[1]) for _ in range(30)]
    order = np.corrcoef([math.log(cost.macs) for cost, _ in found], [measured["top1"] for _, measured in found])
    assert order[0, 1] > 0.8
    one = SPACE.sample(rng)[1]
    assert fitted(one)[0] == PRICE(one)
    assert fitted(one) == fitted(one)


def test_noise_is_that_of_the_seeds_and_the_same_whenever_it_is_asked_for(bench: InvBench) -> None:
    fitted, one = Truth(bench, PRICE), next(iter(bench.costs))
    logits = [math.log(top1 / (1 - top1)) for top1 in (fitted.noisy(seed)(one)[1]["top1"] for seed in range(200))]
    clean = fitted(one)[1]["top1"]
    assert statistics.fmean(logits) == pytest.approx(math.log(clean / (1 - clean)), abs=0.1)
    assert statistics.stdev(logits) == pytest.approx(0.3, rel=0.3)
    assert fitted.noisy(4)(one) == fitted.noisy(4)(one) != fitted.noisy(5)(one)


def test_its_fit_is_that_of_architectures_left_out() -> None:
    quiet, loud = truth.fit_of(made(60, 1, 0.01)), truth.fit_of(made(60, 1, 3.0))
    assert quiet.r2 > 0.8 > 0.3 > loud.r2
    assert quiet.tau > 0.7 > 0.4 > loud.tau
    assert quiet.rmse < loud.rmse


def test_a_search_goes_through_the_whole_space_on_it(bench: InvBench) -> None:
    found = replay(SPACE, Truth(bench, PRICE).noisy(0), "random", 15)
    assert len(found) == 15
    assert not {architecture for architecture, _ in found} <= set(bench.costs)


def test_an_architecture_of_another_space_is_refused(bench: InvBench) -> None:
    strange = load_space("digits").sample(random.Random(0))[1]
    with pytest.raises(BadInput, match=f"{strange.fingerprint} is not in the space of InvBench"):
        Truth(bench, PRICE)(strange)
