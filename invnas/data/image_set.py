"""What a source offers to the base of all: images with their targets that can be divided, counted and served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from invnas.data.normalisation import Normalisation
from invnas.preprocessing import Preprocessing


@dataclass(frozen=True)
class Loading:
    """How a set becomes batches.

    Attributes:
        batch_size: Images of a batch.
        seed: Seed of order and augmentation.
        normalisation: Mean and deviation of the training images.
        balanced: An epoch of training has each class equally often, instead of each image once.
    """

    batch_size: int
    seed: int
    normalisation: Normalisation
    balanced: bool = False


class ImageSet(Protocol):
    """Images with their targets, in memory or read one by one."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a network gets."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image, without the normalisation."""
        ...

    @property
    def strata(self) -> np.ndarray:
        """What each split keeps the shares of, (N,): the label of each image, zeros where an image has no one label."""
        ...

    def take(self, indices: np.ndarray) -> ImageSet:
        """Return the images at `indices`."""
        ...

    def joined(self, other: Any) -> ImageSet:
        """Return these images and those of another set of the same kind, trained on as these are."""
        ...

    def readable(self) -> ImageSet:
        """Return the images without those that were found broken and shall be left out."""
        ...

    def fingerprint(self) -> str:
        """Return sixteen hex digits that differ where targets or images do."""
        ...

    def targets(self, indices: np.ndarray) -> Any:
        """Return the targets of the images at `indices` as a validation batch has them."""
        ...

    def to(self, device: torch.device) -> ImageSet:
        """Return the same images on `device`, if they live on one."""
        ...

    def normalisation(self, seed: int) -> Normalisation:
        """Return mean and deviation of each channel."""
        ...

    def batches(self, loading: Loading, training: bool) -> Any:
        """Return a loader that yields (images, targets)."""
        ...
