"""Choices anywhere in a tree of values, and the one walk that resolves them.

A tree is made of frozen dataclasses, tuples, lists and plain values. Anywhere in it may stand a `Choice` (take one of
these) or a `Repeat` (some copies of this, each deciding for itself). Only the branch that is taken is decided.

A decision is named by its path, such as `stages.0.blocks.1.spatial=Involution.kernel_size`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from invnas.errors import BadInput

#: Which option of each choice on the way was taken, by path.
Decisions = dict[str, int]

#: What a user's own value may raise to refuse what it is given.
REFUSALS = (BadInput, ValueError, TypeError, ArithmeticError, AssertionError)


class Choice:
    """One of several options, each of which may itself hold choices.

    Args:
        options: The options: numbers, strings, or dataclasses; all different.

    Raises:
        BadInput: If there is no option, or two options are equal.

    >>> Choice(3, 5, 7)
    Choice(3, 5, 7)
    """

    def __init__(self, *options: Any, labels: tuple[str, ...] | None = None) -> None:
        if not options:
            raise BadInput("a Choice needs at least one option, but got none")
        self.options = tuple(options)
        self.labels: tuple[str, ...] = labels or _labels(self.options)
        self._refuse_overlap()

    def _refuse_overlap(self) -> None:
        # Two ways to decide the same value would be two names for one network.
        for i, option in enumerate(self.options):
            for j, other in enumerate(self.options[:i]):
                if can_be_equal(option, other):
                    raise BadInput(f"options {j} and {i} of {self!r:.200} can both become the same value: drop one")

    @cached_property
    def size(self) -> int:
        """How many values this choice can become."""
        return sum(self.weights)

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """How many values each option can become."""
        return tuple(count(option) for option in self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self.options == other.options

    def __hash__(self) -> int:
        return hash(self.options)

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"


@dataclass(frozen=True)
class Repeat:
    """Copies of one template; becomes a tuple.

    Attributes:
        item: The template; every copy makes its own choices unless `shared`.
        times: How many copies: a number, or a Choice of numbers.
        shared: All copies make the same choices.
    """

    item: Any
    times: int | Choice = 1
    shared: bool = False

    def __post_init__(self) -> None:
        for times in self._all_times():
            if not isinstance(times, int) or times < 0:
                raise BadInput(f"`times` of a Repeat must be whole numbers of at least 0, but got {times!r}")

    def _all_times(self) -> tuple[Any, ...]:
        return self.times.options if isinstance(self.times, Choice) else (self.times,)

    @cached_property
    def choice(self) -> Choice:
        """The same as a choice among copies, so that the walk knows one kind of decision only."""
        times = self._all_times()
        return Choice(*(_Copies(self.item, n, self.shared) for n in times), labels=tuple(map(str, times)))


@dataclass(frozen=True)
class _Copies:
    item: Any
    times: int
    shared: bool

    @cached_property
    def size(self) -> int:
        return count(self.item) ** (min(self.times, 1) if self.shared else self.times)


def _labels(options: tuple[Any, ...]) -> tuple[str, ...]:
    names = [
        type(option).__name__ if is_dataclass(option) else f"option{i}" if isinstance(option, Choice) else str(option)
        for i, option in enumerate(options)
    ]
    return tuple(name if names.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(names))


def children(node: Any) -> list[tuple[str, Any]]:
    """Return the named parts of a dataclass, tuple or list; nothing for a plain value."""
    if is_dataclass(node) and not isinstance(node, type):
        return [(field.name, getattr(node, field.name)) for field in fields(node) if field.init]
    if isinstance(node, tuple | list):
        return [(str(i), part) for i, part in enumerate(node)]
    return []


def count(node: Any) -> int:
    """Return exactly how many values a tree can become.

    >>> count((Choice(1, 2), Repeat(Choice("a", "b"), times=Choice(1, 2))))
    12
    """
    if isinstance(node, Choice | _Copies):
        return node.size
    if isinstance(node, Repeat):
        return node.choice.size
    return math.prod(count(part) for _, part in children(node))


def can_be_equal(a: Any, b: Any) -> bool:
    """Tell whether two trees can become the same value."""
    if isinstance(a, Repeat | Choice):
        options = a.choice.options if isinstance(a, Repeat) else a.options
        return any(can_be_equal(option, b) for option in options)
    if isinstance(b, Repeat | Choice):
        return can_be_equal(b, a)
    a_parts, b_parts = _sequence(a), _sequence(b)
    if a_parts is not None and b_parts is not None:
        return len(a_parts) == len(b_parts) and all(map(can_be_equal, a_parts, b_parts))
    parts, others = children(a), children(b)
    if parts and others:
        return type(a) is type(b) and all(
            can_be_equal(part, other) for (_, part), (_, other) in zip(parts, others, strict=True)
        )
    return bool(a == b)


def _sequence(node: Any) -> tuple[Any, ...] | None:
    if isinstance(node, _Copies):
        return (node.item,) * node.times
    return tuple(node) if isinstance(node, tuple | list) else None


def resolve(node: Any, decide: Callable[[str, Choice], int], path: str = "") -> Any:
    """Return the value a tree becomes when `decide(path, choice)` gives the index of each option.

    Args:
        node: The tree.
        decide: Called once for each choice on the way, parents first.
        path: Where in a larger tree this one stands.
    """
    if isinstance(node, Repeat):
        times = node.choice
        index = decide(_join(path, "times"), times) if len(times.options) > 1 else 0
        return resolve(times.options[index], decide, path)
    if isinstance(node, _Copies):
        if node.shared:
            return (resolve(node.item, decide, _join(path, "each")),) * node.times if node.times else ()
        return tuple(resolve(node.item, decide, _join(path, str(i))) for i in range(node.times))
    if isinstance(node, Choice):
        index = decide(path, node)
        return resolve(node.options[index], decide, f"{path}={node.labels[index]}")
    parts = children(node)
    if not parts:
        return node if not isinstance(node, list) else ()
    resolved = {name: resolve(part, decide, _join(path, name)) for name, part in parts}
    return tuple(resolved.values()) if isinstance(node, tuple | list) else replace(node, **resolved)


def walk(node: Any, decide: Callable[[str, Choice], int]) -> None:
    """Call `decide` as `resolve` does, also when a user's own value refuses what it becomes."""
    with contextlib.suppress(*REFUSALS):
        resolve(node, decide)


def decisions_to(node: Any, value: Any, path: str = "") -> Decisions | None:
    """Return the decisions by which a tree becomes `value`, or None when it cannot."""
    if isinstance(node, Repeat):
        times = node.choice
        for i, copies in enumerate(times.options):
            if (found := decisions_to(copies, value, path)) is not None:
                return {_join(path, "times"): i, **found} if len(times.options) > 1 else found
        return None
    if isinstance(node, Choice):
        for i, option in enumerate(node.options):
            if (found := decisions_to(option, value, f"{path}={node.labels[i]}")) is not None:
                return {path: i, **found}
        return None
    if isinstance(node, _Copies):
        return _decisions_to_copies(node, value, path)
    return _decisions_to_parts(node, value, path)


def _decisions_to_copies(node: _Copies, value: Any, path: str) -> Decisions | None:
    if not isinstance(value, tuple) or len(value) != node.times:
        return None
    if not node.shared:
        return _all_decisions([(node.item, part, _join(path, str(i))) for i, part in enumerate(value)])
    if any(part != value[0] for part in value):
        return None
    return decisions_to(node.item, value[0], _join(path, "each")) if value else {}


def _decisions_to_parts(node: Any, value: Any, path: str) -> Decisions | None:
    same_kind = type(node) is type(value) or (isinstance(node, tuple | list) and isinstance(value, tuple | list))
    parts, given = children(node), dict(children(value))
    if not same_kind or len(parts) != len(given):
        return None
    if not parts:
        return {} if isinstance(node, tuple | list) or node == value else None
    return _all_decisions([(part, given[name], _join(path, name)) for name, part in parts])


def _all_decisions(pairs: list[tuple[Any, Any, str]]) -> Decisions | None:
    together: Decisions = {}
    for node, value, path in pairs:
        found = decisions_to(node, value, path)
        if found is None:
            return None
        together.update(found)
    return together


def enumerate_decisions(node: Any) -> Iterator[Decisions]:
    """Yield every assignment of decisions of a tree once, in the order of an odometer."""
    prefix: list[int] = []
    while True:
        trail: list[tuple[str, int, int]] = []

        def decide(path: str, choice: Choice, prefix: list[int] = prefix, trail: Any = trail) -> int:
            index = prefix[len(trail)] if len(trail) < len(prefix) else 0
            trail.append((path, index, len(choice.options)))
            return index

        walk(node, decide)
        yield {path: index for path, index, _ in trail}
        while trail and trail[-1][1] + 1 == trail[-1][2]:
            trail.pop()
        if not trail:
            return
        prefix = [index for _, index, _ in trail]
        prefix[-1] += 1


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
