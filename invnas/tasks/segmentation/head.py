"""What a network for segmentation ends in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from invnas.tasks.ends import DenseEnds


@dataclass(frozen=True)
class PixelScores(DenseEnds):
    """One score for each class and pixel: (B, classes, H, W). The neck and head of the architecture make them."""

    lacking: ClassVar[str] = (
        "segmentation takes a DenseNet, which is a backbone with a neck and a head, but the network has no such head; "
        "the space `segmentation_small` comes with invnas"
    )

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with an output unless it is one score for each class and pixel."""
        if output_shape == (self.classes, *input_shape[1:]):
            return None
        return (
            f"the network must return one score for each of {self.classes} classes and each of {input_shape[1]} x "
            f"{input_shape[2]} pixels, but returns the shape {output_shape}"
        )
