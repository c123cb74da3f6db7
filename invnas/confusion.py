"""What was taken for what, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any

from invnas.errors import BadInput, shown

#: Where the numbers of classes and counts end: a double holds them exactly.
_END = 2**53


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each; as large as there are different answers, however many classes.

    Attributes:
        counts: How many images (or whatever a task tells apart) of a class, first, were taken for a class, second, by
            their numbers from 0; pairs that are left out did not occur.

    Raises:
        BadInput: If it holds anything but whole numbers from 0.

    >>> found = Confusion({(0, 0): 7, (0, 1): 3, (1, 1): 10})
    >>> found.right, found.total, found.mistakes
    (17, 20, ((0, 1),))
    """

    counts: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            plain = {(index(true), index(taken)): index(n) for (true, taken), n in self.counts.items()}
        except (AttributeError, TypeError, ValueError):
            raise BadInput(
                "what was taken for what must be counts by pairs of classes, {(true, taken for): how many}, all whole "
                f"numbers, but is {shown(self.counts, 60)}"
            ) from None
        for (true, taken), n in plain.items():
            if not all(0 <= number < _END for number in (true, taken, n)):
                said = f"class {shown(true)} was taken for class {shown(taken)} {shown(n)} times"
                raise BadInput(f"what was taken for what says that {said}: each number must lie in 0..2**53 - 1")
        object.__setattr__(self, "counts", {pair: n for pair, n in plain.items() if n})

    def __bool__(self) -> bool:
        return bool(self.counts)

    @cached_property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts.values())

    @cached_property
    def right(self) -> int:
        """How many were taken for what they are."""
        return sum(n for (true, taken), n in self.counts.items() if true == taken)

    @cached_property
    def seen(self) -> Counter[int]:
        """How many there were of each class."""
        found: Counter[int] = Counter()
        for (true, _), n in self.counts.items():
            found[true] += n
        return found

    @cached_property
    def mistakes(self) -> tuple[tuple[int, int], ...]:
        """The pairs of different classes, the most frequent first."""
        wrong = [pair for pair in self.counts if pair[0] != pair[1]]
        return tuple(sorted(wrong, key=lambda pair: (-self.counts[pair], pair)))

    def classes(self, known: int = 0) -> tuple[int, ...]:
        """Return the classes that occur, and so many from 0 that are known to be there."""
        return tuple(sorted({number for pair in self.counts for number in pair} | set(range(known))))

    def most_mistaken(self, most: int) -> tuple[int, ...]:
        """Return up to so many classes, in their own order: those that are in the most frequent mistakes."""
        found: set[int] = set()
        for pair in self.mistakes:
            if len(found) >= most - 1:  # a pair may bring two
                break
            found |= set(pair)
        return tuple(sorted(found)) or self.classes()[:most]

    def matrix(self, classes: Iterable[int]) -> list[list[int]]:
        """Return a row for each of some classes: how many of it were taken for each of them."""
        classes = tuple(classes)
        return [[self.counts.get((true, taken), 0) for taken in classes] for true in classes]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"counts": [[*pair, n] for pair, n in sorted(self.counts.items())]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Confusion:
        """Rebuild from `to_dict`; raises a KeyError, TypeError or ValueError if it is something else."""
        try:
            return cls({(true, taken): n for true, taken, n in data["counts"]})
        except BadInput as error:
            raise ValueError(error) from None


def together(some: Iterable[Confusion]) -> Confusion:
    """Return the sum of counts.

    >>> together([Confusion({(0, 1): 2}), Confusion({(0, 1): 1, (1, 1): 4})]).counts
    {(0, 1): 3, (1, 1): 4}
    """
    counts: Counter[tuple[int, int]] = Counter()
    for one in some:
        counts.update(one.counts)
    return Confusion(counts)
