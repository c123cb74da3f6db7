"""The base of sources whose targets are maps: a picture has many classes at once."""

from __future__ import annotations

import numpy as np

from invnas.data.module import ImageDataModule, Splits
from invnas.errors import BadInput


class MaskDataModule(ImageDataModule):
    """As `ImageDataModule`, for targets that are no labels: pictures are held out by chance alone."""

    cannot_balance = "a picture with a mask holds several classes at once"
    _share_of = ""
    _drawn = ""

    @property
    def class_counts(self) -> None:
        """None: a picture is of no one class."""
        return None

    def _check_targets(self, splits: Splits) -> None:
        if not len(splits.train):
            raise BadInput(f"{splits.origin} has no images")

    def _check_kept(self, splits: Splits, every: np.ndarray, kept: np.ndarray) -> None:
        """Nothing: too few images are told when they are counted."""
