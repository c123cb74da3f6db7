"""Decisions as numbers: which options were taken at a place, in a stage, in the whole network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from invnas.choice import Decisions, children, every_choice

#: An index in a path, such as the 1 of `stages.1.width`.
_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$|=)")
_LEVELS: tuple[Literal["network", "stage", "place"], ...] = ("network", "stage", "place")


@dataclass(frozen=True)
class Feature:
    """One column: how often an option was taken.

    Attributes:
        path: Where, with a star for every index that does not count, such as `stages.0.blocks.*.spatial`.
        option: Label of the option.
        level: "place" (this choice), "stage" (over the copies in a stage) or "network" (over all like it).
    """

    path: str
    option: str
    level: Literal["network", "stage", "place"]


class Encoder:
    """Turns decisions into counts of options on three levels; a choice that was not met counts nothing.

    Args:
        labels: The label of each option by path and index, such as `labels_of` a tree.

    Attributes:
        features: What each column counts.
    """

    def __init__(self, labels: Mapping[tuple[str, int], str]) -> None:
        self._columns: dict[tuple[str, int], list[int]] = {}
        found: dict[Feature, int] = {}
        for (path, i), label in labels.items():
            depth = indices(path)
            levels = {min(kept, depth) if kept < 2 else depth: level for kept, level in enumerate(_LEVELS)}
            columns = [
                found.setdefault(Feature(starred(path, kept), label, level), len(found))
                for kept, level in levels.items()
            ]
            self._columns[path, i] = columns
        self.features: tuple[Feature, ...] = tuple(found)

    def encode(self, many: Sequence[Decisions]) -> np.ndarray:
        """Return (n, features) counts."""
        table = np.zeros((len(many), len(self.features)))
        for row, decisions in zip(table, many, strict=True):
            for taken in decisions.items():
                for column in self._columns.get(taken, ()):
                    row[column] += 1
        return table


def labels_of(tree: Any) -> dict[tuple[str, int], str]:
    """Return the labels of the options of a tree by path and index."""
    choices = dict(every_choice(tree)).items()
    return {(path, i): label for path, one in choices if len(one.options) > 1 for i, label in enumerate(one.labels)}


def indices(path: str) -> int:
    """Return how many indices a path has.

    >>> indices("stages.1.blocks.0.spatial=Involution.kernel_size")
    2
    """
    return len(_INDEX.findall(path))


def starred(path: str, kept: int) -> str:
    """Replace the indices of a path by stars, but for the first `kept` ones.

    >>> starred("stages.1.blocks.0.spatial", 1)
    'stages.1.blocks.*.spatial'
    """
    seen = iter(range(len(path)))
    return _INDEX.sub(lambda index: index[0] if next(seen) < kept else "*", path)


def chosen(network: Any, path: str, index: int) -> str:
    """Return what a decision became in a network, such as 7, or Involution, or 2 (times).

    Args:
        network: Where the decision led.
        path: Its path, such as stages.0.blocks.1.spatial=Involution.kernel_size.
        index: The option that was taken; said as it is where the path names nothing.
    """
    value = network
    for name in path.split("."):
        name = name.split("=")[0]
        parts = dict(children(value))
        if name == "times" and isinstance(value, tuple):
            return str(len(value))
        if name == "each" and parts:
            name = next(iter(parts))
        if name not in parts:
            return f"option {index}"
        value = parts[name]
    return type(value).__name__ if children(value) and not isinstance(value, tuple) else str(value)
