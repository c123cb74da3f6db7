"""Outlines of objects, as polygons or as runs of pixels, and the masks that a window of their picture shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from invnas.data.window import Window
from invnas.errors import BadInput, shown

_POINTS = 3  # fewer enclose nothing
_FAR = 2**24  # pixels: no picture is so large


@dataclass(frozen=True)
class Polygons:
    """An object as the union of polygons.

    Attributes:
        parts: Corners of each, (N, 2): x and y in pixels of the picture.
    """

    parts: tuple[np.ndarray, ...]

    def mask(self, window: Window) -> np.ndarray:
        """Return (H, W) bool: a pixel of the result belongs to the object if its centre lies in a polygon."""
        left, top, right, bottom = window.filled
        found = np.zeros(window.size, bool)
        for part in self.parts:
            found |= filled(window.points(part), window.size)
        within = np.zeros_like(found)
        within[top:bottom, left:right] = found[top:bottom, left:right]
        return within

    def scaled(self, width: float, height: float) -> Polygons:
        """Return the polygons with every x times `width` and every y times `height`."""
        return Polygons(tuple(part * (width, height) for part in self.parts))

    def content(self) -> bytes:
        """Return what differs where polygons do."""
        return b"".join(repr(part.shape).encode() + part.tobytes() for part in self.parts)


@dataclass(frozen=True)
class Runs:
    """An object as lengths of runs of pixels, column by column, in turn outside and inside.

    Attributes:
        counts: The lengths, the first one outside.
        size: (height, width) of the picture.
    """

    counts: np.ndarray
    size: tuple[int, int]

    def whole(self) -> np.ndarray:
        """Return the mask of the whole picture, (height, width) bool."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.size[::-1]).T

    def mask(self, window: Window) -> np.ndarray:
        """Return (H, W) bool by the nearest pixel of the picture."""
        return window.map(Image.fromarray(self.whole().astype(np.uint8))) == 1

    def content(self) -> bytes:
        """Return what differs where runs do."""
        return repr(self.size).encode() + self.counts.tobytes()


Outline = Polygons | Runs


def filled(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which pixels of (H, W) have their centre in a polygon: a ray from the left crosses its border oddly often.

    Args:
        corners: (N, 2), x and y in pixels; the last is joined to the first.
        size: (H, W).
    """
    found = np.zeros(size, bool)
    whole = np.array(size[::-1])
    low = np.floor(corners.min(0)).clip(0, whole).astype(np.int64)
    columns, rows = np.ceil(corners.max(0)).clip(low, whole).astype(np.int64) - low  # all else is outside
    (x, y), (next_x, next_y) = (corners - low).T, (np.roll(corners, -1, 0) - low).T
    centres = np.arange(rows)[:, None] + 0.5
    row, edge = np.nonzero((y <= centres) != (next_y <= centres))
    along = (row + 0.5 - y[edge]) / (next_y[edge] - y[edge])
    crossing = x[edge] + along * (next_x[edge] - x[edge])
    # The first pixel whose centre lies to the right of the crossing.
    column = np.ceil(crossing - 0.5).clip(0, columns).astype(np.int64)
    changes = np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    found[low[1] : low[1] + rows, low[0] : low[0] + columns] = changes[:, :columns].cumsum(1) % 2 == 1
    return found


def outline_of(given: Any, size: tuple[int, int], place: str) -> Outline:
    """Return the outline that COCO calls `segmentation`: polygons, or runs, as numbers or as text.

    Args:
        given: As it stands in the file.
        size: (height, width) of the picture.
        place: Words that name the object in an error.

    Raises:
        BadInput: If it is none, or of another picture.
    """
    if isinstance(given, dict):
        return _runs_of(given, size, place)
    if not isinstance(given, list) or not given:
        said = "no `segmentation`" if given in (None, []) else f"the `segmentation` {shown(given)}"
        raise BadInput(f"{place} has {said}, but `masks` is true: it must be a list of polygons, or runs of pixels")
    return Polygons(tuple(polygon_of(part, place) for part in given))


def polygon_of(numbers: Any, place: str) -> np.ndarray:
    """Return the corners of a polygon given as [x, y, x, y, ...], (N, 2).

    Raises:
        BadInput: If these are no three points.
    """
    flat = _numbers(numbers)
    if flat is None or len(flat) % 2 or not (np.abs(flat) < _FAR).all():
        raise BadInput(f"{place} has the polygon {shown(numbers)}: it must be numbers x, y, x, y and so on")
    if len(flat) < 2 * _POINTS:
        raise BadInput(f"{place} has a polygon of {len(flat) // 2} points, but {_POINTS} are the fewest: {numbers}")
    return flat.reshape(-1, 2)


def _numbers(given: Any) -> np.ndarray | None:
    if not isinstance(given, list) or not set(map(type, given)) <= {int, float}:
        return None
    try:
        return np.array(given, np.float64)
    except OverflowError:
        return None


def _runs_of(given: dict[str, Any], size: tuple[int, int], place: str) -> Runs:
    counts, said = given.get("counts"), given.get("size")
    if said != list(size):
        raise BadInput(
            f"{place} has runs of pixels of the `size` {shown(said)}, but its image is [height, width] {list(size)}"
        )
    found = _decoded(counts) if isinstance(counts, str) else counts
    whole = found if isinstance(found, list) and all(type(one) is int and one >= 0 for one in found) else None
    if whole is None or sum(whole) != size[0] * size[1]:
        total = f"are {shown(counts)}" if whole is None else f"add up to {sum(whole):,}"
        raise BadInput(
            f"{place} has runs of pixels whose `counts` {total}, but they must be the lengths of runs, which add up to "
            f"the {size[0] * size[1]:,} pixels of its image"
        )
    return Runs(np.array(whole, np.int64), size)


def _decoded(text: str) -> list[int] | None:
    """Return the runs of COCO's compressed text: five bits a letter, the lowest first; from the fourth on differences.

    The sixth bit says that more follows; the highest bit of the last letter is the sign. Source: `rleFrString` of
    cocoapi/common/maskApi.c.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts
