"""What a classifier says of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        index: Number of the most probable class.
        name: What that class is called; its number where classes have no names.
        probability: Softmax of its score; not calibrated.
        probabilities: The same of every class, in label order.
        names: What the classes are called.
    """

    index: int
    name: str
    probability: float
    probabilities: tuple[float, ...]
    names: tuple[str, ...]

    def words(self, most: int | None) -> str:
        """Return the most probable classes, by default one."""
        return ", ".join(f"{name} {share:.3f}" for name, share in self._best(most))

    def to_dict(self, most: int | None) -> dict[str, Any]:
        """Return plain JSON data: the most probable class, and so many of them under "top"."""
        said = [{"class": name, "probability": share} for name, share in self._best(most)]
        return {"index": self.index, **said[0], "top": said}

    def _best(self, most: int | None) -> list[tuple[str, float]]:
        order = sorted(range(len(self.probabilities)), key=self.probabilities.__getitem__, reverse=True)
        return [(self.names[i], self.probabilities[i]) for i in order[: most or 1]]


def predictions(scores: torch.Tensor, names: Sequence[str]) -> list[Prediction]:
    """Return what scores (B, classes) say."""
    found = []
    for probabilities in scores.double().softmax(dim=1).tolist():
        index = max(range(len(probabilities)), key=probabilities.__getitem__)
        found.append(Prediction(index, names[index], probabilities[index], tuple(probabilities), tuple(names)))
    return found
