"""How a segmenter learns and is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from invnas.experiment import Recipe
from invnas.learner import Learner
from invnas.masks import IGNORED
from invnas.tasks.segmentation.labels import as_mask


class Segmenter(Learner):
    """Cross-entropy of the pixels for training; then mean intersection over union, pixel accuracy and cross-entropy.

    Pixels that a mask ignores count nowhere. A loss is the mean over the pixels of a batch, so parts of a batch with
    few such pixels weigh as much as others.

    Args:
        network: (B, C, H, W) -> (B, classes, H, W).
        classes: Number of classes.
        recipe: How to train it.
    """

    def __init__(self, network: nn.Module, classes: int, recipe: Recipe) -> None:
        super().__init__(network, recipe, math.log(classes) if classes > 1 else None)
        self.classes = classes
        self.confusion = MulticlassConfusionMatrix(classes, ignore_index=IGNORED, validate_args=False)
        #: Cross-entropy of all pixels that count; summed here, since a mean of torchmetrics that takes weights looks at
        #: every value, which a GPU would wait for.
        self._summed: torch.Tensor | float = 0.0
        self._shares: tuple[float | None, ...] = ()
        self._pairs: Mapping[tuple[int, int], int] = {}

    def training_loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the mean cross-entropy of the pixels that count; 0 where none does."""
        losses, counted = self._losses_of(outputs, targets)
        return losses.sum() / counted.sum().clamp(min=1)

    def measure(self, outputs: torch.Tensor, targets: Any) -> None:
        """Add a batch to the metrics."""
        losses, _ = self._losses_of(outputs, targets)
        self._summed = self._summed + losses.sum()
        self.confusion.update(outputs.argmax(dim=1), as_mask(targets, _size(outputs)))

    def measured(self) -> dict[str, float]:
        """Return what `Segmentation.objectives` names.

        The mean is over the classes that are there or were told; a data set is one count, not a mean over images.
        """
        seen_any = self.confusion.update_called  # torchmetrics warns where nothing was
        counts = (self.confusion.compute() if seen_any else self.confusion.confmat).cpu().double()
        right, seen, told = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
        union = seen + told - right
        shares = (right / union).tolist()  # 0 / 0 where a class is nowhere
        known = [share for share in shares if not math.isnan(share)]
        pixels = float(counts.sum())
        values = {
            "miou": sum(known) / len(known) if known else 0.0,
            "pixel_accuracy": float(right.sum()) / pixels if pixels else 0.0,
            "loss": float(self._summed) / pixels if pixels else 0.0,
        }
        self._shares = tuple(None if math.isnan(share) else float(f"{share:.3g}") for share in shares)
        self._pairs = {(i, j): int(counts[i, j]) for i, j in counts.nonzero().tolist()}
        self.confusion.reset()
        self._summed = 0.0
        return values

    def class_values(self) -> tuple[float | None, ...]:
        """Return the intersection over union of each class; None where it is in no mask and was never told."""
        return self._shares

    def class_confusion(self) -> Mapping[tuple[int, int], int]:
        """Return how many pixels of each class were taken for each."""
        return self._pairs

    def _losses_of(self, outputs: torch.Tensor, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cross-entropy of each pixel, 0 where it is ignored, and which are not, (B, H, W) each."""
        if outputs.dtype != torch.float64:
            outputs = outputs.float()
        masks = as_mask(targets, _size(outputs))
        return F.cross_entropy(outputs, masks, ignore_index=IGNORED, reduction="none"), masks != IGNORED


def _size(outputs: torch.Tensor) -> tuple[int, int]:
    return outputs.shape[2], outputs.shape[3]
