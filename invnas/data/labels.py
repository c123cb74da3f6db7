"""Sets in which every image has one label: what a network can be trained on, and what must be left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invnas.errors import BadInput

if TYPE_CHECKING:
    from invnas.data.module import Splits


def check_labels(splits: Splits) -> None:
    """Raise BadInput unless the training images are of at least two classes, all of them known."""
    present = np.unique(splits.train.strata)
    if len(present) == 0:
        raise BadInput(f"{splits.origin} has no images")
    if len(present) == 1:
        name = splits.class_names[present[0]] if splits.class_names else present[0]
        raise BadInput(f"{splits.origin} must have at least two classes, but all its images are of class '{name}'")
    if present[0] < 0 or present[-1] >= splits.classes:
        raise BadInput(
            f"{splits.origin} has labels from {present[0]} to {present[-1]},"
            f" but with {splits.classes} classes they must lie in 0..{splits.classes - 1}"
        )


def check_kept(splits: Splits, every: np.ndarray, kept: np.ndarray) -> None:
    """Raise BadInput where a class among the labels `every` has no image left among those that are kept."""
    for label in np.setdiff1d(every, kept):
        name = splits.class_names[label] if splits.class_names else label
        raise BadInput(
            f"{splits.origin} has no training image of class '{name}' that can be read: those that are not broken "
            "are held out; mend or remove its broken images"
        )
