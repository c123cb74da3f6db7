"""Losses by class path: torch's own and anyone's, tried before a search."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from invnas.errors import BadInput
from invnas.experiment import Recipe
from invnas.facts import DataFacts
from invnas.tasks.classification import Classification
from invnas.tasks.classification.module import Classifier

FACTS = DataFacts((1, 8, 8), 5, class_counts=(4, 4, 4, 4, 24))
HERE = __name__


class Focal(nn.Module):
    """Cross-entropy in which what is told well counts little."""

    def __init__(self, gamma: float = 2.0, weight: torch.Tensor | None = None) -> None:
        super().__init__()
        self.gamma, self.weight = gamma, weight

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        entropy = F.cross_entropy(outputs, targets, reduction="none", weight=self.weight)
        return ((1 - (-entropy).exp()) ** self.gamma * entropy).mean()


class Frozen(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.tensor(1.0)


class Endless(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.sum() * math.inf


class Negative(nn.Module):
    """Higher is worse, and a guess has less than nothing."""

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -outputs.softmax(1).gather(1, targets[:, None]).mean()


class Leaves(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise SystemExit(0)


def module(recipe: Recipe) -> Classifier:
    return Classification().module(nn.Flatten(), FACTS, recipe)


def test_a_loss_of_torch_is_what_is_minimised() -> None:
    recipe = Recipe(loss="torch.nn.MultiMarginLoss", loss_args={"margin": 0.5})
    Classification().check_recipe(recipe, FACTS)
    outputs, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    found = module(recipe)
    assert float(found.training_loss(outputs, labels)) == float(F.multi_margin_loss(outputs, labels, margin=0.5))
    assert found.guessing == pytest.approx(0.5 * 4 / 5)  # by hand: of equal scores each of four rivals costs the margin


def test_a_loss_of_ones_own_is_given_the_weights_of_the_classes() -> None:
    recipe = Recipe(loss=f"{HERE}.Focal", loss_args={"gamma": 1.0}, class_weights="balanced")
    Classification().check_recipe(recipe, FACTS)
    found = module(recipe)
    assert isinstance(found.criterion, Focal)
    assert found.criterion.gamma == 1.0
    assert found.criterion.weight is not None
    torch.testing.assert_close(found.criterion.weight, torch.tensor([2.0, 2.0, 2.0, 2.0, 1 / 3]))


def test_only_a_guess_that_has_a_scale_can_end_a_training_as_diverged() -> None:
    assert module(Recipe()).guessing == pytest.approx(math.log(5))
    assert module(Recipe(label_smoothing=0.3, class_weights="balanced")).guessing == pytest.approx(math.log(5))
    focal = (1 - 1 / 5) ** 2 * math.log(5)
    assert module(Recipe(loss=f"{HERE}.Focal")).guessing == pytest.approx(focal)
    assert module(Recipe(loss=f"{HERE}.Negative")).guessing is None
    binary = Recipe(loss="torch.nn.BCEWithLogitsLoss", mixup=0.2)
    assert module(binary).guessing == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "focal"}, r"unknown loss 'focal'; .* a class path such as my_package.MyClass"),
        ({"loss": "torch.nn.MultiMarginLos"}, "has no class `MultiMarginLos`; nearest: 'MultiMarginLoss'"),
        ({"loss": "torch.nn.Linear"}, r"\(\.\.\.\)` raised TypeError"),
        ({"loss": "collections.OrderedDict"}, "is no loss: it must be a Module"),
        ({"loss": "torch.nn.BCEWithLogitsLoss"}, "does not take labels, one class number for each im.*: it raised"),
        ({"loss": "torch.nn.MultiMarginLoss", "mixup": 0.2}, "does not take shares of classes, .* `recipe.mixup` and"),
        (
            {"loss": "torch.nn.CrossEntropyLoss", "loss_args": {"reduction": "none"}},
            r"a scalar, but returns the shape \(4,\)",
        ),
        ({"loss": "torch.nn.MultiMarginLoss", "loss_args": {"margni": 1}}, "no argument `margni`; nearest: 'margin'"),
        ({"loss": "torch.nn.MultiMarginLoss", "label_smoothing": 0.1}, "no argument `label_smoothing`, which `rec"),
        ({"loss": f"{HERE}.Frozen", "class_weights": "balanced"}, "no argument `weight`, which `recipe.class_weights`"),
        (
            {"loss": f"{HERE}.Focal", "class_weights": "balanced", "loss_args": {"weight": None}},
            "`recipe.loss_args.weight` and `recipe.class_weights` say the same",
        ),
        ({"loss": f"{HERE}.Frozen"}, "cannot be minimised: of a small batch it has no gradient"),
        ({"loss": f"{HERE}.Endless"}, "cannot be minimised: of a small batch it is"),
        ({"loss": f"{HERE}.Leaves"}, r"does not take labels, .*: it called sys.exit\(0\)"),
        ({"class_weights": {"9": 1}}, "unknown class '9'"),
    ],
)  # fmt: skip
def test_what_cannot_be_minimised_is_refused_before_a_search(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        Classification().check_recipe(Recipe(**settings), FACTS)
    assert "\n" not in str(refused.value)


def test_arguments_without_a_loss_are_refused() -> None:
    with pytest.raises(BadInput, match=r"`recipe.loss_args` are those of a loss that `recipe.loss` names"):
        Recipe(loss_args={"margin": 1})
