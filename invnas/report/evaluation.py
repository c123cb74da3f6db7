"""What a model reaches on labelled images; of a classifier how often each class was taken for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from invnas.confusion import Confusion
from invnas.report.answers import wilson


@dataclass(frozen=True)
class Evaluation:
    """What a model reaches on labelled images.

    Attributes:
        images: Which images, in words.
        class_names: Names of the classes in the order of the model.
        confusion: How many images of each class (row) were taken for each class (column).
    """

    images: str
    class_names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def told(self) -> Confusion:
        """The same as counts of what occurred."""
        return Confusion({(i, j): n for i, row in enumerate(self.confusion) for j, n in enumerate(row)})

    @property
    def sentence(self) -> str:
        """How many were told right, in words."""
        low, high = self.interval
        said = f"{100 * self.accuracy:.1f} % of {self.count:,} images right"
        return f"{said} (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"

    @property
    def count(self) -> int:
        """How many images."""
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        """How many were told right."""
        return sum(row[i] for i, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float:
        """The share that was told right."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.accuracy, self.count)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "images": self.images,
            "count": self.count,
            "right": self.right,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "classes": [
                {"class": name, "count": sum(row), "right": row[i], "accuracy": row[i] / sum(row) if sum(row) else None}
                for i, (name, row) in enumerate(zip(self.class_names, self.confusion, strict=True))
            ],
            "confusion": [list(row) for row in self.confusion],
        }


@dataclass(frozen=True)
class TaskEvaluation:
    """What a model of any task reaches on labelled images.

    Attributes:
        images: Which images, in words.
        values: What its task measures, by name, the one that matters first.
        class_names: Names of the classes in the order of the model.
        by_class: The first of the values for each class; None for a class without images; empty where the task does not
            say it.
    """

    images: str
    values: Mapping[str, float]
    class_names: tuple[str, ...]
    by_class: tuple[float | None, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "values": dict(self.values)}
