"""A set of images of one size, decoded into one tensor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from invnas.data.pictures import Pictures, decode, to_array
from invnas.errors import BadInput

_BLOCK = 256  # images decoded by a thread at a time


def decode_all(pictures: Pictures, channels: int | None) -> torch.Tensor:
    """Decode all images into one tensor, with a pool of threads (Pillow lets go of the interpreter).

    Args:
        pictures: At least one image.
        channels: See `decode`.

    Returns:
        (N, C, H, W) in channels_last memory, uint8, or float in 0..1 where an image has more than 8 bits.

    Raises:
        BadInput: An image cannot be read, or differs from the first in size or channels.
    """
    first = decode(pictures, 0, channels)
    depth = channels or (3 if first.mode == "RGB" else 1)
    shape = (first.height, first.width, depth)
    pixels = np.empty((len(pictures), *shape), np.float32 if first.mode == "F" else np.uint8)

    def block(start: int) -> None:
        for index in range(start, min(start + _BLOCK, len(pictures))):
            image = decode(pictures, index, channels)
            found = (image.height, image.width, channels or (3 if image.mode == "RGB" else 1))
            if found != shape:
                raise BadInput(_difference(pictures, index, found, shape))
            array = to_array(image, depth)
            if array.dtype != np.uint8 and pixels.dtype == np.uint8:
                raise _Deeper
            pixels[index] = array if pixels.dtype == array.dtype else array / np.float32(255)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for _ in pool.map(block, range(0, len(pictures), _BLOCK)):
                pass
        except _Deeper:
            pixels = np.empty(pixels.shape, np.float32)
            for _ in pool.map(block, range(0, len(pictures), _BLOCK)):
                pass
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


class _Deeper(Exception):
    """An image has more than the 8 bits that were set aside for all."""


def _difference(pictures: Pictures, index: int, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    height, width, channels = shape
    if channels != first[2]:
        return (
            f"all images must have equally many channels, but {pictures.place(index)} has {channels}"
            f" and {pictures.place(0)} has {first[2]}: set `channels` to 1 or 3 to convert them"
        )
    return (
        f"all images must have one size, but {pictures.place(index)} is {width}x{height}"
        f" and {pictures.place(0)} is {first[1]}x{first[0]}"
    )
