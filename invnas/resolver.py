"""A tree of choices made ready, so that a way through it costs its decisions and little else.

Parts without choices are taken as they are, and a part that was resolved once by the same decisions is the same object
the next time: what is worked out about it (`facts_of`) is worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any, Protocol

from invnas.choice import Choice, Copies, Decisions, Repeat, children, count, join

Decide = Callable[[str, Choice], int]

#: Parts that can become more values than this are made anew each time.
KEPT = 10_000


class _Node(Protocol):
    def take(self, decide: Decide, trail: list[int]) -> Any:
        """Return the value; what was decided on the way is appended to the trail."""
        ...

    def visit(self, decide: Decide) -> None:
        """Decide what `take` would, without making a value."""
        ...


class Resolver:
    """Resolves one tree again and again.

    Args:
        tree: A tree of frozen dataclasses, tuples, lists and plain values with a Choice or Repeat anywhere in it.

    >>> resolver = Resolver((Choice(3, 5), "same"))
    >>> resolver.resolve(lambda path, choice: 1)
    (5, 'same')
    """

    def __init__(self, tree: Any) -> None:
        self._made: dict[int, dict[tuple[int, ...], Any]] = {}
        self._root = self.node(tree, "")

    def resolve(self, decide: Decide) -> Any:
        """Return the value the tree becomes when `decide(path, choice)` gives the index of each option."""
        return self._root.take(decide, [])

    def walk(self, decide: Decide) -> None:
        """Call `decide` as `resolve` does, also where a value would refuse what it becomes."""
        self._root.visit(decide)

    def node(self, tree: Any, path: str) -> _Node:
        """Return a part of the tree made ready; it stands at a path."""
        if isinstance(tree, Repeat):
            if len(tree.choice.options) > 1:
                return _Chosen(self, join(path, "times"), tree.choice, [path] * len(tree.choice.options))
            return self.node(tree.choice.options[0], path)
        if isinstance(tree, Choice):
            return _Chosen(self, path, tree, [f"{path}={label}" for label in tree.labels])
        if isinstance(tree, Copies):
            if tree.shared:
                return _Shared(self.node(tree.item, join(path, "each")) if tree.times else None, tree.times)
            return _Made(tuple, [self.node(tree.item, join(path, str(i))) for i in range(tree.times)], None)
        parts = children(tree)
        if not parts:
            return _Constant(() if isinstance(tree, list) else tree)
        nodes = [self.node(part, join(path, name)) for name, part in parts]
        if isinstance(tree, tuple) and all(isinstance(node, _Constant) for node in nodes):
            return _Constant(tuple(node.value for node in nodes if isinstance(node, _Constant)))
        if not is_dataclass(tree):
            return _Made(tuple, nodes, None)
        made = self._made.setdefault(id(tree), {}) if count(tree) <= KEPT else None
        return _Made(_maker(tree, [name for name, _ in parts]), nodes, made)


def _maker(template: Any, names: list[str]) -> Callable[[list[Any]], Any]:
    kind = type(template)
    return lambda values: kind(**dict(zip(names, values, strict=True)))


class _Constant:
    def __init__(self, value: Any) -> None:
        self.value = value

    def take(self, decide: Decide, trail: list[int]) -> Any:
        return self.value

    def visit(self, decide: Decide) -> None:
        return None


class _Made:
    """A dataclass or tuple of parts; `made` holds what it became, by the decisions in it."""

    def __init__(
        self, make: Callable[[list[Any]], Any], parts: list[_Node], made: dict[tuple[int, ...], Any] | None
    ) -> None:
        self._make, self._parts, self._made = make, parts, made
        self._deciding = [part for part in parts if not isinstance(part, _Constant)]

    def take(self, decide: Decide, trail: list[int]) -> Any:
        start = len(trail)
        values = [part.take(decide, trail) for part in self._parts]
        if self._made is None:
            return self._make(values)
        key = tuple(trail[start:])
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(values)
        return found

    def visit(self, decide: Decide) -> None:
        for part in self._deciding:
            part.visit(decide)


class _Shared:
    def __init__(self, item: _Node | None, times: int) -> None:
        self._item, self._times = item, times

    def take(self, decide: Decide, trail: list[int]) -> Any:
        return () if self._item is None else (self._item.take(decide, trail),) * self._times

    def visit(self, decide: Decide) -> None:
        if self._item is not None:
            self._item.visit(decide)


class _Chosen:
    """A choice; its options are made ready when they are first taken."""

    def __init__(self, resolver: Resolver, path: str, choice: Choice, paths: list[str]) -> None:
        self._resolver, self._path, self._choice, self._paths = resolver, path, choice, paths
        self._nodes: list[_Node | None] = [None] * len(choice.options)

    def take(self, decide: Decide, trail: list[int]) -> Any:
        index = decide(self._path, self._choice)
        trail.append(index)
        return self._node(index).take(decide, trail)

    def visit(self, decide: Decide) -> None:
        self._node(decide(self._path, self._choice)).visit(decide)

    def _node(self, index: int) -> _Node:
        node = self._nodes[index]
        if node is None:
            node = self._nodes[index] = self._resolver.node(self._choice.options[index], self._paths[index])
        return node


def enumerate_decisions(resolver: Resolver) -> Iterator[Decisions]:
    """Yield every assignment of decisions of a tree once, in the order of an odometer."""
    prefix: list[int] = []
    while True:
        trail: list[tuple[str, int, int]] = []

        def decide(path: str, choice: Choice, prefix: list[int] = prefix, trail: Any = trail) -> int:
            index = prefix[len(trail)] if len(trail) < len(prefix) else 0
            trail.append((path, index, len(choice.options)))
            return index

        resolver.walk(decide)
        yield {path: index for path, index, _ in trail}
        while trail and trail[-1][1] + 1 == trail[-1][2]:
            trail.pop()
        if not trail:
            return
        prefix = [index for _, index, _ in trail]
        prefix[-1] += 1
