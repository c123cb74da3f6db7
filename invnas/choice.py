"""Choices anywhere in a tree of values: what they are, how many values they can become, and which decisions lead where.

A tree is made of frozen dataclasses, tuples, lists and plain values. Anywhere in it may stand a `Choice` (take one of
these) or a `Repeat` (some copies of this, each deciding for itself). Only the branch that is taken is decided.

A decision is named by its path, such as `stages.0.blocks.1.spatial=Involution.kernel_size`. `resolver.py` turns
decisions into values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from invnas.errors import BadInput, shown

#: Which option of each choice on the way was taken, by path.
Decisions = dict[str, int]

#: Letters of a label at most; what is longer is called by its place among the options.
LABEL = 24

#: Copies that a Repeat makes at most.
COPIES = 10_000
#: Types of values that are equal where their hashes are, and nothing else can become.
_PLAIN = (int, float, str, bool, type(None))


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
        seen: dict[Any, int] = {}  # plain values: of thousands, not every pair is looked at
        others: list[int] = []
        for i, option in enumerate(self.options):
            plain = type(option) in _PLAIN
            alike = [seen[option]] if plain and option in seen else []
            for j in sorted((*alike, *(others if plain else range(i)))):
                if can_be_equal(option, self.options[j]):
                    raise BadInput(
                        f"options {j} and {i} of {shown(self, 200)} can both become the same value: drop one"
                    )
            if plain:
                seen[option] = i
            else:
                others.append(i)

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

    >>> count(Repeat(Choice(3, 5), times=3)), count(Repeat(Choice(3, 5), times=3, shared=True))
    (8, 2)
    """

    item: Any
    times: int | Choice = 1
    shared: bool = False

    def __post_init__(self) -> None:
        for times in self._all_times():
            if not isinstance(times, int) or not 0 <= times <= COPIES:
                raise BadInput(
                    f"`times` of a Repeat must be whole numbers from 0 to {COPIES:,}, but got {shown(times)}"
                )

    def _all_times(self) -> tuple[Any, ...]:
        return self.times.options if isinstance(self.times, Choice) else (self.times,)

    @cached_property
    def choice(self) -> Choice:
        """The same as a choice among copies, so that the walk knows one kind of decision only."""
        times = self._all_times()
        return Choice(*(Copies(self.item, n, self.shared) for n in times), labels=tuple(map(str, times)))


@dataclass(frozen=True)
class Copies:
    """So many copies of a template: what a Repeat is a choice among."""

    item: Any
    times: int
    shared: bool

    @cached_property
    def size(self) -> int:
        """How many values the copies can become."""
        return count(self.item) ** (min(self.times, 1) if self.shared else self.times)


def _labels(options: tuple[Any, ...]) -> tuple[str, ...]:
    names = [_label(option, f"option{i}") for i, option in enumerate(options)]
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name}#{i}" for i, name in enumerate(names))


def _label(option: Any, place: str) -> str:
    """Return what to call an option in a path: short, the same in every process, whatever fields its types grow."""
    if is_dataclass(option) and not isinstance(option, type):
        return type(option).__name__
    if option is None or isinstance(option, bool | int | float | str):
        text = _text(option)
    elif isinstance(option, tuple | list) and all(isinstance(part, int | float | str) for part in option):
        text = "-".join(map(_text, option))
    else:
        text = getattr(option, "__name__", "")
    return text if 0 < len(text) <= LABEL else place


def _text(value: Any) -> str:
    """Return a plain value as text; nothing of a whole number that Python might not write, which a space refuses."""
    return "" if isinstance(value, int) and value.bit_length() > 63 else str(value)


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
    if isinstance(node, Choice | Copies):
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
    try:
        return bool(a == b)
    except Exception:  # arrays and the like say more than yes or no
        return False


def _sequence(node: Any) -> tuple[Any, ...] | None:
    if isinstance(node, Copies):
        return (node.item,) * node.times
    return tuple(node) if isinstance(node, tuple | list) else None


def every_choice(node: Any, path: str = "") -> Iterator[tuple[str, Choice]]:
    """Yield every choice that some way through a tree meets, with its path; one path may come up more than once.

    >>> [path for path, _ in every_choice((Choice(1, 2), Repeat(Choice(3, 4), times=Choice(1, 2))))]
    ['0', '1.times', '1.0', '1.0', '1.1']
    """
    if isinstance(node, Repeat):
        if len(node.choice.options) > 1:
            yield join(path, "times"), node.choice
        for copies in node.choice.options:
            yield from every_choice(copies, path)
    elif isinstance(node, Copies):
        for name in (["each"] if node.times else []) if node.shared else map(str, range(node.times)):
            yield from every_choice(node.item, join(path, name))
    elif isinstance(node, Choice):
        yield path, node
        for label, option in zip(node.labels, node.options, strict=True):
            yield from every_choice(option, f"{path}={label}")
    else:
        for name, part in children(node):
            yield from every_choice(part, join(path, name))


def facts_of(value: Any) -> dict[Any, Any]:
    """Return where to keep what was worked out about a frozen value: it lives and dies with the value.

    A value that cannot hold anything (one with slots) has an empty dictionary each time.
    """
    try:
        found: dict[Any, Any] = value.__dict__.setdefault("_facts", {})
    except AttributeError:
        return {}
    return found


def decisions_to(node: Any, value: Any, path: str = "") -> Decisions | None:
    """Return the decisions by which a tree becomes `value`, or None when it cannot."""
    if isinstance(node, Repeat):
        times = node.choice
        for i, copies in enumerate(times.options):
            if (found := decisions_to(copies, value, path)) is not None:
                return {join(path, "times"): i, **found} if len(times.options) > 1 else found
        return None
    if isinstance(node, Choice):
        for i, option in enumerate(node.options):
            if (found := decisions_to(option, value, f"{path}={node.labels[i]}")) is not None:
                return {path: i, **found}
        return None
    if isinstance(node, Copies):
        return _decisions_to_copies(node, value, path)
    return _decisions_to_parts(node, value, path)


def _decisions_to_copies(node: Copies, value: Any, path: str) -> Decisions | None:
    if not isinstance(value, tuple) or len(value) != node.times:
        return None
    if not node.shared:
        return _all_decisions([(node.item, part, join(path, str(i))) for i, part in enumerate(value)])
    if any(part != value[0] for part in value):
        return None
    return decisions_to(node.item, value[0], join(path, "each")) if value else {}


def _decisions_to_parts(node: Any, value: Any, path: str) -> Decisions | None:
    same_kind = type(node) is type(value) or (isinstance(node, tuple | list) and isinstance(value, tuple | list))
    parts, given = children(node), dict(children(value))
    if not same_kind or len(parts) != len(given):
        return None
    if not parts:
        return {} if isinstance(node, tuple | list) or node == value else None
    return _all_decisions([(part, given[name], join(path, name)) for name, part in parts])


def _all_decisions(pairs: list[tuple[Any, Any, str]]) -> Decisions | None:
    together: Decisions = {}
    for node, value, path in pairs:
        found = decisions_to(node, value, path)
        if found is None:
            return None
        together.update(found)
    return together


def join(path: str, name: str) -> str:
    """Return the path of a part by the path of the whole."""
    return f"{path}.{name}" if path else name
