from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from invnas import Choice, Repeat, choice
from invnas.choice import Decisions, can_be_equal, count, decisions_to, every_choice
from invnas.errors import BadInput
from invnas.resolver import Resolver, enumerate_decisions


@dataclass(frozen=True)
class Pair:
    first: Any
    second: Any = 0


@dataclass(frozen=True)
class Box:
    inside: Any


@dataclass(frozen=True)
class Picky:
    """Refuses an odd number, once it is one."""

    number: Any

    def __post_init__(self) -> None:
        if isinstance(self.number, int) and self.number % 2:
            raise ValueError("odd")


def _choice(options: list[Any]) -> Any:
    try:
        return Choice(*options)
    except BadInput:
        return reject()


def _repeat(item: Any, times: list[int], shared: bool) -> Any:
    try:
        return Repeat(item, times[0] if len(times) == 1 else Choice(*times), shared)
    except BadInput:
        return reject()


LEAVES = st.integers(0, 5) | st.sampled_from(["a", "b"]) | st.booleans() | st.none()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Pair, inner, inner),
        st.builds(Box, inner),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(_choice, st.lists(inner, min_size=1, max_size=3)),
        st.builds(_repeat, inner, st.lists(st.integers(0, 3), min_size=1, max_size=2), st.booleans()),
    ),
    max_leaves=8,
)


def value_of(tree: Any, decisions: Decisions) -> Any:
    return Resolver(tree).resolve(lambda path, choice: decisions[path])


def small(tree: Any) -> Any:
    assume(count(tree) <= 200)
    return tree


@given(TREES)
def test_the_size_is_the_number_of_assignments_and_of_different_values(tree: Any) -> None:
    found = list(enumerate_decisions(Resolver(small(tree))))
    assert len(found) == count(tree)
    assert len({tuple(sorted(decisions.items())) for decisions in found}) == count(tree)
    assert len({repr(value_of(tree, decisions)) for decisions in found}) == count(tree)


@given(TREES)
def test_decisions_lead_to_a_value_and_back(tree: Any) -> None:
    for decisions in enumerate_decisions(Resolver(small(tree))):
        assert decisions_to(tree, value_of(tree, decisions)) == decisions


@given(TREES)
def test_a_value_holds_no_choice_any_more(tree: Any) -> None:
    for decisions in enumerate_decisions(Resolver(small(tree))):
        value = value_of(tree, decisions)
        assert "Choice" not in repr(value)
        assert "Repeat" not in repr(value)
        assert list(enumerate_decisions(Resolver(value))) == [{}]
        hash(value)


@given(TREES, TREES)
def test_trees_that_cannot_be_equal_have_no_value_in_common(one: Any, other: Any) -> None:
    values = [{repr(value_of(tree, d)) for d in enumerate_decisions(Resolver(small(tree)))} for tree in (one, other)]
    if values[0] & values[1]:
        assert can_be_equal(one, other)
    assert can_be_equal(one, one)
    assert can_be_equal(one, other) == can_be_equal(other, one)


@given(TREES, TREES)
def test_a_value_of_another_tree_is_not_found(one: Any, other: Any) -> None:
    names = {repr(value_of(one, decisions)) for decisions in enumerate_decisions(Resolver(small(one)))}
    for decisions in enumerate_decisions(Resolver(small(other))):
        value = value_of(other, decisions)
        assert (decisions_to(one, value) is not None) == (repr(value) in names)


def test_a_decision_is_named_by_its_path_and_exists_only_when_its_branch_is_taken() -> None:
    tree = Pair([Choice(Box(Choice(3, 5)), Pair(Choice(1, 2)), "none")], Repeat(Choice("x", "y"), Choice(1, 2)))
    assert {tuple(d) for d in enumerate_decisions(Resolver(tree))} == {
        ("first.0", *inner, "second.times", *times)
        for inner in (("first.0=Box.inside",), ("first.0=Pair.first",), ())
        for times in (("second.0",), ("second.0", "second.1"))
    }


def test_options_of_one_type_are_told_apart_by_their_place() -> None:
    tree = Choice(Box(Choice(1, 2)), Box("b"), Choice("c", "d"))
    assert tree.labels == ("Box#0", "Box#1", "option2")
    assert [tuple(d) for d in enumerate_decisions(Resolver(tree))][:2] == [("", "=Box#0.inside"), ("", "=Box#0.inside")]


def test_copies_decide_each_for_itself_unless_shared() -> None:
    each, shared = (Repeat(Choice(1, 2, 3), Choice(0, 1, 2), shared) for shared in (False, True))
    assert (count(each), count(shared)) == (1 + 3 + 9, 1 + 3 + 3)
    assert value_of(shared, {"times": 2, "each": 1}) == (2, 2)
    assert value_of(each, {"times": 2, "0": 1, "1": 2}) == (2, 3)
    assert decisions_to(shared, (2, 3)) is None
    assert decisions_to(shared, ()) == decisions_to(each, ()) == {"times": 0}


def test_no_copies_decide_nothing() -> None:
    assert count(Repeat(Choice(1, 2), 0)) == count(Repeat(Choice(1, 2), 0, shared=True)) == 1
    assert value_of(Repeat(Choice(1, 2), 0), {}) == value_of(Repeat(Choice(1, 2), 0, shared=True), {}) == ()


def test_the_size_is_exact_beyond_any_float() -> None:
    assert count(Repeat(Choice(*range(10)), 400)) == 10**400


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ((3, 3), "options 0 and 1"),
        ((1, True), "options 0 and 1"),
        ((1, 2, 1.0), "options 0 and 2"),
        ((Choice(1, 2), 2), "options 0 and 1"),
        ((Box(Choice(1, 2)), Box(Choice(2, 3))), "options 0 and 1"),
        (("a", Repeat(1, 2), (1, 1)), "options 1 and 2"),
        ((Repeat(1, Choice(0, 2)), []), "options 0 and 1"),
        ((Repeat(Choice(1, 2), 2, shared=True), (2, 2)), "options 0 and 1"),
        ((3, Box(1), Choice(4, 5), 6, 5, 3), "options 2 and 4"),
        ((*range(5000), 17), "options 17 and 5000"),
    ],
)
def test_options_that_can_become_the_same_value_are_refused(options: tuple[Any, ...], places: str) -> None:
    with pytest.raises(BadInput, match=f"{places} of Choice.* can both become the same value: drop one"):
        Choice(*options)


def test_thousands_of_plain_options_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair was looked at: half a minute for 3,000."""
    asked = []
    monkeypatch.setattr(choice, "can_be_equal", lambda a, b: asked.append((a, b)))
    many = Choice(*range(3000), Box(1), *map(str, range(2000)))
    assert len(many.labels) == len(set(many.labels)) == 5001
    assert len(asked) == 5000, "the one that is not plain, with each of the others"


@pytest.mark.parametrize(
    "options",
    [
        (1, "1"),
        (None, 0),
        (Box(1), Pair(1)),
        (Box(Choice(1, 2)), Box(3)),
        ((1,), (1, 1)),
        (Repeat(1, Choice(1, 2)), ()),
    ],
)
def test_options_that_stay_different_are_taken(options: tuple[Any, ...]) -> None:
    assert Choice(*options).size == sum(map(count, options))


def test_an_empty_choice_is_refused() -> None:
    with pytest.raises(BadInput) as error:
        Choice()
    assert str(error.value) == "a Choice needs at least one option, but got none"


@pytest.mark.parametrize("times", [-1, 1.5, "2", None, Choice(1, -1), Choice(1, "2"), Choice(1, Choice(2, 3))])
def test_impossible_times_are_refused(times: Any) -> None:
    with pytest.raises(BadInput, match="`times` of a Repeat must be whole numbers from 0 to 10,000, but got"):
        Repeat(1, times)


def test_choices_are_values() -> None:
    assert Choice(1, 2) == Choice(1, 2) != Choice(2, 1)
    assert hash(Choice(1, 2)) == hash(Choice(1, 2))
    assert repr(Choice(1, Choice("a", "b"))) == "Choice(1, Choice('a', 'b'))"


def test_a_value_that_refuses_itself_stops_neither_the_walk_nor_the_enumeration() -> None:
    tree = Pair(Picky(Choice(1, 2, 3, 4)), Choice("a", "b"))
    seen: list[str] = []
    Resolver(tree).walk(lambda path, choice: seen.append(path) or 0)  # type: ignore[func-returns-value]
    assert seen == ["first.number", "second"]
    every = list(enumerate_decisions(Resolver(tree)))
    assert len(every) == count(tree) == 8
    assert every[:3] == [{"first.number": n, "second": i} for n, i in ((0, 0), (0, 1), (1, 0))]


@given(TREES, st.integers(0, 100))
def test_the_same_seed_decides_the_same(tree: Any, seed: int) -> None:
    def drawn() -> Any:
        rng = random.Random(seed)
        return Resolver(tree).resolve(lambda path, choice: rng.randrange(len(choice.options)))

    assert repr(drawn()) == repr(drawn())


def a_function() -> None: ...


@pytest.mark.parametrize(
    ("option", "label"),
    [
        (3, "3"),
        (0.5, "0.5"),
        (None, "None"),
        ("short", "short"),
        ("x" * 300, "option0"),
        ((3, 5), "3-5"),
        (tuple(range(100)), "option0"),
        ([Pair(1, 2), Pair(3, 4)], "option0"),
        (Pair(1, 2), "Pair"),
        (a_function, "a_function"),
        (int, "int"),
    ],
)
def test_a_label_is_short_and_survives_new_fields(option: Any, label: str) -> None:
    assert Choice(option, "other").labels == (label, "other")


def test_labels_that_would_be_equal_are_told_apart_by_their_place() -> None:
    assert Choice(Pair(1, 2), Pair(3, 4), 7).labels == ("Pair#0", "Pair#1", "7")
    assert Choice("1", 2, 1).labels == ("1#0", "2", "1#2")


@given(TREES, st.integers(0, 100))
def test_every_choice_that_a_way_meets_is_among_all_of_them(tree: Any, seed: int) -> None:
    rng, known = random.Random(seed), dict(every_choice(tree))
    met: dict[str, Any] = {}

    def decide(path: str, choice: Choice) -> int:
        met[path] = choice
        return rng.randrange(len(choice.options))

    Resolver(tree).walk(decide)
    assert set(met) <= set(known)


@given(TREES, st.integers(0, 100))
def test_a_resolver_gives_the_same_value_each_time_and_walks_the_way_it_resolves(tree: Any, seed: int) -> None:
    def decided(resolver: Resolver, walk: bool) -> tuple[list[str], Any]:
        rng, seen = random.Random(seed), []

        def decide(path: str, choice: Choice) -> int:
            seen.append(path)
            return rng.randrange(len(choice.options))

        return seen, resolver.walk(decide) if walk else resolver.resolve(decide)  # type: ignore[func-returns-value]

    one = Resolver(tree)
    first, again, fresh = decided(one, False), decided(one, False), decided(Resolver(tree), False)
    assert repr(first) == repr(again) == repr(fresh)
    assert decided(one, True)[0] == first[0]


def test_a_part_that_was_resolved_before_is_the_same_object() -> None:
    tree = Repeat(Pair(Choice(1, 2), "x"), times=2)
    resolver = Resolver(tree)
    same, other = (resolver.resolve(lambda path, choice, i=i: i) for i in (0, 0))
    assert same[0] is same[1] is other[0]
    assert resolver.resolve(lambda path, choice: 1)[0] is not same[0]
