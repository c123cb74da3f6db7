"""What is done to an image of any size before a network sees it, as plain data: neither torch nor Pillow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from invnas.errors import BadInput, nearest, shown
from invnas.rules import LARGEST, whole

#: Share of the shorter side that evaluation keeps of images that are streamed.
CENTRE = 0.875

#: What is done in one way only, and stands in the JSON for programs that are not invnas.
FIXED: Mapping[str, Any] = {
    "orientation": "upright, by EXIF",
    "resize": "bilinear, antialiased, to bytes",
    "range": [0, 1],
}


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a network sees it, in this order.

    It is turned upright by its EXIF notes, becomes grey or RGB, its centre is cropped and scaled (bilinear with
    antialiasing, as Pillow does it), its values go from 0 (black) to 1 (white), and are normalised.

    Attributes:
        size: (height, width) of what the network sees, in pixels.
        channels: 3 (RGB) or 1 (grey: 0.299 R + 0.587 G + 0.114 B); transparency is dropped. Other numbers come from no
            image file.
        crop: Share in (0, 1] of the largest centred box with the proportions of `size` (of a square: of the shorter
            side) that is kept; None: unknown.
        mean: Mean of each channel, of values in 0..1; None: unknown.
        std: Standard deviation of each channel, of values in 0..1; None: unknown.
        span: Black and white of images of floats or 32-bit integers; None takes the smallest and largest value of each
            image. 8 and 16 bits have the black and white of their type.

    Raises:
        BadInput: If a value cannot be.

    Example:
        >>> from invnas import Preprocessing
        >>> seen = Preprocessing(size=(224, 224), channels=1, crop=0.875, mean=(0.5,), std=(0.25,))
        >>> seen.box(640, 480)
        (110.0, 30.0, 530.0, 450.0)
    """

    size: tuple[int, int]
    channels: int
    crop: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    span: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std", "span"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, rule in _problems(self):
            raise BadInput(f"`{name}` of a preprocessing must be {rule}, but is {shown(getattr(self, name), 60)}")

    @property
    def unknown(self) -> tuple[str, ...]:
        """What is not known, in words."""
        said = {
            "crop": "how images are cropped (`crop`)",
            "mean": "their mean (`mean`)",
            "std": "their deviation (`std`)",
        }
        return tuple(words for name, words in said.items() if getattr(self, name) is None)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of what is kept of an image, in pixels; `crop` must be known."""
        assert self.crop is not None
        rows, columns = self.size
        across = min(width, height * (columns / rows)) * self.crop
        down = across * (rows / columns)
        left, top = (width - across) / 2, (height - down) / 2
        return left, top, left + across, top + down

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**{key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}, **FIXED}

    @classmethod
    def from_dict(cls, data: Any) -> Preprocessing:
        """Rebuild from `to_dict`.

        Raises:
            BadInput: If a key is missing or unknown, or a value cannot be.
        """
        if not isinstance(data, Mapping):
            raise BadInput(f"a preprocessing must be an object, but is {shown(data, 60)}")
        own = [field.name for field in fields(cls)]
        for key in data:
            if key not in (known := [*own, *FIXED]):
                raise BadInput(f"unknown key '{key}' of a preprocessing; {nearest(str(key), known)}")
        for key in [*own, *FIXED]:
            if key not in data:
                raise BadInput(f"the key '{key}' of a preprocessing is missing")
        for key, value in FIXED.items():
            if data[key] != value:
                raise BadInput(f"`{key}` of a preprocessing must be {value!r}, but is {shown(data[key], 60)}")
        return cls(**{name: data[name] for name in own})


def _problems(given: Preprocessing) -> Iterator[tuple[str, str]]:
    size, channels, crop = given.size, given.channels, given.crop
    sides = size if isinstance(size, tuple) else ()
    if len(sides) != 2 or any(True for side in sides for _ in whole("", side)):
        yield "size", f"(height, width), each a whole number from 1 to {LARGEST:,}"
    if any(whole("", channels)):
        yield "channels", "3 (RGB) or 1 (grey)"
        return
    if crop is not None and not (_number(crop) and 0 < crop <= 1):
        yield "crop", "a share in (0, 1], or None where it is unknown"
    for name in ("mean", "std"):
        values = getattr(given, name)
        held = isinstance(values, tuple) and len(values) == channels and all(map(_number, values))
        if values is not None and not (held and (name == "mean" or min(values) > 0)):
            positive = "" if name == "mean" else " above 0"
            yield name, f"a number{positive} for each of {channels} channels, or None where it is unknown"
    span = given.span
    if span is not None and not (
        isinstance(span, tuple) and len(span) == 2 and all(map(_number, span)) and span[0] <= span[1]
    ):
        yield "span", "(black, white), two numbers, or None"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
