"""From pictures to what a network sees, by a `Preprocessing`: what evaluation, `predict` and the sources share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from invnas.data.normalisation import Normalisation
from invnas.data.pictures import Pictures, Span, decode, stacked, to_array
from invnas.errors import BadInput
from invnas.preprocessing import Preprocessing

#: Numbers of an array with which Pillow goes on, by the kind of its type and its bytes; others go on as float32.
_DEEP = {("u", 2): np.uint16, ("i", 1): np.int32, ("i", 2): np.int32, ("i", 4): np.int32}


def scaled(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    """Return what lies in a box (left, top, right, bottom) of an image, as large as `size` (height, width)."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR, box=box)


def centre(image: Image.Image, how: Preprocessing) -> Image.Image:
    """Return the centre of an image as large as a network sees it; one that is so large already stays as it is."""
    return scaled(image, how.size, how.box(*image.size))


def prepared(pictures: Pictures, index: int, how: Preprocessing) -> np.ndarray:
    """Return an image before it is normalised: (height, width, channels), uint8, or float32 in 0..1 where it is deeper.

    Raises:
        BadInput: If it cannot be read.
    """
    return prepared_with_place(pictures, index, how)[0]


class Seen(NamedTuple):
    """What of a picture a network has seen.

    Attributes:
        size: (height, width) of the picture, upright.
        box: Left, top, right and bottom of the part that was scaled to the size of the network's images, in pixels.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]

    @property
    def pixels(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of that part in whole pixels, at least one of each."""
        left, top, right, bottom = (round(side) for side in self.box)
        height, width = self.size
        down, across = max(1, min(bottom, height) - max(top, 0)), max(1, min(right, width) - max(left, 0))
        return min(max(top, 0), height - down), min(max(left, 0), width - across), down, across


def prepared_with_place(pictures: Pictures, index: int, how: Preprocessing) -> tuple[np.ndarray, Seen]:
    """Return an image as `prepared` does, and what of the picture it shows; the errors are the same."""
    image = decode(pictures, index, how.channels)
    return to_array(centre(image, how), how.channels), Seen((image.height, image.width), how.box(*image.size))


def batch_of(arrays: Sequence[np.ndarray], normalisation: Normalisation) -> torch.Tensor:
    """Return prepared images as a network sees them: (B, C, H, W), float32, normalised, channels_last."""
    return normalisation.apply(stacked(arrays)).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class GivenPictures:
    """Images as a user gives them: paths of files, encoded bytes, images of Pillow or arrays, in any mixture.

    Attributes:
        images: An array is (height, width) or (height, width, channels) with 1, 3 or 4 channels of uint8; one without
            channels may also be of deeper numbers.
        span: See `Pictures`.
    """

    images: Sequence[Any]
    span: Span | None = None
    remedy = ""

    def __len__(self) -> int:
        return len(self.images)

    def encoded(self, index: int) -> bytes | str | Image.Image:
        """Return the path, the bytes or the image of Pillow."""
        image = self.images[index]
        if isinstance(image, bytes | Image.Image):
            return image
        if isinstance(image, str | PathLike):
            return str(image)
        if isinstance(image, np.ndarray):
            return self._of_array(image, index)
        raise BadInput(
            f"{self.place(index)} must be a path, an image of Pillow or an array (height, width, channels) of uint8, "
            f"but is of type {type(image).__name__}"
        )

    def place(self, index: int) -> str:
        """Return the path in quotes, or the number among the images."""
        image = self.images[index]
        return f"'{image}'" if isinstance(image, str | PathLike) else f"image {index}"

    def _of_array(self, array: np.ndarray, index: int) -> Image.Image:
        flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
        if flat.size and flat.dtype == np.uint8 and (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))):
            return Image.fromarray(np.ascontiguousarray(flat))
        if flat.size and flat.ndim == 2 and flat.dtype.kind in "uif":
            # Whatever the order of its bytes, and never to a type that is too small: numbers would come out as others.
            kind = _DEEP.get((flat.dtype.kind, flat.dtype.itemsize), np.float32)
            return Image.fromarray(np.ascontiguousarray(flat, kind))
        raise BadInput(
            f"{self.place(index)} must be (height, width) or (height, width, channels) with 1, 3 or 4 channels of "
            f"uint8, but is {array.dtype} of shape {array.shape}"
        )
