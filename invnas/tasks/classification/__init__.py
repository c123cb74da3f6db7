"""Classification: one score for each class of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from invnas.dense import DenseNet
from invnas.errors import BadInput
from invnas.facts import DataFacts
from invnas.objective import Objective
from invnas.tasks.classification.head import ClassScores
from invnas.tasks.classification.weighting import weights_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from invnas.experiment import Recipe
    from invnas.tasks.classification.answers import Prediction
    from invnas.tasks.classification.module import Classifier

TOP1 = Objective(
    "top1",
    "top-1",
    "Top-1 accuracy on validation",
    "maximize",
    "share",
    False,
    0.0,
    1.0,
    source="learned",
    of_images=True,
)
BALANCED = replace(
    TOP1, name="balanced_accuracy", label="balanced", title="Balanced accuracy on validation", of_images=False
)
F1 = replace(BALANCED, name="f1", label="F1", title="Macro F1 on validation")
AUROC = replace(BALANCED, name="auroc", label="AUROC", title="Macro AUROC on validation", worst=0.5)  # a guess has 0.5
TOP5 = replace(TOP1, name="top5", label="top-5", title="Top-5 accuracy on validation")
LOSS = Objective(
    "loss",
    "loss",
    "Cross-entropy on validation (nats)",
    "minimize",
    "number",
    False,
    math.log(1000),  # guessing among a thousand classes: a fixed end, whatever the data
    0.0,
    source="learned",
)


@dataclass(frozen=True)
class Classification:
    """One label for each image; top-1 accuracy is what matters."""

    name: str = "classification"
    objectives: tuple[Objective, ...] = (TOP1, TOP5, LOSS, BALANCED, F1, AUROC)
    tested: tuple[str, ...] = ("top1",)

    def head(self, facts: DataFacts) -> ClassScores:
        """Return one score for each class."""
        return ClassScores(facts.classes)

    def module(self, network: nn.Module, facts: DataFacts, recipe: Recipe) -> Classifier:
        """Return the LightningModule of a classifier."""
        from invnas.tasks.classification.module import Classifier

        return Classifier(network, facts.classes, recipe, weights_of(recipe, facts))

    def check_recipe(self, recipe: Recipe, facts: DataFacts) -> None:
        """Raise BadInput unless the weights are of these classes and the loss takes their labels."""
        from invnas.tasks.classification.criterion import check_criterion

        check_criterion(recipe, facts.classes, weights_of(recipe, facts))

    def check_network(self, network: Any) -> None:
        """Raise BadInput for a network whose head is for something else than one label for each image."""
        if isinstance(network, DenseNet):
            raise BadInput(
                "classification takes a HybridNet, which ends in one score for each class, but the space holds a "
                "DenseNet, whose head is for the pixels or objects of an image; its task may be segmentation"
            )

    def check_targets(self, facts: DataFacts) -> Callable[[Any, int, bool], None]:
        """Return the check of labels."""
        from invnas.tasks.classification.labels import check_labels

        return lambda labels, images, training: check_labels(labels, images, facts.classes, training)

    def answers(
        self, network: nn.Module, images: torch.Tensor, names: Sequence[str], seen: Sequence[Any]
    ) -> list[Prediction]:
        """Return what the scores of each image say."""
        from invnas.tasks.classification.answers import predictions

        return predictions(network(images), names)

    def output(self, facts: DataFacts) -> str:
        """Return what a score is."""
        return "one score for each class, before softmax, not calibrated; none stands for what is none of the classes"

    def describe(self, facts: DataFacts) -> Mapping[str, str]:
        """Return the number of classes."""
        return {"classes": str(facts.classes)}
