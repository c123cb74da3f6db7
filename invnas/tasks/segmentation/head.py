"""What a network for segmentation ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invnas.errors import InvalidArchitecture
from invnas.head import FeatureMap

if TYPE_CHECKING:
    from torch import nn

#: Said of a network without such a head.
WANTED = (
    "segmentation takes a DenseNet, which is a backbone with a neck and a head, but the network has no such head; the "
    "space `segmentation_small` comes with invnas"
)


@dataclass(frozen=True)
class PixelScores:
    """One score for each class and pixel: (B, classes, H, W). The neck and head of the architecture make them.

    Attributes:
        classes: Number of classes.
    """

    classes: int

    @property
    def given(self) -> Mapping[str, Any]:
        """The number of classes."""
        return {"classes": self.classes}

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Raise InvalidArchitecture: a network without a head of its own has none for pixels."""
        raise InvalidArchitecture(WANTED)

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        """Raise InvalidArchitecture, as `wanted` does."""
        raise InvalidArchitecture(WANTED)

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with an output unless it is one score for each class and pixel."""
        if output_shape == (self.classes, *input_shape[1:]):
            return None
        return (
            f"the network must return one score for each of {self.classes} classes and each of {input_shape[1]} x "
            f"{input_shape[2]} pixels, but returns the shape {output_shape}"
        )
