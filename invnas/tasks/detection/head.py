"""What a network for detection ends in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from invnas.tasks.ends import DenseEnds


@dataclass(frozen=True)
class Boxes(DenseEnds):
    """Scores and four offsets for each anchor: (B, anchors, ...). The neck and head of the architecture make them.

    Those of RetinaHead are of each class, those of RCNNHeads of "an object": its other heads see regions, which the
    task chooses by them. Background is no class.
    """

    lacking: ClassVar[str] = (
        "detection takes a DenseNet, which is a backbone with a neck and a head (RetinaHead or RCNNHeads), but the "
        "network has no such head; the space `detection_small` comes with invnas"
    )

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with an output unless it is scores and offsets of anchors."""
        if len(output_shape) == 2 and output_shape[1] in (1 + 4, self.classes + 4):
            return None
        return (
            f"the network must return for each anchor four offsets and one score, or one for each of {self.classes} "
            f"classes, as RetinaHead and RCNNHeads do, but returns the shape {output_shape}"
        )
