"""Pictures with objects in them: a box and a class each, and perhaps an outline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from invnas.data.outlines import Outline, Polygons
from invnas.data.pictures import Pictures, Span, content_of, decode, opened, upright_size
from invnas.data.scenery import VISIBLE
from invnas.data.window import Window
from invnas.errors import BadInput

_SIZES = 5_000  # pictures whose sizes are compared before anything is trained
_LEAST = 0.5  # pixels of a side of what is seen: less is nothing that could be found


@dataclass(frozen=True)
class Objects:
    """The objects of one picture.

    Attributes:
        boxes: Left, top, right and bottom, (N, 4) float64: in pixels, or as shares of the sides.
        labels: Class of each, (N,) int64.
        outlines: Outline of each, in what the boxes are in; None where no masks are wanted.
        size: (width, height) of the picture in pixels; None where boxes are shares of its sides.
    """

    boxes: np.ndarray
    labels: np.ndarray
    outlines: tuple[Outline, ...] | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, found: Sequence[tuple[Any, int, Outline | None]], size: tuple[int, int] | None, masks: bool) -> Objects:
        """Return the objects that are given as (box, label, outline)."""
        boxes = np.array([box for box, _, _ in found], np.float64).reshape(-1, 4)
        outlines = tuple(outline for _, _, outline in found if outline is not None) if masks else None
        return cls(boxes, np.array([label for _, label, _ in found], np.int64), outlines, size)

    def __len__(self) -> int:
        return len(self.labels)

    def within(self, size: tuple[int, int]) -> Objects:
        """Return the objects in pixels of a picture of (width, height)."""
        if self.size is not None:
            return self
        outlines = self.outlines and tuple(one.scaled(*size) for one in self.outlines if isinstance(one, Polygons))
        return replace(self, boxes=self.boxes * np.array(size * 2), outlines=outlines, size=size)

    def seen(self, window: Window) -> dict[str, torch.Tensor]:
        """Return what a window shows, as a detector takes it.

        An object is left out of which less than `VISIBLE` percent of the box is seen, or less than half a pixel of a
        side; with outlines also one of which no pixel is.
        """
        boxes, shares = window.boxes(self.boxes)
        kept = (100 * shares >= VISIBLE) & ((boxes[:, 2:] - boxes[:, :2]) >= _LEAST).all(1)
        found: dict[str, torch.Tensor] = {}
        if self.outlines is not None:
            masks = np.zeros((len(self), *window.size), bool)
            for number in np.flatnonzero(kept):
                masks[number] = self.outlines[number].mask(window)
            kept &= masks.any((1, 2))
            found["masks"] = torch.from_numpy(masks[kept])
        return {
            "boxes": torch.from_numpy(boxes[kept].astype(np.float32)),
            "labels": torch.from_numpy(self.labels[kept]),
            **found,
        }

    def content(self) -> bytes:
        """Return what differs where objects do."""
        outlines = [type(one).__name__.encode() + one.content() for one in self.outlines or ()]
        return b"".join([repr(self.size).encode(), self.boxes.tobytes(), self.labels.tobytes(), *outlines])


@dataclass(frozen=True)
class ObjectPairs:
    """Pictures in files, and the objects of each.

    Attributes:
        pictures: The pictures.
        objects: Those of each.
        channels: 1 or 3.
        source: Words that name what says how large the pictures are.
    """

    pictures: Pictures
    objects: Sequence[Objects]
    channels: int
    source: str

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def span(self) -> Span | None:
        """Black and white of pictures of floats or 32-bit integers, if any."""
        return self.pictures.span

    def count(self, indices: Iterable[int]) -> int:
        """Return how many objects some of the pictures have together."""
        return sum(len(self.objects[index]) for index in indices)

    def opened(self, index: int) -> tuple[Image.Image, Objects]:
        """Return a picture and its objects in pixels.

        Raises:
            BadInput: If it cannot be read, or is not as large as was said.
        """
        picture, objects = decode(self.pictures, index, self.channels), self.objects[index]
        if objects.size not in (None, picture.size):
            raise BadInput(
                f"the image {self.pictures.place(index)} is {picture.width} x {picture.height} pixels"
                f"{self._turned(index, picture)}, but {self.source} says {objects.size[0]} x {objects.size[1]}: the "
                "boxes would lie elsewhere"
            )
        return picture, objects.within(picture.size)

    def target(self, index: int, truth: Objects, window: Window) -> dict[str, torch.Tensor]:
        """Return boxes (n, 4) float32, labels (n,) int64 and, where they are wanted, masks (n, H, W) bool."""
        return truth.seen(window)

    def content(self, index: int) -> bytes:
        """Return the bytes of a picture and of its objects."""
        return self.objects[index].content() + content_of(self.pictures, index)

    def check(self) -> None:
        """Compare the sizes of up to 5,000 pictures with what is said of them.

        Raises:
            BadInput: The first that is wrong.
        """
        for index in range(0, len(self), max(-(-len(self) // _SIZES), 1)):
            size = self.objects[index].size
            if size is not None and upright_size(self.pictures, index) != size:
                self.opened(index)

    def _turned(self, index: int, picture: Image.Image) -> str:
        lying = opened(self.pictures, index, load=False).size
        return " once it is turned the way its camera says" if lying != picture.size else ""
