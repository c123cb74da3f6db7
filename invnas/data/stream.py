"""Large sets: images are decoded, cropped and scaled by worker processes while the network trains."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from invnas.data import keeping
from invnas.data.framing import Frame
from invnas.data.image_set import Loading
from invnas.data.joined import JoinedPictures
from invnas.data.keeping import Caching, Kept
from invnas.data.loader import batches_of
from invnas.data.normalisation import Normalisation
from invnas.data.pictures import Pictures, content_of, decode, decoded_bytes, stacked, to_array
from invnas.data.preparing import prepared
from invnas.preprocessing import Preprocessing

_SAMPLE = 256  # images from which mean and deviation are estimated
_READ_FOR_FINGERPRINT = 10_000  # images whose content tells one set from another


@dataclass(frozen=True)
class StreamImages:
    """Images that stay encoded: which of them belong to this set, their labels, and how they are read.

    Attributes:
        pictures: The encoded images.
        labels: Label of each image of this set, (N,).
        indices: Number of each image of this set among `pictures`, (N,).
        frame: How an image becomes a square.
        workers: Processes that decode; 0 decodes in the training process.
        broken: Numbers among `pictures` of images that are left out by `readable`.
        kept: The images of this set, decoded, once they are kept.
    """

    pictures: Pictures
    labels: np.ndarray
    indices: np.ndarray
    frame: Frame
    workers: int
    broken: frozenset[int] = frozenset()
    kept: Kept | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.frame.channels, self.frame.size, self.frame.size

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image of this set, without the normalisation."""
        return replace(self.frame.preprocessing, span=self.pictures.span)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def strata(self) -> np.ndarray:
        """The label of each image."""
        return self.labels

    def take(self, indices: np.ndarray) -> StreamImages:
        """Return the images at `indices`."""
        return replace(self, labels=self.labels[indices], indices=self.indices[indices], kept=None)

    def readable(self) -> StreamImages:
        """Return the images that are not `broken`."""
        return self.take(np.flatnonzero([int(index) not in self.broken for index in self.indices]))

    def still(self, position: int, training: bool) -> Image.Image:
        """Return an image before anything is drawn, as it was kept or else decoded now."""
        if self.kept is not None:
            return self.kept.image(position)
        image = decode(self.pictures, int(self.indices[position]), self.frame.channels)
        return self.frame.still(image, training)

    def decoded_bytes(self, training: bool) -> int:
        """Return how many bytes `kept` takes; all headers are read.

        Raises:
            BadInput: An image cannot be read.
        """
        frame = self.frame
        size = None if training and frame.smallest_crop < 1 else (frame.size, frame.size)
        return sum(decoded_bytes(self.pictures, int(index), frame.channels, size) for index in self.indices)

    def keep(self, caching: Caching, training: bool) -> StreamImages:
        """Return the same images, decoded and kept.

        Raises:
            BadInput: An image cannot be read, or the file cannot be written.
            DiskFailed: The disk is full.
        """
        if caching.where == "none" or self.kept is not None:
            return self

        def still(position: int) -> Image.Image:
            return self.still(position, training)

        count = len(self.indices)
        if caching.where == "memory":
            return replace(self, kept=keeping.in_memory(count, self.decoded_bytes(training), still))
        place = self.kept_at(training)
        return replace(self, kept=keeping.mapped(place, count) or keeping.on_disk(place, count, still))

    def kept_at(self, training: bool) -> Path:
        """Return the file in which the images of this set are kept, or would be; they must be files themselves."""
        frame = self.frame
        whole = training and frame.smallest_crop < 1
        form = (frame.channels, self.pictures.span, None if whole else frame.preprocessing)
        paths = [str(self.pictures.encoded(number)) for number in range(len(self.pictures))]
        return keeping.place_of(paths, self.indices, form)

    def joined(self, other: StreamImages) -> StreamImages:
        """Return these images and others, framed as these are."""
        labels, indices = np.concatenate([self.labels, other.labels]), other.indices
        if other.pictures is self.pictures:  # one list of images that was divided
            indices = np.concatenate([self.indices, indices])
            return replace(self, labels=labels, indices=indices, kept=None)
        pictures = JoinedPictures(self.pictures, other.pictures)
        return replace(
            self,
            pictures=pictures,
            labels=labels,
            indices=np.concatenate([self.indices, indices + len(self.pictures)]),
            kept=None,
        )

    def to(self, device: torch.device) -> StreamImages:
        """Return itself: batches are made on the CPU and moved by the trainer."""
        return self

    def fingerprint(self) -> str:
        """Return a digest of labels and contents; of more than 10,000 images, of all names and an even sample."""
        step = max(len(self.indices) // _READ_FOR_FINGERPRINT, 1)
        names = [re.split(r"[/\\\\]", self.pictures.place(int(index)))[-1] for index in self.indices]
        found = hashlib.sha256(repr((len(names), names if step > 1 else None)).encode())
        found.update(np.ascontiguousarray(self.labels, np.int64).tobytes())
        for index in self.indices[::step]:
            found.update(hashlib.sha256(content_of(self.pictures, int(index))).digest())
        return found.hexdigest()[:16]

    def targets(self, indices: np.ndarray) -> torch.Tensor:
        """Return the labels of the images at `indices`."""
        return torch.from_numpy(self.labels[indices])

    def item(self, position: int, rng: random.Random | None) -> tuple[np.ndarray, int]:
        """Return an image (H, W, C) with its label; with `rng` as training sees it.

        Raises:
            BadInput: The image cannot be read.
        """
        still = self.still(position, rng is not None)
        pixels = to_array(still, self.frame.channels) if rng is None else self.frame.drawn(still, rng)
        return pixels, int(self.labels[position])

    def normalisation(self, seed: int) -> Normalisation:
        """Estimate mean and deviation of each channel from a seeded sample."""
        count = min(_SAMPLE, len(self.indices))
        sample = np.random.default_rng(seed).choice(self.indices, count, replace=False)
        return Normalisation.of(stacked([prepared(self.pictures, int(index), self.preprocessing) for index in sample]))

    def batches(self, loading: Loading, training: bool) -> DataLoader[Any]:
        """Return a loader of (B, C, size, size) float channels_last and (B,) int64 labels."""
        labels = self.labels if training and loading.balanced else None
        return batches_of(self, loading, training, labels)
