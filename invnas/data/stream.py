"""Large sets: images are decoded, cropped and scaled by worker processes while the network trains."""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from invnas.data import keeping
from invnas.data.framing import Frame
from invnas.data.joined import JoinedPictures
from invnas.data.keeping import Caching, Kept
from invnas.data.module import Loading
from invnas.data.normalisation import Normalisation
from invnas.data.pictures import Pictures, decode, decoded_bytes, stacked, to_array
from invnas.data.preparing import batch_of, prepared
from invnas.data.split import balanced, seed_of
from invnas.errors import BadInput
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

    @property
    def classes_of(self) -> np.ndarray:
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
            found.update(hashlib.sha256(_content(self.pictures, int(index))).digest())
        return found.hexdigest()[:16]

    def normalisation(self, seed: int) -> Normalisation:
        """Estimate mean and deviation of each channel from a seeded sample."""
        count = min(_SAMPLE, len(self.indices))
        sample = np.random.default_rng(seed).choice(self.indices, count, replace=False)
        return Normalisation.of(stacked([prepared(self.pictures, int(index), self.preprocessing) for index in sample]))

    def batches(self, loading: Loading, training: bool) -> DataLoader[Any]:
        """Return a loader of (B, C, size, size) float channels_last and (B,) int64 labels."""
        count = len(self.labels)
        return StreamBatches(
            _Decoded(self, loading.seed, training),
            batch_size=loading.batch_size,
            sampler=EpochSampler(
                count, loading.seed, shuffle=training, labels=self.labels if training and loading.balanced else None
            ),
            # Batch norm cannot normalise a batch of one value.
            drop_last=training and count % loading.batch_size == 1,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_Collate(loading.normalisation),
        )


class EpochSampler(Sampler[tuple[int, ...]]):
    """Yields (epoch, position): the worker that reads an image needs both to draw the same crop after a resume.

    With `labels` each class comes equally often, and what is yielded is (epoch, position, place in the order): an image
    that comes twice is cropped in two ways.
    """

    def __init__(self, count: int, seed: int, shuffle: bool, labels: np.ndarray | None = None) -> None:
        self.count, self.seed, self.shuffle, self.labels, self.epoch = count, seed, shuffle, labels, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        seed = seed_of(self.seed, self.epoch)
        if self.labels is not None:
            return ((self.epoch, int(one), place) for place, one in enumerate(balanced(self.labels, seed)))
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng(seed).permutation(self.count)
        return ((self.epoch, int(position)) for position in order)


class StreamBatches(DataLoader[Any]):
    """A DataLoader that starts at the first batch, and raises a broken image as the one sentence it is."""

    def __iter__(self) -> Any:
        # A generator, because Lightning makes the iterator before it tells the epoch, and workers read ahead.
        for batch in super().__iter__():
            if isinstance(batch, BadInput):
                # A new one: raised itself, it and this frame would hold each other, and workers would outlive both.
                raise BadInput(str(batch))
            yield batch


class _Decoded(Dataset[Any]):
    def __init__(self, images: StreamImages, seed: int, training: bool) -> None:
        self.images, self.seed, self.training = images, seed, training

    def __getitem__(self, key: tuple[int, ...]) -> tuple[np.ndarray, int] | BadInput:
        epoch, position, *place = key
        images, index = self.images, int(self.images.indices[position])
        try:
            still = images.still(position, self.training)
            if self.training:
                pixels = images.frame.drawn(still, random.Random(seed_of(self.seed, epoch, index, *place)))
            else:
                pixels = to_array(still, images.frame.channels)
        except BadInput as error:
            # Raised in a worker, it would come out as a traceback inside a traceback.
            return error
        return pixels, int(images.labels[position])


@dataclass(frozen=True)
class _Collate:
    normalisation: Normalisation

    def __call__(self, items: list[tuple[np.ndarray, int] | BadInput]) -> Any:
        good = []
        for item in items:
            if isinstance(item, BadInput):
                return item
            good.append(item)
        images = batch_of([image for image, _ in good], self.normalisation)
        return images, torch.tensor([label for _, label in good])


def _content(pictures: Pictures, index: int) -> bytes:
    encoded = pictures.encoded(index)
    if isinstance(encoded, bytes):
        return encoded
    assert isinstance(encoded, str)
    try:
        return Path(encoded).read_bytes()
    except OSError as error:
        raise BadInput(f"{pictures.place(index)} cannot be read: {error.strerror}") from None


def default_workers() -> int:
    """Return how many processes decode: all cores but one, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores - 1))
