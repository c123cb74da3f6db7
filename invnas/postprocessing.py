"""What makes an answer of the numbers of a network, as plain data: boxes of those of a detector of one stage, a mask of
those of a segmenter; no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from invnas.detectors import ASPECT_RATIOS
from invnas.masks import IGNORED

#: The largest logarithm by which a side of an anchor grows, so that no exponential is too large.
LARGEST_GROWTH = math.log(1000 / 16)


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one level of a pyramid.

    Attributes:
        grid: Its (rows, columns).
        stride: Pixels from one position to the next, (down, across); the first position is (0, 0).
        anchors: The boxes at a position, each (left, top, right, bottom) in pixels from there.
    """

    grid: tuple[int, int]
    stride: tuple[int, int]
    anchors: tuple[tuple[float, float, float, float], ...]

    def boxes(self) -> np.ndarray:
        """Return all of them, (rows * columns * anchors, 4) in float32, in this order."""
        (rows, columns), (down, across) = self.grid, self.stride
        y, x = np.meshgrid(np.arange(rows) * down, np.arange(columns) * across, indexing="ij")
        places = np.stack([x, y, x, y], 2).reshape(-1, 1, 4)
        return (places + np.array(self.anchors)).reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True)
class Postprocessing:
    """From scores and offsets to detections, by the rules of torchvision's RetinaNet.

    Of each level the best so many pairs of anchor and class are candidates, if their score is above the threshold.
    Their boxes are clipped to the image; of those of one class that overlap more than `overlap` only the best is kept,
    and of all that are kept the best `detections`.

    Attributes:
        size: (height, width) of the images that the anchors are for.
        classes: Scores of an anchor; they stand before its four offsets.
        levels: The anchors, level by level, finest first, as the network has them.
        score_threshold: A score, after the sigmoid, must be above it.
        candidates: Of a level, at most.
        overlap: Intersection over union that boxes of one class may have.
        detections: Of an image, at most.
    """

    size: tuple[int, int]
    classes: int
    levels: tuple[AnchorLevel, ...]
    score_threshold: float = 0.05
    candidates: int = 1000
    overlap: float = 0.5
    detections: int = 100

    def anchors(self) -> np.ndarray:
        """Return all anchors, (N, 4) in float32, in the order of the network's numbers."""
        return np.concatenate([level.boxes() for level in self.levels])

    @property
    def counts(self) -> list[int]:
        """How many anchors each level has."""
        return [math.prod(level.grid) * len(level.anchors) for level in self.levels]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; the coding of boxes stands in it for programs that are not invnas."""
        return {
            **asdict(self),
            "score": "sigmoid",
            "offsets": "centre x, centre y over the sides of the anchor; logarithm of width, height over these",
            "largest_growth": LARGEST_GROWTH,
        }


@dataclass(frozen=True)
class PixelClasses:
    """From one score for each class and pixel to a mask as large as the image, by the only rules there are.

    The scores of each class are scaled to the part of the image that the network has seen, whose sides are rounded to
    whole pixels, halves to even; the class of the largest score is that of the pixel, the first where several are. The
    rest of the image is 255.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, for programs that are not invnas."""
        return {
            "scale": "bilinear, corners not aligned, to the whole pixels of the image that were seen",
            "class": "of the largest score, the first of equal ones",
            "unseen": IGNORED,
        }


def anchor_sizes(shapes: Sequence[Any], size: Sequence[int], number: int) -> tuple[tuple[float, ...], ...]:
    """Return the sizes, as the root of the area, of the anchors of levels of these heights and widths.

    On a level of stride s they have 8 s pixels along a side, or from 4 s on in as many sizes within an octave as there
    are; all are smaller by one factor where the largest would not fit into the image.

    Args:
        shapes: (height, width) of each level.
        size: (height, width) of the images.
        number: Anchors at a position.
    """
    strides = [max(1, size[0] // height) for height, _ in shapes]
    scales = number // len(ASPECT_RATIOS)
    base = max(1.0, min(8 if scales == 1 else 4, max(size) / strides[-1]))
    return tuple(tuple(base * stride * 2 ** (i / scales) for i in range(scales)) for stride in strides)


def anchor_levels(shapes: Sequence[Any], size: Sequence[int], number: int) -> tuple[AnchorLevel, ...]:
    """Return the anchors of levels: of each aspect ratio those of all sizes, rounded to whole pixels as torchvision's
    AnchorGenerator does, in float32 and to even.
    """
    found = []
    high = np.sqrt(np.array(ASPECT_RATIOS, np.float32))
    wide = 1 / high
    for (rows, columns), sizes in zip(shapes, anchor_sizes(shapes, size, number), strict=True):
        width, height = (np.outer(sides, np.array(sizes, np.float32)).ravel() for sides in (wide, high))
        right, bottom = (np.round(one / 2).tolist() for one in (width, height))
        anchors = tuple((0.0 - x, 0.0 - y, x, y) for x, y in zip(right, bottom, strict=True))
        found.append(AnchorLevel((int(rows), int(columns)), (size[0] // rows, size[1] // columns), anchors))
    return tuple(found)
