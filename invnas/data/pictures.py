"""Encoded images, from a file or a row, to pixels: one place decides channels and words every refusal."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

from invnas.errors import BadInput, shown

_MODES = {1: "L", 3: "RGB"}
_GREY = ("1", "L", "LA", "La", "I", "F")
_TYPE_MAX = 65_535  # white of 16 bits
_LOOKED_AT = 5_000  # headers read to see whether a set holds numbers without a white of their own

#: Smallest and largest value of a set of floats or 32-bit integers: black and white.
Span = tuple[float, float]

#: Orientations that a camera writes for a picture which lies on its side.
_LYING = (5, 6, 7, 8)


class Pictures(Protocol):
    """Encoded images that can be opened one by one."""

    def __len__(self) -> int: ...

    def encoded(self, index: int) -> bytes | str | Image.Image:
        """Return the encoded bytes, the path of a file, or an image that was opened elsewhere."""
        ...

    def place(self, index: int) -> str:
        """Return the words that name the image in an error."""
        ...

    @property
    def span(self) -> Span | None:
        """Black and white of a set of floats or 32-bit integers; None where each type says its own."""
        ...

    @property
    def remedy(self) -> str:
        """What the sentence about an image that cannot be read ends with: what a user can do."""
        ...


@dataclass(frozen=True)
class FilePictures:
    """Images in files."""

    paths: Sequence[str]
    span: Span | None = None
    remedy = "; `on_broken_image: skip` leaves such images out"

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
        span: See `Pictures`.
    """

    rows: Sequence[Any]
    origin: str
    span: Span | None = None
    remedy = ""

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
    """Decode one image, the right way up: to mode L (grey) or RGB, or to mode F where it has more than 8 bits.

    Mode F keeps every tone, as 0 (black) to 255 (white): 16 bits by the range of their type, floats and 32-bit integers
    by the span of their set, or their own where the set has none.

    Args:
        pictures: Where the image is.
        index: Its number.
        channels: 1 or 3 to convert to; None keeps grey images grey and turns all others into RGB.

    Raises:
        BadInput: The image cannot be read.
    """
    image = opened(pictures, index)
    if _is_deep(image):
        return _deep(image, pictures, index)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "LAB":  # Pillow knows the way to colour only
        image = image.convert("RGB")
    mode = _MODES[channels or (1 if image.mode in _GREY else 3)]
    return image if image.mode == mode else image.convert(mode)


def decoded_bytes(pictures: Pictures, index: int, channels: int, size: tuple[int, int] | None = None) -> int:
    """Return how many bytes the pixels of an image take once it is decoded, and scaled to `size`; reads its header.

    Raises:
        BadInput: The image cannot be read.
    """
    image = opened(pictures, index, load=False)
    width, height = size or image.size
    return width * height * (4 if _is_deep(image) else channels)


def channels_of(pictures: Pictures, index: int) -> int:
    """Return 1 for a grey image, 3 for one in colour."""
    return 3 if decode(pictures, index, None).mode == "RGB" else 1


def opened(pictures: Pictures, index: int, load: bool = True) -> Image.Image:
    """Return an image as it lies in its file, turned upright; without `load` its header alone.

    Raises:
        BadInput: The image cannot be read.
    """
    encoded = pictures.encoded(index)
    try:
        with warnings.catch_warnings():
            # A large image is no attack on its owner; at twice that size Pillow refuses it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Broken notes beside the pixels of a readable image.
            warnings.filterwarnings("ignore", module="PIL")
            if isinstance(encoded, Image.Image):
                encoded.load()
                return _upright(encoded)
            # A path would be mapped into memory: Pillow 13 so scrambles a plain TIFF that lies on its side.
            with (
                io.BytesIO(encoded) if isinstance(encoded, bytes) else open(encoded, "rb") as read,
                Image.open(read) as file,
            ):
                if not load:
                    return file
                file.load()
                return _upright(file)
    except FileNotFoundError:
        raise BadInput(f"{pictures.place(index)} points to the file {encoded!r}, which does not exist") from None
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        reason = "its format is unknown" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise BadInput(f"{pictures.place(index)} is not a readable image: {reason}{pictures.remedy}") from None


def _upright(image: Image.Image) -> Image.Image:
    """Return an image as its camera meant it to be seen."""
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # notes of a camera that cannot be read say nothing about the pixels
        return image
    return image if turned is None else turned


def upright_size(pictures: Pictures, index: int) -> tuple[int, int]:
    """Return (width, height) of an image once it is turned upright, by its header alone.

    A PNG may say how it was held behind its pixels, which is not looked for.

    Raises:
        BadInput: The image cannot be read.
    """
    header = opened(pictures, index, load=False)
    width, height = header.size
    try:
        known = header.format != "PNG" or "exif" in header.info  # else Pillow would read the pixels, too
        lies = known and header.getexif().get(ExifTags.Base.Orientation) in _LYING
    except Exception:  # as above
        lies = False
    return (height, width) if lies else (width, height)


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def _type_span(image: Image.Image) -> Span | None:
    """Return black and white of the type of a deep image; None where numbers of any size are usual."""
    # Pillow reads the 16 bits of a PGM as 32, and 16-bit PNG files too in some versions.
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))
    return (0.0, float(_TYPE_MAX)) if sixteen else None


def _deep(image: Image.Image, pictures: Pictures, index: int) -> Image.Image:
    pixels = _finite(image, pictures, index)
    low, high = _type_span(image) or pictures.span or (float(pixels.min()), float(pixels.max()))
    # An image of one tone is black.
    return Image.fromarray(((pixels - low) * (255 / (high - low) if high > low else 0)).astype(np.float32))


def _finite(image: Image.Image, pictures: Pictures, index: int) -> np.ndarray:
    pixels = np.asarray(image).astype(np.float64)
    if not np.isfinite(pixels).all():
        raise BadInput(f"{pictures.place(index)} holds pixels that are no finite numbers{pictures.remedy}")
    return pixels


def span_of(pictures: Pictures) -> Span | None:
    """Return the smallest and largest value of a set of floats or 32-bit integers; None where there are none.

    Headers are read of up to 5,000 images; only where one holds such numbers is the whole set decoded once.

    Raises:
        BadInput: An image cannot be read, or holds pixels that are no finite numbers.
    """
    step = max(len(pictures) // _LOOKED_AT, 1)
    if not any(_has_no_white(pictures, index) for index in range(0, len(pictures), step)):
        return None
    low, high = np.inf, -np.inf
    for index in range(len(pictures)):
        image = opened(pictures, index)
        if _is_deep(image) and _type_span(image) is None:
            pixels = _finite(image, pictures, index)
            low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
    return (low, high)


def _has_no_white(pictures: Pictures, index: int) -> bool:
    try:
        image = opened(pictures, index, load=False)
    except BadInput:  # told when it is its turn
        return False
    return _is_deep(image) and _type_span(image) is None


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """Return (H, W, C): uint8, or float32 in 0..1 of an image in mode F."""
    if image.mode == "F":
        return np.repeat((np.asarray(image) / np.float32(255))[:, :, None], channels, axis=2)
    mode = _MODES[channels]
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array if array.ndim == 3 else array[:, :, None]


def content_of(pictures: Pictures, index: int) -> bytes:
    """Return the encoded bytes of an image that was not opened elsewhere.

    Raises:
        BadInput: The file cannot be read.
    """
    encoded = pictures.encoded(index)
    if isinstance(encoded, bytes):
        return encoded
    assert isinstance(encoded, str)
    try:
        return Path(encoded).read_bytes()
    except OSError as error:
        raise BadInput(f"{pictures.place(index)} cannot be read: {error.strerror}") from None


def stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """Return (N, C, H, W) in channels_last memory; one float among the arrays makes all floats in 0..1."""
    if any(array.dtype != np.uint8 for array in arrays):
        arrays = [array / np.float32(255) if array.dtype == np.uint8 else array for array in arrays]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def check_channels(channels: object, may_be_none: bool) -> None:
    """Raise BadInput unless the argument is 1 or 3, or None where that is allowed."""
    if channels not in ((None, 1, 3) if may_be_none else (1, 3)):
        raise BadInput(f"`channels` must be 1 (grey) or 3 (colour), but got {shown(channels)}")
