"""What the values of a mask file mean: class indices as they are, or colours by a palette."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from invnas.errors import BadInput, shown
from invnas.masks import AT_MOST, IGNORED
from invnas.rules import check_whole

_SHOWN = 3  # colours named in a sentence


@dataclass(frozen=True)
class MaskCoding:
    """From the pixels of a mask file to classes.

    Attributes:
        classes: How many there are, from 2 to 255.
        names: Their names in order, if known.
        ignore_value: The value of pixels that count nowhere. At 0 the first class has the value 1, otherwise 0.
        palette: The colours of the files as 0xRRGGBB, each with its class or `IGNORED`; None: files hold indices.
    """

    classes: int
    names: tuple[str, ...] | None = None
    ignore_value: int = IGNORED
    palette: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def of(
        cls,
        classes: int | None = None,
        class_names: Sequence[str] | None = None,
        palette: Mapping[str, str | None] | None = None,
        ignore_value: int = IGNORED,
    ) -> MaskCoding:
        """Check what a user says of the classes.

        Raises:
            BadInput: If it says too little, or what cannot be.
        """
        check_whole("ignore_value", ignore_value, 0, 2**16 - 1)
        colours = None
        if palette is not None:
            if class_names is not None:
                raise BadInput("`class_names` and `palette` both name the classes: give one of them")
            class_names, colours = _colours(palette)
        names = None if class_names is None else _names(class_names)
        if names is None and classes is None:
            raise BadInput(
                "nothing says which classes the masks have: name them in `class_names`, in a file classes.txt in the "
                "root, or by colours in `palette`, or give their number as `classes`"
            )
        if classes is not None:
            check_whole("classes", classes, 2, AT_MOST)
            if names is not None and len(names) != classes:
                raise BadInput(f"`classes` is {classes}, but {len(names)} classes are named")
        count = len(names) if names is not None else int(classes or 0)
        if not 2 <= count <= AT_MOST:
            raise BadInput(f"masks must have from 2 to {AT_MOST} classes, but {count} are named")
        if palette is None and 0 < ignore_value < count:
            meant = f"of class '{names[ignore_value]}'" if names else "of a class"
            raise BadInput(
                f"`ignore_value` {ignore_value} is the value {meant}: it must be 0 (classes are then counted from 1) "
                f"or at least {count}"
            )
        return cls(count, names, ignore_value, colours)

    @property
    def first(self) -> int:
        """The value of the first class."""
        return 1 if self.ignore_value == 0 else 0

    def indices(self, image: Image.Image, place: str) -> np.ndarray:
        """Return the class of each pixel, (H, W) uint8, `IGNORED` where there is none.

        Raises:
            BadInput: If a value or colour stands for no class; `place` names the file.
        """
        return self._of_values(image, place) if self.palette is None else self._of_colours(image, place)

    def _of_values(self, image: Image.Image, place: str) -> np.ndarray:
        if image.mode not in ("1", "L", "P", "I", "F") and not image.mode.startswith("I;16"):
            most = ", ".join(f"'{colour}': ..." for colour in _most(_codes(image)))
            raise BadInput(
                f"the mask {place} is in colour (mode {image.mode}), and nothing says which class each colour is: name "
                f"them in `palette`, such as {{{most}}}"
            )
        values = np.asarray(image)
        inside = (values >= self.first) & (values < self.first + self.classes)
        found = np.where(inside, values - self.first, IGNORED).astype(np.uint8)
        unknown = ~inside & (values != self.ignore_value)
        if unknown.any():
            raise self._refusal(values[unknown], place)
        return found

    def _refusal(self, values: np.ndarray, place: str) -> BadInput:
        first, count = np.unique(values, return_counts=True)
        most = int(count.argmax())
        others = f" and {len(first) - 1} other unknown values" if len(first) > 1 else ""
        return BadInput(
            f"the mask {place} has the value {first[most]:g} at {count[most]:,} pixels{others}, but with "
            f"{self.classes} classes its values must be {self.first}..{self.first + self.classes - 1}, or "
            f"{self.ignore_value} where a pixel is ignored (`ignore_value`)"
        )

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        codes, classes = np.asarray(sorted(self.palette or ()), np.int64).T
        return codes, classes.astype(np.uint8)

    def _of_colours(self, image: Image.Image, place: str) -> np.ndarray:
        found = _codes(image)
        codes, classes = self._sorted
        at = np.searchsorted(codes, found).clip(max=len(codes) - 1)
        unknown = found[codes[at] != found]
        if unknown.size:
            colour = _most(unknown)[0]
            near = min(codes.tolist(), key=lambda code: _distance(code, int(colour[1:], 16)))
            many = int((unknown == int(colour[1:], 16)).sum())
            raise BadInput(
                f"the mask {place} has the colour {colour} at {many:,} pixels, which `palette` does not have; nearest: "
                f"'#{near:06x}'; valid: {', '.join(f'#{code:06x}' for code in codes)}"
            )
        return classes[at]


def _names(given: Any) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, list | tuple) else ()
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise BadInput(f"`class_names` must be names of classes in the order of their values, but is {shown(given)}")
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"`class_names` must be different, but '{name}' is there {names.count(name)} times")
    return names


def _colours(palette: Any) -> tuple[list[str], tuple[tuple[int, int], ...]]:
    """Return the names of the classes of a palette, in order, and its colours with their classes."""
    if not isinstance(palette, Mapping) or not palette:
        raise BadInput(
            f"`palette` must give a class for each colour, such as {{'#000000': 'background'}}, but is {shown(palette)}"
        )
    names = list(dict.fromkeys(name for name in palette.values() if name is not None))
    if not names:
        raise BadInput("`palette` names no class: all its colours are ignored")
    colours = {}
    for colour, name in palette.items():
        if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
            raise BadInput(f"a colour of `palette` must be written as '#rrggbb', but is {shown(colour)}")
        if name is not None and not (isinstance(name, str) and name.strip()):
            raise BadInput(f"`palette` must name a class for {colour}, or null to ignore it, but has {shown(name)}")
        if (code := int(colour[1:], 16)) in colours:
            raise BadInput(f"`palette` has the colour {colour.lower()} twice")
        colours[code] = IGNORED if name is None else names.index(name)
    return names, tuple(colours.items())


def _codes(image: Image.Image) -> np.ndarray:
    """Return the colour of each pixel as 0xRRGGBB, (H, W)."""
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    return (pixels[:, :, 0] << 16) + (pixels[:, :, 1] << 8) + pixels[:, :, 2]


def _most(codes: np.ndarray) -> list[str]:
    """Return the colours that most pixels have."""
    found, counts = np.unique(codes, return_counts=True)
    return [f"#{found[at]:06x}" for at in np.argsort(-counts, kind="stable")[:_SHOWN]]


def _distance(one: int, other: int) -> int:
    return sum(((one >> shift & 255) - (other >> shift & 255)) ** 2 for shift in (0, 8, 16))
