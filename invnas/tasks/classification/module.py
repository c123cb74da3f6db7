"""How a classifier learns and is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
        # (2, B) of each batch, where it is: the classes of its images, and what they were taken for.
        self._told: list[torch.Tensor] = []
        self._pairs: Counter[tuple[int, int]] = Counter()

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
        self._told.append(torch.stack([targets, outputs.argmax(dim=1)]))
        self.ranking.update(outputs, targets)

    def measured(self) -> dict[str, float]:
        """Return what `Classification.objectives` names; top-5 with more than five classes only."""
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        values["loss"] = float(self.loss.compute())
        self.metrics.reset()
        self.loss.reset()
        self._pairs = Counter(zip(*torch.cat(self._told, 1).tolist(), strict=True)) if self._told else Counter()
        self._told = []
        values |= {"balanced_accuracy": _recall(self._pairs), "f1": _f1(self._pairs)}
        values["auroc"] = self.ranking.compute()
        return values

    def class_values(self) -> tuple[float | None, ...]:
        """Return the top-1 accuracy of each class."""
        seen = _sums(self._pairs, 0)
        if not seen:
            return ()
        shares = (self._pairs[i, i] / seen[i] if seen[i] else None for i in range(self.classes))
        return tuple(None if share is None else float(f"{share:.3g}") for share in shares)

    def class_confusion(self) -> Mapping[tuple[int, int], int]:
        """Return how many images of each class were taken for each."""
        return self._pairs


def _sums(pairs: Mapping[tuple[int, int], int], side: int) -> Counter[int]:
    """Return how many images are of each class (side 0), or were taken for it (side 1)."""
    found: Counter[int] = Counter()
    for pair, count in pairs.items():
        found[pair[side]] += count
    return found


def _recall(pairs: Counter[tuple[int, int]]) -> float:
    """Return the mean accuracy of the classes of which there are images; 0 where there are none at all."""
    shares = [pairs[i, i] / count for i, count in sorted(_sums(pairs, 0).items())]
    return sum(shares) / len(shares) if shares else 0.0


def _f1(pairs: Counter[tuple[int, int]]) -> float:
    """Return the mean F1 of the classes that are there or were told; 0 where there are none at all."""
    either = _sums(pairs, 0) + _sums(pairs, 1)
    shares = [2 * pairs[i, i] / count for i, count in sorted(either.items())]
    return sum(shares) / len(shares) if shares else 0.0
