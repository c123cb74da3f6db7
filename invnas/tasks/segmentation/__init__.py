"""Semantic segmentation: one score for each class and pixel of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from invnas.facts import DataFacts
from invnas.objective import Objective
from invnas.task import Legend
from invnas.tasks.segmentation.head import PixelScores

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

    from invnas.data.preparing import Seen
    from invnas.experiment import Recipe
    from invnas.postprocessing import PixelClasses
    from invnas.tasks.segmentation.answers import MaskPrediction
    from invnas.tasks.segmentation.module import Segmenter

MIOU = Objective(
    "miou",
    "mIoU",
    "Mean intersection over union on validation",
    "maximize",
    "share",
    False,
    0.0,
    1.0,
    source="learned",
)
PIXELS = replace(MIOU, name="pixel_accuracy", label="pixels", title="Pixel accuracy on validation")
LOSS = Objective(
    "loss",
    "loss",
    "Cross-entropy of a pixel on validation (nats)",
    "minimize",
    "number",
    False,
    math.log(256),  # guessing among as many classes as a mask may have
    0.0,
    source="learned",
)

LEGEND = Legend("the image, the truth, and what the network finds; white is ignored")


@dataclass(frozen=True)
class Segmentation:
    """One class for each pixel; mean intersection over union is what matters."""

    name: str = "segmentation"
    objectives: tuple[Objective, ...] = (MIOU, PIXELS, LOSS)
    tested: tuple[str, ...] = ("miou", "pixel_accuracy")
    legend: Legend = LEGEND

    def head(self, facts: DataFacts) -> PixelScores:
        """Return one score for each class and pixel."""
        return PixelScores(facts.classes)

    def module(self, network: nn.Module, facts: DataFacts, recipe: Recipe) -> Segmenter:
        """Return the LightningModule of a segmenter."""
        from invnas.tasks.segmentation.module import Segmenter

        return Segmenter(network, facts.classes, recipe)

    def check_network(self, network: Any) -> None:
        """Raise BadInput for a network that ends in no head for pixels."""
        PixelScores.check_network(network)

    def check_targets(self, facts: DataFacts) -> Callable[[Any, int, bool], None]:
        """Return the check of masks."""
        from invnas.tasks.segmentation.labels import check_masks

        _, height, width = facts.input_shape
        return lambda masks, images, training: check_masks(masks, images, (height, width), facts.classes)

    def pictures(self, network: nn.Module, images: torch.Tensor, targets: Any, facts: DataFacts) -> Image:
        """Return a picture of what a network finds in images, beside the truth."""
        from invnas.tasks.segmentation.drawing import picture

        return picture(network, images, targets, facts)

    def answers(
        self, network: nn.Module, images: torch.Tensor, names: Sequence[str], seen: Sequence[Seen]
    ) -> list[MaskPrediction]:
        """Return the mask of each image, at the size that it has."""
        from invnas.tasks.segmentation.answers import masks

        return masks(network(images), names, seen)

    def postprocessing(self, network: nn.Module, input_shape: tuple[int, int, int]) -> PixelClasses:
        """Return what makes a mask of the scores of a network, for its exports."""
        from invnas.postprocessing import PixelClasses

        return PixelClasses()

    def output(self, facts: DataFacts) -> str:
        """Return what a score is."""
        return "one score for each class and pixel, before softmax, not calibrated"

    def describe(self, facts: DataFacts) -> Mapping[str, str]:
        """Return the number of classes."""
        return {"classes": str(facts.classes)}
