"""Labels as a classifier takes them: what can be taken as meant is taken, anything else is told before training."""

from __future__ import annotations

from typing import Any

import torch

from invnas.errors import BadInput


def as_classes(labels: Any, classes: int) -> torch.Tensor:
    """Return labels as (B,) int64; costs nothing where they are that already.

    Args:
        labels: (B,) or (B, 1) whole numbers of any type, or (B, classes) one-hot.
        classes: Number of classes.

    Raises:
        BadInput: If they are something else; which classes there are is not looked at.
    """
    if isinstance(labels, torch.Tensor) and labels.dtype == torch.int64 and labels.dim() == 1:
        return labels
    if not isinstance(labels, torch.Tensor):
        raise BadInput(f"the labels must be a tensor of whole numbers, but are of type {type(labels).__name__}")
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dim() == 2 and labels.shape[1] == classes:
        if not _is_one_hot(labels):
            raise BadInput(f"the labels have the shape {tuple(labels.shape)} but are not one-hot: one class an image")
        return labels.argmax(dim=1)
    if labels.dim() != 1:
        raise BadInput(
            f"the labels must be one number for each image, (batch,), or one-hot, (batch, {classes}), "
            f"but have the shape {tuple(labels.shape)}"
        )
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise BadInput(f"the labels must be whole numbers, but hold {_odd_one(labels)}")
    if labels.is_complex():
        raise BadInput("the labels must be whole numbers, but are complex")
    return labels.long()


def as_targets(labels: Any, classes: int) -> torch.Tensor:
    """Return what a loss is computed against: as `as_classes`, or (B, classes) shares of classes that sum to 1."""
    wide = isinstance(labels, torch.Tensor) and labels.is_floating_point() and labels.shape[1:] == (classes,)
    if wide and not _is_one_hot(labels) and _are_shares(labels):
        return labels
    return as_classes(labels, classes)


def check_labels(labels: Any, images: int, classes: int, training: bool) -> None:
    """Raise BadInput unless the labels of a batch can be learned from (or judged by): form, number and range."""
    found = as_targets(labels, classes) if training else as_classes(labels, classes)
    if len(found) != images:
        raise BadInput(f"a batch of {images} images has {len(found)} labels")
    if found.dim() == 1 and len(found):
        low, high = int(found.min()), int(found.max())
        if low < 0 or high >= classes:
            raise BadInput(
                f"the labels go from {low} to {high}, but with {classes} classes they must lie in 0..{classes - 1}"
            )


def _is_one_hot(labels: torch.Tensor) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(dim=1) == 1).all())


def _are_shares(labels: torch.Tensor) -> bool:
    return bool((labels >= 0).all() and (labels.sum(dim=1) - 1).abs().max() < 1e-3)


def _odd_one(labels: torch.Tensor) -> float:
    return float(labels[labels != labels.round()][0])
