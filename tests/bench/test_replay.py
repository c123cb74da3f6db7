from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search.cheap import CheapEngine, go, make_run, measure, price

from bench.test_pool import SPACE, VALID
from invnas.architecture import Architecture
from invnas.bench import Answer, Pool, replay
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import BadInput
from invnas.measurement import Trial
from invnas.search.random_sampler import RandomSampler
from invnas.search.sampler import Context, Told
from invnas.space import load_space


def answer(architecture: Architecture) -> Answer:
    cost = price(architecture)
    return cost, measure(Trial(0, architecture, {}, cost))


TABLE = {architecture: answer(architecture) for architecture in VALID}


@pytest.mark.parametrize(("sampler", "workers"), [("random", 1), ("evolution", 3), ("tpe", 1), ("tpe", 3)])
def test_it_trains_what_a_search_in_a_run_folder_trains(sampler: str, workers: int, tmp_path: Path) -> None:
    run = make_run(tmp_path, "hybrid_cifar", sampler=sampler, trials=15, seed=3, workers=workers)
    with run.locked():
        go(run, CheapEngine(workers))
    expected = [(trial.architecture, trial.measurement) for trial in run.trials()]
    assert replay(load_space("hybrid_cifar"), answer, sampler, 15, 3, workers=workers) == expected


@settings(max_examples=10, deadline=None)
@given(
    held=st.sets(st.sampled_from(VALID), min_size=1, max_size=20),
    sampler=st.sampled_from(["random", "evolution", "tpe"]),
    seed=st.integers(0, 99),
)
def test_a_mapping_is_searched_alone_and_to_its_end(held: set[Architecture], sampler: str, seed: int) -> None:
    table = {architecture: TABLE[architecture] for architecture in VALID if architecture in held}
    found = replay(SPACE, table, sampler, 30, seed)
    assert len(found) == len(held)
    assert {architecture: (price(architecture), measured) for architecture, measured in found} == table


def test_a_pool_that_was_made_once_is_taken_as_it_is() -> None:
    pool = Pool.of(SPACE, TABLE)
    assert replay(pool, TABLE, "evolution", 12) == replay(SPACE, TABLE, "evolution", 12)


def test_a_pool_of_more_than_the_table_is_refused() -> None:
    few = dict(list(TABLE.items())[:3])
    with pytest.raises(BadInput, match="which the pool holds: make the pool from it"):
        replay(Pool.of(SPACE, TABLE), few, "random", 10)


def test_caps_and_objectives_count() -> None:
    cap = sorted(cost.macs for cost, _ in TABLE.values())[5]
    found = replay(SPACE, TABLE, "evolution", 30, objectives=("loss", "parameters"), caps=Caps.of(macs=cap))
    assert {architecture for architecture, _ in found} == {one for one in VALID if TABLE[one][0].macs <= cap}


def test_a_sampler_of_ones_own_is_told_of_what_was_taken_and_sees_what_runs() -> None:
    class Mine(RandomSampler):
        def __init__(self) -> None:
            super().__init__(SPACE, 5)
            self.told: list[Told] = []
            self.pending: list[int] = []

        def ask(self, context: Context) -> Decisions:
            self.pending.append(len(context.pending))
            return super().ask(context)

        def tell(self, told: Told) -> None:
            self.told.append(told)

    mine = Mine()
    found = replay(SPACE, answer, mine, 10, workers=4)
    measured = [told.trial for told in mine.told if told.trial is not None]
    assert [(trial.architecture, trial.measurement) for trial in measured] == found
    assert max(mine.pending) == 3


def test_what_came_out_unusable_is_no_part_of_the_answer() -> None:
    def broken(architecture: Architecture) -> Answer:
        cost, measured = answer(architecture)
        top1 = float("nan") if architecture == VALID[0] else measured["top1"]
        return cost, replace(measured, values={"top1": top1})

    found = [architecture for architecture, _ in replay(SPACE, broken, "random", 100)]
    assert sorted(one.fingerprint for one in found) == sorted(one.fingerprint for one in VALID[1:])


def test_where_a_price_is_given_the_table_is_asked_for_what_is_trained_alone() -> None:
    asked: list[Architecture] = []

    def slow(architecture: Architecture) -> Answer:
        asked.append(architecture)
        return answer(architecture)

    found = replay(SPACE, slow, "evolution", 10, price=price)
    assert asked == [architecture for architecture, _ in found]
    assert found == replay(SPACE, answer, "evolution", 10)


def test_numbers_that_are_given_as_text_are_numbers() -> None:
    given: Any = {"trials": "9", "seed": "3", "workers": "2", "objectives": "top1,macs"}
    assert replay(SPACE, TABLE, "evolution", **given) == replay(SPACE, TABLE, "evolution", 9, 3, workers=2)


@pytest.mark.parametrize(
    ("space", "table", "sentence"),
    [
        ("digits", TABLE, "`space` must be a Space, such as load_space\\('digits'\\), but got 'digits'"),
        (SPACE, list(TABLE.items()), "`table` must be a mapping or a function of architectures"),
        (SPACE, {one.fingerprint: TABLE[one] for one in VALID}, "keys of a table must be architectures, but one is '"),
        (SPACE, dict.fromkeys(VALID, 0.5), "with a Cost and a Measurement, but of [0-9a-f]+ it says 0.5"),
        (SPACE, lambda one: None, "with a Cost and a Measurement, but of [0-9a-f]+ it says None"),
        (SPACE, lambda one: TABLE[one][:1], "with a Cost and a Measurement"),
        (SPACE, lambda one: TABLE[one][::-1], "with a Cost and a Measurement"),
    ],
)
def test_what_is_no_table_is_a_sentence(space: Any, table: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        replay(space, table, "random", 5)


def test_an_unknown_sampler_or_objective_is_a_sentence() -> None:
    with pytest.raises(BadInput, match="unknown sampler 'randon'; nearest: 'random'"):
        replay(SPACE, TABLE, "randon")
    with pytest.raises(BadInput, match="unknown objective 'top2'"):
        replay(SPACE, TABLE, "random", objectives=("top2", "macs"))
