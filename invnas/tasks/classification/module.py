"""How a classifier learns and is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from invnas.experiment import Recipe
from invnas.learner import Learner
from invnas.tasks.classification.criterion import criterion_of, guess_of
from invnas.tasks.classification.labels import as_classes, as_targets
from invnas.tasks.classification.mixing import mixed
from invnas.tasks.classification.ranking import AreaUnderRoc


class Classifier(Learner):
    """The recipe's loss for training; then top-1, top-5 (with more than five classes), cross-entropy, and what weighs
    every class alike: balanced accuracy, macro F1, macro AUROC.

    Args:
        network: (B, C, H, W) -> (B, classes).
        classes: Number of classes.
        recipe: How to train it.
        weights: Weight of each class in the training loss; None: all count alike.
    """

    def __init__(
        self, network: nn.Module, classes: int, recipe: Recipe, weights: Sequence[float] | None = None
    ) -> None:
        criterion = criterion_of(recipe, weights)
        super().__init__(network, recipe, guess_of(recipe, criterion, classes))
        self.classes, self.criterion = classes, criterion
        tops = {"top1": 1, "top5": 5} if classes > 5 else {"top1": 1}
        self.metrics = MetricCollection(
            {
                name: MulticlassAccuracy(classes, top_k=k, average="micro", validate_args=False)
                for name, k in tops.items()
            },
            compute_groups=False,
        )
        self.loss = MeanMetric(nan_strategy="disable")
        self.ranking = AreaUnderRoc(classes)
        # Images of each class, those of them that were told right, and those told to be of it; made where they are.
        self._counts: torch.Tensor | None = None
        self._shares: tuple[float | None, ...] = ()

    def prepared(self, images: torch.Tensor, targets: Any, batch: int) -> tuple[torch.Tensor, Any]:
        """Return a training batch with its images mixed, where the recipe says so; seed, epoch and batch decide how."""
        targets = as_targets(targets, self.classes)
        if not self.recipe.mixes:
            return images, targets
        shares = F.one_hot(targets, self.classes) if targets.dim() == 1 else targets
        images = images.to(self.dtype)
        # Without a seed torch's own generator decides.
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed
        rng = np.random.default_rng((seed, self.current_epoch, batch))
        return mixed(images, shares.to(images.dtype), self.recipe.mixup, self.recipe.cutmix, rng)

    def training_loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the recipe's loss."""
        if outputs.dtype != torch.float64:  # a loss of a user's own need not know half precision
            outputs = outputs.float()
        loss: torch.Tensor = self.criterion(outputs, as_targets(targets, self.classes))
        return loss

    def measure(self, outputs: torch.Tensor, targets: Any) -> None:
        """Add a batch to the metrics."""
        targets = as_classes(targets, self.classes)
        self.metrics.update(outputs, targets)
        self.loss.update(F.cross_entropy(outputs, targets, reduction="none"))
        if self._counts is None:
            self._counts = torch.zeros((3, self.classes), dtype=torch.int64, device=targets.device)
        told, one = outputs.argmax(dim=1), torch.ones_like(targets)
        self._counts[:2].index_add_(1, targets, torch.stack([one, (told == targets).long()]))
        self._counts[2].index_add_(0, told, one)
        self.ranking.update(outputs, targets)

    def measured(self) -> dict[str, float]:
        """Return what `Classification.objectives` names; top-5 with more than five classes only."""
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        values["loss"] = float(self.loss.compute())
        self.metrics.reset()
        self.loss.reset()
        seen, right, told = ([0] * self.classes,) * 3 if self._counts is None else self._counts.tolist()
        self._counts = None
        values |= {"balanced_accuracy": _recall(seen, right), "f1": _f1(seen, right, told)}
        values["auroc"] = self.ranking.compute()
        self._shares = tuple(float(f"{r / n:.3g}") if n else None for n, r in zip(seen, right, strict=True))
        return values

    def class_values(self) -> tuple[float | None, ...]:
        """Return the top-1 accuracy of each class."""
        return self._shares


def _recall(seen: list[int], right: list[int]) -> float:
    """Return the mean accuracy of the classes of which there are images; 0 where there are none at all."""
    shares = [r / n for n, r in zip(seen, right, strict=True) if n]
    return sum(shares) / len(shares) if shares else 0.0


def _f1(seen: list[int], right: list[int], told: list[int]) -> float:
    """Return the mean F1 of the classes that are there or were told; 0 where there are none at all."""
    shares = [2 * r / (n + t) for n, r, t in zip(seen, right, told, strict=True) if n + t]
    return sum(shares) / len(shares) if shares else 0.0
