"""How a classifier learns and is measured."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from invnas.experiment import Recipe
from invnas.learner import Learner
from invnas.tasks.classification.labels import as_classes, as_targets


class Classifier(Learner):
    """Cross-entropy for training; top-1, top-5 (with more than five classes) and loss on the images it is judged by.

    Args:
        network: (B, C, H, W) -> (B, classes).
        classes: Number of classes.
        recipe: How to train it.
    """

    def __init__(self, network: nn.Module, classes: int, recipe: Recipe) -> None:
        super().__init__(network, recipe, guessing=math.log(classes))
        self.classes = classes
        tops = {"top1": 1, "top5": 5} if classes > 5 else {"top1": 1}
        self.metrics = MetricCollection(
            {
                name: MulticlassAccuracy(classes, top_k=k, average="micro", validate_args=False)
                for name, k in tops.items()
            },
            compute_groups=False,
        )
        self.loss = MeanMetric(nan_strategy="disable")
        # Images of each class, and those of them that were told right; made where the images are.
        self._counts: torch.Tensor | None = None
        self._shares: tuple[float | None, ...] = ()

    def training_loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the cross-entropy, with the recipe's label smoothing."""
        targets = as_targets(targets, self.classes)
        return F.cross_entropy(outputs, targets, label_smoothing=self.recipe.label_smoothing)

    def measure(self, outputs: torch.Tensor, targets: Any) -> None:
        """Add a batch to the metrics."""
        targets = as_classes(targets, self.classes)
        self.metrics.update(outputs, targets)
        self.loss.update(F.cross_entropy(outputs, targets, reduction="none"))
        if self._counts is None:
            self._counts = torch.zeros((2, self.classes), dtype=torch.int64, device=targets.device)
        right = outputs.argmax(dim=1) == targets
        self._counts.index_add_(1, targets, torch.stack([torch.ones_like(targets), right.long()]))

    def measured(self) -> dict[str, float]:
        """Return top-1, top-5 and loss."""
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        values["loss"] = float(self.loss.compute())
        self.metrics.reset()
        self.loss.reset()
        seen, right = ([0] * self.classes,) * 2 if self._counts is None else self._counts.tolist()
        self._shares = tuple(float(f"{r / n:.3g}") if n else None for n, r in zip(seen, right, strict=True))
        self._counts = None
        return values

    def class_values(self) -> tuple[float | None, ...]:
        """Return the top-1 accuracy of each class."""
        return self._shares
