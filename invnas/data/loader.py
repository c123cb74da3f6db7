"""The loader of sets that are read one image at a time, by worker processes: what it yields is seed's and epoch's."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from invnas.data.image_set import Loading
from invnas.data.normalisation import Normalisation
from invnas.data.preparing import batch_of
from invnas.data.split import balanced, seed_of
from invnas.errors import BadInput
from invnas.rules import WORKERS, check_whole


class Streamed(Protocol):
    """A set of which a process reads one image at a time."""

    @property
    def indices(self) -> np.ndarray:
        """Number of each image in its source: with seed and epoch it decides what is drawn."""
        ...

    @property
    def workers(self) -> int:
        """Processes that decode; 0 decodes in the training process."""
        ...

    def item(self, position: int, rng: random.Random | None) -> tuple[np.ndarray, Any]:
        """Return an image (H, W, C) with its target; with `rng` as training sees it; BadInput if it cannot be read."""
        ...


def batches_of(images: Streamed, loading: Loading, training: bool, labels: np.ndarray | None = None) -> DataLoader[Any]:
    """Return a loader of (B, C, H, W) float channels_last and their targets; with `labels`, of each equally often."""
    count = len(images.indices)
    return StreamBatches(
        _Decoded(images, loading.seed, training),
        batch_size=loading.batch_size,
        sampler=EpochSampler(count, loading.seed, shuffle=training, labels=labels),
        # Batch norm cannot normalise a batch of one value.
        drop_last=training and count % loading.batch_size == 1,
        num_workers=images.workers,
        persistent_workers=images.workers > 0,
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
    def __init__(self, images: Streamed, seed: int, training: bool) -> None:
        self.images, self.seed, self.training = images, seed, training

    def __getitem__(self, key: tuple[int, ...]) -> tuple[np.ndarray, Any] | BadInput:
        epoch, position, *place = key
        index = int(self.images.indices[position])
        rng = random.Random(seed_of(self.seed, epoch, index, *place)) if self.training else None
        try:
            return self.images.item(position, rng)
        except BadInput as error:
            # Raised in a worker, it would come out as a traceback inside a traceback.
            return error


@dataclass(frozen=True)
class _Collate:
    normalisation: Normalisation

    def __call__(self, items: list[tuple[np.ndarray, Any] | BadInput]) -> Any:
        good = []
        for item in items:
            if isinstance(item, BadInput):
                return item
            good.append(item)
        images = batch_of([image for image, _ in good], self.normalisation)
        return images, batch_of_targets([target for _, target in good])


def batch_of_targets(targets: Sequence[Any]) -> Any:
    """Return the targets of a batch: labels (B,) and maps (B, H, W) as one tensor, those of detection as they are."""
    if isinstance(targets[0], dict):
        return tuple(targets)
    return torch.stack(list(targets)) if isinstance(targets[0], torch.Tensor) else torch.tensor(targets)


def checked_workers(asked: int | None) -> int:
    """Return how many processes decode: so many as were asked for, or those of `default_workers`.

    Raises:
        BadInput: If that is no number of processes.
    """
    if asked is None:
        return default_workers()
    check_whole("num_workers", asked, 0, WORKERS)
    return asked


def default_workers() -> int:
    """Return how many processes decode: all cores but one, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores - 1))
