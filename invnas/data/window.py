"""Which part of a picture becomes what a network sees: pixels, maps, boxes and outlines are moved by it as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from invnas.masks import IGNORED

#: Left, top, right and bottom in pixels.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Window:
    """A part of a picture, and the cells of the result that it fills.

    Attributes:
        size: (height, width) of the result, in pixels.
        part: What of the picture is seen, within it.
        cells: What of the result it fills, in whole pixels: all, unless the window reaches beyond the picture.
        shown: How many pixels of the result one pixel of the picture becomes.
        mirrored: Left to right, at last.
    """

    size: tuple[int, int]
    part: Box
    cells: tuple[int, int, int, int]
    shown: float
    mirrored: bool = False

    @classmethod
    def on(cls, box: Box, whole: tuple[int, int], size: tuple[int, int], mirrored: bool = False) -> Window:
        """Return the window that shows a box, which may reach beyond a picture of (width, height)."""
        rows, columns = size
        left, right, first, last = _clipped(box[0], box[2], whole[0], columns)
        top, bottom, upper, lower = _clipped(box[1], box[3], whole[1], rows)
        shown = rows * columns / ((box[2] - box[0]) * (box[3] - box[1]))
        return cls(size, (left, top, right, bottom), (first, upper, last, lower), shown, mirrored)

    def picture(self, image: Image.Image) -> Image.Image:
        """Return what is seen of a picture, scaled as `Preprocessing` says; beyond it is black."""
        return self._of(image, Image.Resampling.BILINEAR, 0)

    def map(self, map: Image.Image) -> np.ndarray:
        """Return what is seen of a map (mode L) by the nearest pixel, (H, W) uint8; beyond it is `IGNORED`."""
        return np.array(self._of(map, Image.Resampling.NEAREST, IGNORED))

    @property
    def filled(self) -> tuple[int, int, int, int]:
        """The cells that show the picture, once they are mirrored."""
        left, top, right, bottom = self.cells
        return (self.size[1] - right, top, self.size[1] - left, bottom) if self.mirrored else self.cells

    def points(self, points: np.ndarray) -> np.ndarray:
        """Return where points (N, 2) of the picture, x and y in pixels, come to lie, also those that are not seen."""
        part, cells = np.array(self.part), np.array(self.cells)
        moved = cells[:2] + (points - part[:2]) * ((cells[2:] - cells[:2]) / (part[2:] - part[:2]))
        if self.mirrored:
            moved[:, 0] = self.size[1] - moved[:, 0]
        return moved

    def boxes(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is seen of boxes (N, 4), and which share of the area of each that is."""
        moved = self.points(boxes.reshape(-1, 2)).reshape(-1, 4)
        if self.mirrored:
            moved = moved[:, [2, 1, 0, 3]]
        left, top, right, bottom = self.filled
        seen = moved.clip([left, top, left, top], [right, bottom, right, bottom])
        return seen, ((seen[:, 2:] - seen[:, :2]) / (moved[:, 2:] - moved[:, :2])).prod(1)

    def _of(self, image: Image.Image, how: Image.Resampling, beyond: int) -> Image.Image:
        rows, columns = self.size
        left, top, right, bottom = self.cells
        part = image.resize((right - left, bottom - top), how, box=self.part)
        if part.size != (columns, rows):
            fill: Any = beyond if len(image.getbands()) == 1 else (beyond,) * len(image.getbands())
            whole = Image.new(image.mode, (columns, rows), fill)
            whole.paste(part, (left, top))
            part = whole
        return ImageOps.mirror(part) if self.mirrored else part


def _clipped(start: float, end: float, whole: int, cells: int) -> tuple[float, float, int, int]:
    """Return what of a line lies in 0..whole, and from which to which of the line's cells that reaches."""
    low, high = max(start, 0.0), min(end, float(whole))
    first = min(round((low - start) / (end - start) * cells), cells - 1)
    last = max(round((high - start) / (end - start) * cells), first + 1)
    return low, high, first, last
