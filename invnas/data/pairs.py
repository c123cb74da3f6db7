"""Pictures with a map of numbers over their pixels: both are cropped, scaled and mirrored as one."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from invnas.data.image_set import Loading
from invnas.data.loader import batch_of_targets, batches_of
from invnas.data.normalisation import Normalisation
from invnas.data.pictures import Span, stacked, to_array
from invnas.data.preparing import centre
from invnas.errors import BadInput, shown
from invnas.masks import IGNORED
from invnas.preprocessing import Preprocessing
from invnas.rules import LARGEST, check_whole

_SAMPLE = 256  # pictures from which mean and deviation are estimated
_LARGEST_SCALE = 16
_SMALLEST = 16  # pixels of a side: less shows nothing that has an outline
_READ_FOR_FINGERPRINT = 10_000  # pairs whose content tells one set from another


class Pairs(Protocol):
    """Pictures, each with a map of as many pixels, that can be opened one by one."""

    def __len__(self) -> int: ...

    @property
    def span(self) -> Span | None:
        """Black and white of pictures of floats or 32-bit integers; None where each type says its own."""
        ...

    def opened(self, index: int) -> tuple[Image.Image, Image.Image]:
        """Return a picture and its map (mode L), of one size; BadInput if they cannot be read."""
        ...

    def target(self, index: int, map: np.ndarray, shown: float) -> Any:
        """Return what a network shall find, of a map (H, W) uint8 that was cropped and scaled as its picture was.

        `shown` is how many pixels of it one pixel of the whole map has become. `IGNORED` lies beyond the picture.
        """
        ...

    def content(self, index: int) -> bytes:
        """Return what differs where a picture or its target does."""
        ...


@dataclass(frozen=True)
class PairFrame:
    """How a picture and its map become what a network is trained on and judged by.

    Evaluation sees the largest centred part with the proportions of `size`. Training sees a window of it: at scale 1
    as large as that part, at scale 2 half as wide and high, at scale 0.5 twice; somewhere in the picture where it fits,
    around the picture where it does not. Pictures are scaled as `Preprocessing` says, maps by the nearest pixel. Beyond
    a picture is black, and `IGNORED`.

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

    def still(self, picture: Image.Image, map: Image.Image) -> tuple[Image.Image, Image.Image, float]:
        """Return the centre of both, and how many pixels one pixel of the whole map has become."""
        how = self.preprocessing
        box = how.box(*map.size)
        near = map.resize(self.size[::-1], Image.Resampling.NEAREST, box=box)
        return centre(picture, how), near, self._shown(box)

    def drawn(
        self, picture: Image.Image, map: Image.Image, rng: random.Random
    ) -> tuple[Image.Image, Image.Image, float]:
        """Return what is drawn of both for training, and how many pixels one pixel of the whole map has become."""
        low, high = self.scales
        scale = low * (high / low) ** rng.random()
        across, down, mirrored = rng.random(), rng.random(), rng.random() < 0.5
        left, top, right, bottom = self.preprocessing.box(*map.size)
        width, height = (right - left) / scale, (bottom - top) / scale
        # Within the picture, or around it where the window is the larger one.
        left, top = (map.width - width) * across, (map.height - height) * down
        box = (left, top, left + width, top + height)
        both = (
            self._window(picture, box, Image.Resampling.BILINEAR, 0),
            self._window(map, box, Image.Resampling.NEAREST, IGNORED),
        )
        if self.flip and mirrored:
            both = ImageOps.mirror(both[0]), ImageOps.mirror(both[1])
        return *both, self._shown(box)

    def _shown(self, box: tuple[float, float, float, float]) -> float:
        return self.size[0] * self.size[1] / ((box[2] - box[0]) * (box[3] - box[1]))

    def _window(
        self, image: Image.Image, box: tuple[float, float, float, float], how: Image.Resampling, beyond: int
    ) -> Image.Image:
        """Return what lies in a box of an image, as large as `size`; the box may reach beyond the image."""
        rows, columns = self.size
        left, right, start_x, end_x = _clipped(box[0], box[2], image.width, columns)
        top, bottom, start_y, end_y = _clipped(box[1], box[3], image.height, rows)
        part = image.resize((end_x - start_x, end_y - start_y), how, box=(left, top, right, bottom))
        if part.size == (columns, rows):
            return part
        fill: Any = beyond if len(image.getbands()) == 1 else (beyond,) * len(image.getbands())
        whole = Image.new(image.mode, (columns, rows), fill)
        whole.paste(part, (start_x, start_y))
        return whole


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
        both = self.pairs.opened(index)
        picture, map, seen = self.frame.still(*both) if rng is None else self.frame.drawn(*both, rng)
        return to_array(picture, self.frame.channels), self.pairs.target(index, np.array(map), seen)

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

    def opened(self, index: int) -> tuple[Image.Image, Image.Image]:
        pairs, own = self._of(index)
        return pairs.opened(own)

    def target(self, index: int, map: np.ndarray, shown: float) -> Any:
        pairs, own = self._of(index)
        return pairs.target(own, map, shown)

    def content(self, index: int) -> bytes:
        pairs, own = self._of(index)
        return pairs.content(own)

    def _of(self, index: int) -> tuple[Pairs, int]:
        return (self.first, index) if index < len(self.first) else (self.second, index - len(self.first))


def _clipped(start: float, end: float, whole: int, cells: int) -> tuple[float, float, int, int]:
    """Return what of a line lies in 0..whole, and from which to which of the line's cells that reaches."""
    low, high = max(start, 0.0), min(end, float(whole))
    first = min(round((low - start) / (end - start) * cells), cells - 1)
    last = max(round((high - start) / (end - start) * cells), first + 1)
    return low, high, first, last


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
