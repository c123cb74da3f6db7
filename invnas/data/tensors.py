"""Small sets: all images lie as one tensor on the device, and a batch is one gather."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from invnas.data.augment import Augment
from invnas.data.image_set import Loading
from invnas.data.normalisation import Normalisation
from invnas.data.pictures import Span
from invnas.data.split import balanced, seed_of
from invnas.errors import BadInput
from invnas.preprocessing import Preprocessing


class TensorBatches:
    """Batches of images that are already on the device: (B, C, H, W) float channels_last and (B,) int64 labels.

    What an epoch yields depends on (seed, epoch) alone, so a training resumed at epoch k sees the same batches.

    Args:
        images: (N, C, H, W), uint8 in 0..255 or float in 0..1.
        labels: (N,) int64.
        batch_size: Images of a batch; the last batch may be smaller.
        normalisation: Mean and deviation of each channel.
        augment: Random changes; None leaves the images as they are.
        seed: Seed of order and augmentation.
        shuffle: Training: random order, and a last batch of one image is dropped, because batch norm cannot
            normalise one value.
        balanced: With `shuffle`: each class equally often, instead of each image once.
    """

    batch_sampler = None  # Lightning reads it beside `sampler`

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        batch_size: int,
        normalisation: Normalisation,
        augment: Augment | None = None,
        seed: int = 0,
        shuffle: bool = False,
        balanced: bool = False,
    ) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.normalisation, self.augment = normalisation, augment
        self.seed, self.shuffle, self.balanced, self.epoch = seed, shuffle, balanced, 0

    @property
    def sampler(self) -> TensorBatches:
        """Itself: Lightning tells the epoch to `loader.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.labels), self.batch_size)
        return full + (rest > (1 if self.shuffle else 0))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        # A generator, because Lightning makes the iterator before it tells the epoch.
        device, count = self.labels.device, len(self.labels)
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        order = self._order(generator).to(device) if self.shuffle else None
        draws = None
        if self.augment is not None:
            height, width = self.images.shape[2:]
            draws = self.augment.draw(count, (height, width), generator).to(device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = slice(start, start + self.batch_size)
            chosen = batch if order is None else order[batch]
            yield self._images(chosen, None if draws is None else draws[batch]), self.labels[chosen]

    def _order(self, generator: torch.Generator) -> torch.Tensor:
        if self.balanced:
            return torch.from_numpy(balanced(self.labels.cpu().numpy(), seed_of(self.seed, self.epoch)))
        return torch.randperm(len(self.labels), generator=generator)

    def _images(self, chosen: slice | torch.Tensor, draws: torch.Tensor | None) -> torch.Tensor:
        images = self.images[chosen]
        if self.augment is None or draws is None:
            images = self.normalisation.apply(images)
        else:
            images = self.augment.change(self.augment.move(images, draws), draws)
            images = self.augment.cut(self.normalisation.apply(images), draws)
        return images.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class TensorImages:
    """Images in memory: (N, C, H, W), uint8 in 0..255 or float in 0..1, with their labels (N,).

    Attributes:
        images: The images.
        labels: The label of each.
        augment: Random changes of training images.
        span: Black and white of the files of floats or 32-bit integers that they come from, if any.
    """

    images: torch.Tensor
    labels: torch.Tensor
    augment: Augment = field(default_factory=Augment)
    span: Span | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes an image of this set of a file: nothing is cropped, all images have one size."""
        channels, height, width = self.shape
        return Preprocessing((height, width), channels, 1.0, span=self.span)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def strata(self) -> np.ndarray:
        """The label of each image, on the CPU."""
        return self.labels.cpu().numpy()

    def take(self, indices: np.ndarray) -> TensorImages:
        """Return the images at `indices`."""
        chosen = torch.from_numpy(indices)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def joined(self, other: TensorImages) -> TensorImages:
        """Return these images and others, augmented as these are; one set of floats makes both floats in 0..1."""
        if self.shape != other.shape:
            raise BadInput(
                f"training images of {' x '.join(map(str, self.shape))} and validation images of "
                f"{' x '.join(map(str, other.shape))} (channels, height, width) cannot be trained on together"
            )
        both = [self.images, other.images.to(self.images.device)]
        if both[0].dtype != both[1].dtype:
            both = [images / 255 if images.dtype == torch.uint8 else images for images in both]
        labels = torch.cat([self.labels, other.labels.to(self.labels.device)])
        return replace(self, images=torch.cat(both), labels=labels)

    def readable(self) -> TensorImages:
        """Return itself: all were decoded."""
        return self

    def to(self, device: torch.device) -> TensorImages:
        """Return the same images on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def fingerprint(self) -> str:
        """Return a digest of labels and pixels."""
        found = hashlib.sha256(repr((tuple(self.images.shape), str(self.images.dtype))).encode())
        found.update(self.labels.cpu().numpy().astype(np.int64).tobytes())
        # By value, not by how they lie in memory.
        found.update(np.ascontiguousarray(self.images.cpu().permute(0, 2, 3, 1).numpy()).tobytes())
        return found.hexdigest()[:16]

    def targets(self, indices: np.ndarray) -> torch.Tensor:
        """Return the labels of the images at `indices`."""
        return self.labels.cpu()[torch.from_numpy(indices)]

    def normalisation(self, seed: int) -> Normalisation:
        """Return mean and deviation of each channel over all images; nothing is drawn."""
        return Normalisation.of(self.images)

    def batches(self, loading: Loading, training: bool) -> Any:
        """Return the loader: shuffled and augmented for training."""
        return TensorBatches(
            self.images,
            self.labels,
            loading.batch_size,
            loading.normalisation,
            self.augment if training else None,
            loading.seed,
            shuffle=training,
            balanced=loading.balanced,
        )
