"""What a network for detection ends in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invnas.errors import InvalidArchitecture
from invnas.head import FeatureMap

if TYPE_CHECKING:
    from torch import nn

_WANTED = (
    "detection takes a DenseNet, which is a backbone with a neck and a head (RetinaHead or RCNNHeads), but the network "
    "has no such head; the space `detection_small` comes with invnas"
)


@dataclass(frozen=True)
class Boxes:
    """Scores and four offsets for each anchor: (B, anchors, ...). The neck and head of the architecture make them.

    Those of RetinaHead are of each class, those of RCNNHeads of "an object": its other heads see regions, which the
    task chooses by them.

    Attributes:
        classes: Number of classes; background is none.
    """

    classes: int

    @property
    def given(self) -> Mapping[str, Any]:
        """The number of classes."""
        return {"classes": self.classes}

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Raise InvalidArchitecture: a network without a head of its own has none for boxes."""
        raise InvalidArchitecture(_WANTED)

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        """Raise InvalidArchitecture, as `wanted` does."""
        raise InvalidArchitecture(_WANTED)

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        """Return what is wrong with an output unless it is scores and offsets of anchors."""
        if len(output_shape) == 2 and output_shape[1] in (1 + 4, self.classes + 4):
            return None
        return (
            f"the network must return for each anchor four offsets and one score, or one for each of {self.classes} "
            f"classes, as RetinaHead and RCNNHeads do, but returns the shape {output_shape}"
        )
