from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search.cheap import ONE_POINT, SMALL, SMALL_VALID

from invnas.bench import Pool
from invnas.bench.pool import NEAREST
from invnas.errors import BadInput, InvalidArchitecture
from invnas.space import Space, load_space


def written(text: str) -> Space:
    names: dict[str, object] = {}
    exec(text, names)
    return Space(names["space"], name="written")


SPACE = written(SMALL)
VALID = [architecture for _, architecture in SPACE.enumerate()]


@pytest.mark.parametrize("space", [SPACE, load_space("hybrid_cifar")], ids=["small", "deep"])
@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 12), seed=st.integers(0, 999))
def test_whatever_is_drawn_is_held_and_a_mutation_is_another(space: Space, count: int, seed: int) -> None:
    rng = random.Random(seed)
    held = list({space.sample(rng)[1] for _ in range(count)} | set(VALID[:2] if space is SPACE else ()))
    if len(held) < 2:
        return
    pool = Pool.of(space, held)
    assert pool.size == len(held)
    assert [architecture for _, architecture in pool.enumerate()] == held
    for _ in range(5):
        start = pool.draw(rng)
        other, mutated = pool.mutate(start, rng)
        for decisions in (start, pool.draw_branches(rng), other):
            assert pool.architecture(decisions) in held
        assert mutated == pool.architecture(other) != pool.architecture(start)


def test_where_all_is_held_a_mutation_is_that_of_the_space() -> None:
    pool, start = Pool.of(SPACE, VALID), SPACE.decisions(VALID[7])
    assert start is not None
    for seed in range(20):
        assert pool.mutate(start, random.Random(seed)) == SPACE.mutate(start, random.Random(seed))


def test_a_mutation_that_leads_out_leads_to_one_of_the_nearest() -> None:
    space, rng = load_space("hybrid_cifar"), random.Random(0)
    start, first = space.sample(rng)
    near = {first}
    while len(near) <= NEAREST:
        near.add(space.mutate(space.mutate(start, rng)[0], rng)[1])
    far = [space.sample(rng)[1] for _ in range(30)]
    pool = Pool.of(space, [*far, *near])
    led = {pool.mutate(start, rng)[1] for _ in range(60)}
    assert led <= near
    assert len(led) > NEAREST / 2


def test_draws_are_uniform_over_what_is_held() -> None:
    pool, rng = Pool.of(SPACE, VALID[:4]), random.Random(0)
    counts = [sum(pool.architecture(pool.draw(rng)) == one for _ in range(400)) for one in VALID[:4]]
    assert min(counts) > 60


def test_what_is_not_held_breaks_a_rule_of_the_pool() -> None:
    decisions = SPACE.decisions(VALID[5])
    assert decisions is not None
    with pytest.raises(InvalidArchitecture, match=f"{VALID[5].fingerprint} is not in the table"):
        Pool.of(SPACE, VALID[:5]).architecture(decisions)


def test_a_pool_of_one_has_nothing_to_mutate() -> None:
    space = written(ONE_POINT)
    pool = Pool.of(space, [architecture for _, architecture in islice(space.enumerate(), 1)])
    with pytest.raises(BadInput, match="a single architecture"):
        pool.mutate(pool.draw(random.Random(0)), random.Random(0))


def test_no_pool_without_architectures_nor_of_another_space() -> None:
    with pytest.raises(BadInput, match="the table holds no architecture"):
        Pool.of(SPACE, [])
    strange = load_space("digits").sample(random.Random(0))[1]
    with pytest.raises(BadInput, match=f"{strange.fingerprint}, which is not in the space written"):
        Pool.of(SPACE, [strange])


def test_there_are_as_many_as_the_tests_think() -> None:
    assert len(VALID) == SMALL_VALID


def test_what_a_table_lists_twice_is_held_once() -> None:
    pool = Pool.of(SPACE, [VALID[0]] * (NEAREST + 1) + VALID[:2])
    assert pool.size == 2
    start, other = pool.held
    assert {tuple(pool.mutate(start, random.Random(seed))[0].items()) for seed in range(9)} == {tuple(other.items())}
