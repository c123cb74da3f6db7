"""Text files of objects, a line each: a class, then a box or a polygon, as shares of the sides of an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from invnas.data.objects import Objects
from invnas.data.outlines import Polygons
from invnas.errors import BadInput, shown

_OVERHANG = 0.002  # share of a side that a box may reach beyond its image by rounding: a pixel of 500
_BOX, _POLYGON = 5, 7  # numbers of a line with a box, and of one with the smallest polygon


@dataclass
class BoxLines:
    """How label files are read.

    Attributes:
        names: Of the classes, in label order.
        masks: Whether polygons become masks.
        clip: Whether boxes are clipped to their image, and left out where nothing is left, instead of refused.
        left_out: How many boxes were left out.
    """

    names: Sequence[str]
    masks: bool
    clip: bool
    left_out: Counter[str] = field(default_factory=Counter)

    def read(self, file: Path | None) -> Objects:
        """Return the objects of a file; without one there are none.

        Raises:
            BadInput: One sentence with the file and the line.
        """
        found = []
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            place = f"line {number} of '{file}'"
            label, numbers = self._numbers(line, place)
            box, outline = self._box(numbers, place), None
            if self.masks:
                if len(numbers) < _POLYGON - 1:
                    raise BadInput(f"{place} has a box, but `masks` is true: it must be a class and a polygon")
                outline = Polygons((numbers.reshape(-1, 2),))
            if box is not None:
                found.append((box, label, outline))
        return Objects.of(found, None, self.masks)

    def _numbers(self, line: str, place: str) -> tuple[int, np.ndarray]:
        """Return the class and the other numbers of a line."""
        try:
            numbers = np.array([float(word) for word in line.split()])
        except ValueError:
            numbers = np.zeros(0)
        count = len(numbers)
        if not (count == _BOX or (count >= _POLYGON and count % 2)) or not np.isfinite(numbers).all():
            raise BadInput(
                f"{place} is {shown(line.strip(), 60)}: it must be a class and four numbers (x and y of the centre "
                "of a box, its width and height), or a class and the x and y of at least three points"
            )
        label, classes = numbers[0], len(self.names)
        if not label.is_integer() or not 0 <= label < classes:
            raise BadInput(
                f"{place} has the class {label:g}, but with {classes} classes they are whole numbers in "
                f"0..{classes - 1}"
            )
        return int(label), numbers[1:]

    def _box(self, numbers: np.ndarray, place: str) -> np.ndarray | None:
        """Return left, top, right and bottom within the image; None where boxes are clipped and nothing is left."""
        if len(numbers) == _BOX - 1:
            what, sides = "box", numbers[2:]
            box = np.concatenate([numbers[:2] - sides / 2, numbers[:2] + sides / 2])
        else:
            what, points = "polygon", numbers.reshape(-1, 2)
            box = np.concatenate([points.min(0), points.max(0)])
            sides = box[2:] - box[:2]
        where = f"{place} has a {what} of {sides[0]:g} x {sides[1]:g}"
        if (sides < 0).any() or not (self.clip or (box[:2] < box[2:]).all()):
            raise BadInput(f"{where}, which has no area{_CLIP if (sides >= 0).all() else ''}")
        seen, far = box.clip(0, 1), max(-box[:2].min(), box[2:].max() - 1)
        inside = bool((seen[:2] < seen[2:]).all())
        if (far > _OVERHANG or not inside) and not self.clip:
            words = ", ".join(f"{one:g}" for one in box)
            hint = ": numbers are shares of the sides of the image, not pixels" if far > 1 else ""
            raise BadInput(f"{where} from {words}, which reaches beyond its image, 0 to 1{hint}{_CLIP}")
        if inside:
            return seen
        self.left_out["boxes of which nothing is in their image"] += 1
        return None


_CLIP = "; `on_broken_box: clip` clips boxes to their image, and leaves out those of which nothing is left"


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{file}' cannot be read: {error}") from None
