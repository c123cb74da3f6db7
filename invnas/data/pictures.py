"""Encoded images, from a file or a row, to pixels: one place decides channels and words every refusal."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from invnas.errors import BadInput

_MODES = {1: "L", 3: "RGB"}
_GREY = ("1", "L", "LA", "La", "I", "F")
_BLOCK = 256  # images decoded by a thread at a time


class Pictures(Protocol):
    """Encoded images that can be opened one by one."""

    def __len__(self) -> int: ...

    def encoded(self, index: int) -> bytes | str:
        """Return the encoded bytes or the path of a file."""
        ...

    def place(self, index: int) -> str:
        """Return the words that name the image in an error."""
        ...


@dataclass(frozen=True)
class FilePictures:
    """Images in files."""

    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, index: int) -> str:
        """Return the path."""
        return self.paths[index]

    def place(self, index: int) -> str:
        """Return the path in quotes."""
        return f"'{self.paths[index]}'"


@dataclass(frozen=True)
class RowPictures:
    """Images in the rows of a table, as {"bytes": ..., "path": ...} or plain bytes.

    Attributes:
        rows: Anything that gives a row by number.
        origin: The words that name the table in an error.
    """

    rows: Sequence[Any]
    origin: str

    def __len__(self) -> int:
        return len(self.rows)

    def encoded(self, index: int) -> bytes | str:
        """Return the bytes of the row, or its path where it has no bytes."""
        cell = self.rows[index]
        if isinstance(cell, dict):
            cell = cell.get("bytes") or cell.get("path")
        if not isinstance(cell, bytes | str):
            raise BadInput(f"{self.place(index)} holds no image")
        return cell

    def place(self, index: int) -> str:
        """Return the number of the row and the table."""
        return f"row {index} of {self.origin}"


def decode(pictures: Pictures, index: int, channels: int | None) -> Image.Image:
    """Decode one image to mode L (grey) or RGB.

    Args:
        pictures: Where the image is.
        index: Its number.
        channels: 1 or 3 to convert to; None keeps grey images grey and turns all others into RGB.

    Raises:
        BadInput: The image cannot be read.
    """
    encoded = pictures.encoded(index)
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as file:
            file.load()
    except FileNotFoundError:
        raise BadInput(f"{pictures.place(index)} points to the file {encoded!r}, which does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "its format is unknown" if "cannot identify" in str(error) else str(error)
        raise BadInput(f"{pictures.place(index)} is not a readable image: {reason}") from None
    image: Image.Image = file
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey at 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    mode = _MODES[channels or (1 if image.mode in _GREY else 3)]
    return image if image.mode == mode else image.convert(mode)


def decode_all(pictures: Pictures, channels: int | None) -> torch.Tensor:
    """Decode all images into one tensor, with a pool of threads (Pillow lets go of the interpreter).

    Args:
        pictures: At least one image.
        channels: See `decode`.

    Returns:
        (N, C, H, W) uint8 in channels_last memory.

    Raises:
        BadInput: An image cannot be read, or differs from the first in size or channels.
    """
    first = to_array(decode(pictures, 0, channels))
    pixels = np.empty((len(pictures), *first.shape), dtype=np.uint8)

    def block(start: int) -> None:
        for index in range(start, min(start + _BLOCK, len(pictures))):
            array = to_array(decode(pictures, index, channels))
            if array.shape != first.shape:
                raise BadInput(_difference(pictures, index, array.shape, first.shape))
            pixels[index] = array

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(block, range(0, len(pictures), _BLOCK)):
            pass
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def to_array(image: Image.Image) -> np.ndarray:
    """Return (H, W, C) uint8."""
    array = np.asarray(image)
    return array if array.ndim == 3 else array[:, :, None]


def check_channels(channels: object, may_be_none: bool) -> None:
    """Raise BadInput unless the argument is 1 or 3, or None where that is allowed."""
    if channels not in ((None, 1, 3) if may_be_none else (1, 3)):
        raise BadInput(f"`channels` must be 1 (grey) or 3 (colour), but got {channels!r}")


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
