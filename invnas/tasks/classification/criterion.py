"""The training loss of a recipe: cross-entropy, or anyone's by its class path, tried once before a search."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from invnas.class_path import load_class
from invnas.errors import BadInput, nearest, said_of
from invnas.experiment import Recipe
from invnas.gate import user_code
from invnas.recipe import CROSS_ENTROPY


class CrossEntropy(nn.Module):
    """Mean over the images of the cross-entropy, each times the weight of its class.

    torch's own divides by the weights that a batch happens to hold; this is the mean whatever a batch holds, so halves
    of a batch add up to it, and an image that is a bit of two classes weighs a bit of each.

    Args:
        label_smoothing: Share of each label spread over all classes.
        weights: Weight of each class; None: all count alike.
    """

    def __init__(self, label_smoothing: float = 0.0, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", None if weights is None else torch.tensor(weights), persistent=False)

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of scores (B, classes) for classes (B,) int64 or shares of classes (B, classes)."""
        weight: Any = self.weight
        if weight is not None and targets.dim() == 1:
            targets = F.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        return F.cross_entropy(outputs, targets, weight=weight, label_smoothing=self.label_smoothing)


def criterion_of(recipe: Recipe, weights: Sequence[float] | None = None) -> nn.Module:
    """Return the loss of a recipe: called with scores (B, classes) and labels, it returns a scalar.

    A loss by its class path is given `weight` and `label_smoothing` where the recipe says them.

    Raises:
        BadInput: If there is no such loss, or it takes no such arguments.
    """
    if recipe.loss == CROSS_ENTROPY:
        return CrossEntropy(recipe.label_smoothing, weights)
    kind = load_class(recipe.loss, "loss", (CROSS_ENTROPY, *_of_torch()), nn.Module)
    taken = inspect.signature(kind).parameters
    names = [name for name, one in taken.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    given = dict(recipe.loss_args)
    if len(names) == len(taken):
        for name in given:
            if name not in names:
                hint = nearest(name, names) if names else "it takes none"
                raise BadInput(f"the loss `{recipe.loss}` takes no argument `{name}`; {hint}")
    said: dict[str, tuple[str, Any]] = {}
    if weights is not None:
        said["weight"] = "class_weights", torch.tensor(weights)
    if recipe.label_smoothing:
        said["label_smoothing"] = "label_smoothing", recipe.label_smoothing
    for name, (setting, value) in said.items():
        if name not in names:
            raise BadInput(f"the loss `{recipe.loss}` has no argument `{name}`, which `recipe.{setting}` needs")
        if name in given:
            raise BadInput(f"`recipe.loss_args.{name}` and `recipe.{setting}` say the same: give one of them")
        given[name] = value
    with user_code(f"`{recipe.loss}(...)`"):
        loss: nn.Module = kind(**given)
    return loss


def check_criterion(recipe: Recipe, classes: int, weights: Sequence[float] | None) -> None:
    """Raise BadInput unless the loss of a recipe takes a small batch of its labels, and can be minimised."""
    criterion = criterion_of(recipe, weights)
    if recipe.loss == CROSS_ENTROPY:
        return
    outputs = torch.linspace(-1, 1, 4 * classes).view(4, classes).requires_grad_()
    targets, form = torch.arange(4) % classes, "labels, one class number for each image, (batch,)"
    if recipe.mixes:
        form = "shares of classes, (batch, classes), which `recipe.mixup` and `recipe.cutmix` make"
        targets = 0.3 * F.one_hot(targets, classes) + 0.7 * F.one_hot(targets.flip(0), classes)
    refused = f"the loss `{recipe.loss}` does not take {form}"
    try:
        with user_code("it", _Refused):
            found = criterion(outputs, targets)
    except _Refused as error:
        raise BadInput(f"{refused}: {said_of(error)}") from error
    if not isinstance(found, torch.Tensor) or found.dim() != 0:
        what = f"the shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
        raise BadInput(f"the loss `{recipe.loss}` must return one number for a batch, a scalar, but returns {what}")
    if not found.requires_grad or not math.isfinite(found.item()):
        why = f"is {found.item()}" if found.requires_grad else "has no gradient"
        raise BadInput(f"the loss `{recipe.loss}` cannot be minimised: of a small batch it {why}")


def guess_of(recipe: Recipe, criterion: nn.Module, classes: int) -> float | None:
    """Return the loss of equal scores for all classes, averaged over the classes; None where it tells nothing.

    A loss that is zero, negative or not finite there has no scale by which a training could be said to diverge.
    """
    if recipe.loss == CROSS_ENTROPY:
        return math.log(classes)
    labels = torch.arange(classes)
    with torch.no_grad(), user_code(f"the loss `{recipe.loss}`"):
        found = criterion(torch.zeros(classes, classes), F.one_hot(labels, classes).float() if recipe.mixes else labels)
    guess = float(found)
    return guess if math.isfinite(guess) and guess > 0 else None


class _Refused(BadInput):
    """What a loss raised."""


def _of_torch() -> list[str]:
    return [f"torch.nn.{name}" for name in dir(nn) if name.endswith("Loss")]
