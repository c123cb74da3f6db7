"""Pictures with what is to be found in them, mask or objects: both are cropped, scaled and mirrored as one."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from invnas.data.image_set import Loading
from invnas.data.loader import batch_of_targets, batches_of
from invnas.data.normalisation import Normalisation
from invnas.data.pictures import Span, stacked, to_array
from invnas.data.window import Window
from invnas.errors import BadInput, shown
from invnas.preprocessing import Preprocessing
from invnas.rules import LARGEST, check_whole

_SAMPLE = 256  # pictures from which mean and deviation are estimated
_LARGEST_SCALE = 16
_SMALLEST = 16  # pixels of a side: less shows nothing that has an outline
_READ_FOR_FINGERPRINT = 10_000  # pairs whose content tells one set from another


class Pairs(Protocol):
    """Pictures, each with what is to be found in it, that can be opened one by one."""

    def __len__(self) -> int: ...

    @property
    def span(self) -> Span | None:
        """Black and white of pictures of floats or 32-bit integers; None where each type says its own."""
        ...

    def opened(self, index: int) -> tuple[Image.Image, Any]:
        """Return a picture and what is to be found in all of it; BadInput if they cannot be read."""
        ...

    def target(self, index: int, truth: Any, window: Window) -> Any:
        """Return what a network shall find in a window of the picture, of what is to be found in all of it."""
        ...

    def content(self, index: int) -> bytes:
        """Return what differs where a picture or its target does."""
        ...


@dataclass(frozen=True)
class PairFrame:
    """Which window of a picture a network is trained on and judged by.

    Evaluation sees the largest centred part with the proportions of `size`. Training sees a window of it: at scale 1
    as large as that part, at scale 2 half as wide and high, at scale 0.5 twice; somewhere in the picture where it fits,
    around the picture where it does not.

    Attributes:
        size: (height, width) of what a network sees, in pixels.
        channels: 1 or 3.
        flip: Mirror training pictures left to right, half of the time.
        scales: Smallest and largest scale; in between, every ratio is as likely.
    """

    size: tuple[int, int]
    channels: int
    flip: bool = False
    scales: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if not isinstance(self.flip, bool):
            raise BadInput(f"`flip` must be true or false, but got {shown(self.flip)}")
        object.__setattr__(self, "scales", _scales(self.scales))

    @property
    def preprocessing(self) -> Preprocessing:
        """What evaluation does, without the normalisation."""
        return Preprocessing(self.size, self.channels, 1.0)

    def still(self, size: tuple[int, int]) -> Window:
        """Return the centre of a picture of (width, height)."""
        return Window.on(self.preprocessing.box(*size), size, self.size)

    def drawn(self, size: tuple[int, int], rng: random.Random) -> Window:
        """Return what is drawn for training of a picture of (width, height)."""
        low, high = self.scales
        scale = low * (high / low) ** rng.random()
        across, down, mirrored = rng.random(), rng.random(), rng.random() < 0.5
        left, top, right, bottom = self.preprocessing.box(*size)
        width, height = (right - left) / scale, (bottom - top) / scale
        # Within the picture, or around it where the window is the larger one.
        left, top = (size[0] - width) * across, (size[1] - height) * down
        return Window.on((left, top, left + width, top + height), size, self.size, self.flip and mirrored)


@dataclass(frozen=True)
class PairImages:
    """A set of pairs: which of them belong to it, and how they are framed.

    Attributes:
        pairs: All that can be opened.
        indices: Number of each pair of this set among `pairs`, (N,).
        frame: How they become what a network sees.
        workers: Processes that read; 0 reads in the training process.
        broken: Numbers among `pairs` of those that are left out by `readable`.
    """

    pairs: Pairs
    indices: np.ndarray
    frame: PairFrame
    workers: int = 0
    broken: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.frame.channels, *self.frame.size

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a picture of this set, without the normalisation."""
        return replace(self.frame.preprocessing, span=self.pairs.span)

    @property
    def strata(self) -> np.ndarray:
        """Zeros: a picture has many classes."""
        return np.zeros(len(self.indices), np.int64)

    def take(self, indices: np.ndarray) -> PairImages:
        """Return the pairs at `indices`."""
        return replace(self, indices=self.indices[indices])

    def joined(self, other: PairImages) -> PairImages:
        """Return these pairs and others, framed as these are."""
        if other.pairs is self.pairs:
            return replace(self, indices=np.concatenate([self.indices, other.indices]))
        indices = np.concatenate([self.indices, other.indices + len(self.pairs)])
        return replace(self, pairs=_Joined(self.pairs, other.pairs), indices=indices)

    def readable(self) -> PairImages:
        """Return the pairs that are not `broken`."""
        return self.take(np.flatnonzero([int(index) not in self.broken for index in self.indices]))

    def to(self, device: torch.device) -> PairImages:
        """Return itself: batches are made on the CPU and moved by the trainer."""
        return self

    def item(self, position: int, rng: random.Random | None) -> tuple[np.ndarray, Any]:
        """Return a picture (H, W, C) with its target; with `rng` as training sees it.

        Raises:
            BadInput: One of both cannot be read.
        """
        index = int(self.indices[position])
        picture, truth = self.pairs.opened(index)
        window = self.frame.still(picture.size) if rng is None else self.frame.drawn(picture.size, rng)
        return to_array(window.picture(picture), self.frame.channels), self.pairs.target(index, truth, window)

    def targets(self, indices: np.ndarray) -> Any:
        """Return the targets of the pairs at `indices` as a validation batch has them."""
        return batch_of_targets([self.item(int(index), None)[1] for index in indices])

    def fingerprint(self) -> str:
        """Return a digest of the contents; of more than 10,000 pairs, of an even sample."""
        step = max(len(self.indices) // _READ_FOR_FINGERPRINT, 1)
        found = hashlib.sha256(repr(len(self.indices)).encode())
        for index in self.indices[::step]:
            found.update(hashlib.sha256(self.pairs.content(int(index))).digest())
        return found.hexdigest()[:16]

    def normalisation(self, seed: int) -> Normalisation:
        """Estimate mean and deviation of each channel from a seeded sample."""
        count = min(_SAMPLE, len(self.indices))
        sample = np.random.default_rng(seed).choice(len(self.indices), count, replace=False)
        return Normalisation.of(stacked([self.item(int(position), None)[0] for position in sample]))

    def batches(self, loading: Loading, training: bool) -> DataLoader[Any]:
        """Return a loader of (B, C, H, W) float channels_last and their targets."""
        return batches_of(self, loading, training)


@dataclass(frozen=True)
class _Joined:
    first: Pairs
    second: Pairs

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def span(self) -> Span | None:
        return self.first.span

    def opened(self, index: int) -> tuple[Image.Image, Any]:
        pairs, own = self._of(index)
        return pairs.opened(own)

    def target(self, index: int, truth: Any, window: Window) -> Any:
        pairs, own = self._of(index)
        return pairs.target(own, truth, window)

    def content(self, index: int) -> bytes:
        pairs, own = self._of(index)
        return pairs.content(own)

    def _of(self, index: int) -> tuple[Pairs, int]:
        return (self.first, index) if index < len(self.first) else (self.second, index - len(self.first))


def _scales(given: Any) -> tuple[float, float]:
    pair = tuple(given) if isinstance(given, list | tuple) else ()
    numbers = len(pair) == 2 and all(isinstance(one, int | float) and not isinstance(one, bool) for one in pair)
    if not numbers or not 1 / _LARGEST_SCALE <= pair[0] <= pair[1] <= _LARGEST_SCALE:
        raise BadInput(
            f"`scales` must be the smallest and the largest scale of training pictures, from 1/{_LARGEST_SCALE} to "
            f"{_LARGEST_SCALE}, such as [0.5, 2.0], but got {shown(given)}"
        )
    return float(pair[0]), float(pair[1])


def size_of(given: Any) -> tuple[int, int]:
    """Return (height, width) of one side or both.

    Raises:
        BadInput: If it is neither, or smaller than anything with an outline.
    """
    sides = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(sides) != 2:
        raise BadInput(f"`image_size` must be a side in pixels or [height, width], but got {shown(given)}")
    for side in sides:
        check_whole("image_size", side, _SMALLEST, LARGEST)
    return sides[0], sides[1]
