"""Neighbours of an architecture, as decisions: what a search that knows costs and features wants to look at."""

from __future__ import annotations

import random
from collections.abc import Callable

from invnas.choice import Choice, Decisions, count, every_choice
from invnas.features import indices, starred
from invnas.space import Space

#: Share of the neighbours that differ in one decision, in two, in one decision taken alike by all copies; the others
#: are exchanges.
ONE, TWO, ALIKE = 0.45, 0.2, 0.2
#: Share of the decisions taken alike that are for the copies of one stage, not for all of the network.
STAGE = 0.7
#: Share of the exchanges that are of options with choices of their own, such as operators.
OPENING = 0.7


class Moves:
    """Steps from an architecture to a neighbour.

    Args:
        space: Where to step.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        choices = dict(every_choice(space.network))
        self._options = {path: len(choice.options) for path, choice in choices.items() if len(choice.options) > 1}
        self._opening = {path for path, choice in choices.items() if max(map(count, choice.options)) > 1}
        self._copies = {path: starred(path, max(indices(path) - 1, 0)) for path in choices}
        self._likes = {path: starred(path, 0) for path in choices}

    def neighbour(self, parent: Decisions, rng: random.Random) -> Decisions:
        """Return decisions a step away, valid or not; those that a step opens are drawn option by option.

        A step takes one decision otherwise, or two, or one alike for all copies of a stage or of the network, or
        exchanges what two like places hold: that moves an operator to another block or stage, and keeps most of the
        cost.
        """
        free = [path for path in parent if path in self._options]
        if not free:
            return dict(parent)
        kind, path = rng.random(), rng.choice(free)
        if kind < ONE + TWO:
            changed = {path: None} if kind < ONE else {path: None, rng.choice(free): None}
            return self._following(parent | {one: self._other(parent, one, rng) for one in changed}, rng)
        if kind < ONE + TWO + ALIKE:
            return self._alike(parent, path, rng)
        return self._exchanged(parent, path, free, rng)

    def _other(self, parent: Decisions, path: str, rng: random.Random) -> int:
        return (parent[path] + rng.randrange(1, self._options[path])) % self._options[path]

    def _following(
        self, wanted: Decisions, rng: random.Random, alike: Callable[[str], int | None] = lambda path: None
    ) -> Decisions:
        """Return the way that follows wanted decisions where there are any that fit."""

        def decide(path: str, choice: Choice) -> int:
            index = alike(path)
            index = wanted.get(path, -1) if index is None else index
            return index if 0 <= index < len(choice.options) else rng.randrange(len(choice.options))

        return self._space.walk(decide)

    def _alike(self, parent: Decisions, path: str, rng: random.Random) -> Decisions:
        names, index = self._copies if rng.random() < STAGE else self._likes, self._other(parent, path, rng)
        return self._following(parent, rng, lambda at: index if names[at] == names[path] else None)

    def _exchanged(self, parent: Decisions, path: str, free: list[str], rng: random.Random) -> Decisions:
        if opening := [one for one in free if one in self._opening]:
            path = rng.choice(opening) if rng.random() < OPENING else path
        held, name = _below(parent, path), self._likes[path]
        others = [other for other in free if self._likes[other] == name and _below(parent, other) != held]
        if not others:  # all like places hold the same
            return self._following(parent | {path: self._other(parent, path, rng)}, rng)
        other = rng.choice(others)
        kept = {at: index for at, index in parent.items() if not (_is_below(at, path) or _is_below(at, other))}
        kept |= {other + end: index for end, index in held.items()}
        kept |= {path + end: index for end, index in _below(parent, other).items()}
        return self._following(kept, rng)


def _is_below(at: str, path: str) -> bool:
    return at == path or at.startswith((f"{path}.", f"{path}="))


def _below(decisions: Decisions, path: str) -> Decisions:
    """Return the decisions at a place and in what was chosen there, by the rest of their path."""
    return {at[len(path) :]: index for at, index in decisions.items() if _is_below(at, path)}
