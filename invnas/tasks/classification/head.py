"""The head of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invnas.head import FeatureMap

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ClassScores:
    """Global average pool of the last map and a linear layer: (B, C, H, W) -> (B, classes).

    Attributes:
        classes: Number of classes.
    """

    classes: int

    @property
    def given(self) -> Mapping[str, Any]:
        """The number of classes."""
        return {"classes": self.classes}

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Return the last map alone."""
        return (len(maps) - 1,)

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        """Return the module, initialised as the reference does."""
        from torch import nn

        linear = nn.Linear(maps[0].channels, self.classes)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with an output unless it is one score for each class."""
        if output_shape == (self.classes,):
            return None
        return (
            f"the network must return one score for each of {self.classes} classes, but returns the shape "
            f"{output_shape}"
        )
