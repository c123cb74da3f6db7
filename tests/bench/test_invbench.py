from __future__ import annotations

import random
from pathlib import Path

import pytest

import invnas.bench
from invnas.architecture import Architecture
from invnas.bench import Answer, InvBench, Pool, Training, load, replay
from invnas.bench.invbench import ARCHITECTURES, TRAININGS
from invnas.cost import pricer
from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement
from invnas.space import load_space

FOLDER = Path(invnas.bench.__file__).parent


def made(top1: dict[tuple[int, int, int], float]) -> InvBench:
    """Return a table of trainings by (architecture, seed, epochs); one of two epochs has a rung after the first."""
    rng, space = random.Random(0), load_space("invbench")
    architectures = [space.sample(rng)[1] for _ in range(3)]

    def measured(value: float, epochs: int) -> Measurement:
        return Measurement({"top1": value, "loss": 1 - value}, epochs, epochs, 4.0)

    trainings = [
        Training(
            architectures[i],
            seed,
            epochs,
            measured(value, epochs),
            {1: measured(value / 2, 1)} if epochs == 2 else {},
        )
        for (i, seed, epochs), value in top1.items()
    ]
    return InvBench({one: Cost.counted(10, 2, 4) for one in architectures}, tuple(trainings))


TINY = made(
    {(0, 0, 2): 0.5, (0, 1, 2): 0.7, (0, 2, 2): 0.9, (0, 0, 1): 0.3, (1, 0, 2): 0.2, (2, 0, 2): 0.6, (2, 1, 2): 0.8}
)


def top1(answers: dict[Architecture, Answer]) -> list[float]:
    return [round(measured["top1"], 9) for _, measured in answers.values()]


def test_answers_are_those_of_one_seed_and_budget_and_of_several_the_mean_where_all_are_there() -> None:
    assert top1(TINY.answers()) == [0.5, 0.2, 0.6]
    assert top1(TINY.answers(seed=1)) == [0.7, 0.8]
    assert top1(TINY.answers(seed=(1, 2))) == [0.8]
    assert top1(TINY.answers(seed=(0, 1))) == [0.6, 0.7]
    assert top1(TINY.answers(epochs=1)) == [0.3]
    assert top1(TINY.answers(rung=1)) == [0.25, 0.1, 0.3]


def test_the_noise_is_that_between_seeds_and_what_remains_is_the_signal() -> None:
    noise = TINY.noise()
    assert noise.architectures == 2
    assert noise.within**2 == pytest.approx((0.04 + 0.02) / 2)
    assert noise.between == 0  # two first seeds, 0.5 and 0.6, differ less than seeds do
    whole = made({(0, 0, 1): 0.1, (0, 1, 1): 0.12, (1, 0, 1): 0.9, (1, 1, 1): 0.9}).noise()
    assert whole.between**2 == pytest.approx(0.32 - 0.0001)
    assert whole.ratio == pytest.approx(whole.between / 0.01)


def test_seeds_that_are_named_twice_count_once_and_without_noise_the_ratio_has_no_end() -> None:
    assert TINY.answers(seed=(1, 1)) == TINY.answers(seed=1)
    assert made({(i, seed, 1): 0.1 * i for i in (1, 2) for seed in (0, 1)}).noise().ratio == float("inf")


@pytest.mark.parametrize(
    ("bench", "name", "sentence"),
    [
        (TINY, "top5", "InvBench measured no 'top5'; nearest: 'top1'; valid: top1, loss"),
        (made({(0, 0, 1): 0.5}), "top1", "0 architectures were trained with several seeds"),
        (made({(0, 0, 1): 0.5, (0, 1, 1): 0.5}), "loss", "1 architectures were trained with several seeds"),
    ],
)
def test_noise_of_what_was_not_measured_is_refused(bench: InvBench, name: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        bench.noise(name)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seed": 7}, r"no architecture of InvBench was trained with the seeds \(7,\); valid: 0, 1, 2"),
        ({"epochs": 3}, "InvBench has no trainings of 3 epochs; valid: 1, 2"),
        ({"rung": 7}, "InvBench measured nothing after 7 of 2 epochs; valid: 1"),
    ],
)
def test_what_was_not_trained_is_said_with_what_was(asked: dict[str, int], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        TINY.answers(**asked)


def test_what_comes_along_is_of_the_space_and_costs_what_it_says() -> None:
    bench = load()
    price = pricer((1, 8, 8), 10)
    assert len(bench.costs) == Pool.of(bench.space, bench.costs).size
    for architecture, cost in random.Random(0).sample(list(bench.costs.items()), 20):
        counted = price(architecture)
        assert all(cost[name] == value for name, value in counted.to_dict().items())
    assert max(cost.macs for cost in bench.costs.values()) > 30 * min(cost.macs for cost in bench.costs.values())


def test_what_comes_along_says_more_of_architectures_than_of_seeds() -> None:
    bench = load()
    assert bench.epochs == 30
    assert set(bench.answers(seed=0)) == set(bench.costs)
    assert bench.noise("top1").ratio > 2
    assert set(bench.answers(epochs=4)) <= set(bench.costs)
    assert set(bench.answers(rung=8)) == set(bench.costs)


def test_both_tables_together_stay_small() -> None:
    assert sum((FOLDER / name).stat().st_size for name in (ARCHITECTURES, TRAININGS)) < 2_000_000


def test_a_search_on_it_takes_what_it_holds() -> None:
    bench = load()
    seen = bench.answers(seed=0)
    found = replay(bench.space, seen, "random", 20, seed=1)
    assert len({architecture for architecture, _ in found}) == 20
    assert all(seen[architecture][1] == measured for architecture, measured in found)
