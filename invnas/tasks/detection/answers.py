"""What a detector says of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from invnas.nn.layers import scaled
from invnas.tasks.detection import SHOWN
from invnas.tasks.detection.drawing import Thing, outlined

if TYPE_CHECKING:
    from invnas.data.preparing import Seen

#: Objects that are named in one line; a pixel belongs to a mask from this belief on.
_NAMED, _INSIDE = 5, 0.5


@dataclass(frozen=True, eq=False)
class BoxPrediction:
    """What a detector says of one image: objects, the surest first, down to a score of 0.05, at most 100.

    Attributes:
        size: (height, width) of the image as it was given.
        boxes: (n, 4) float64: left, top, right and bottom in pixels of that image.
        labels: (n,) int64, 0 for the first class.
        scores: (n,) float64 in 0..1; not calibrated.
        names: What the classes are called; their numbers where they have no names.
        beliefs: (n, H, W) float32, how much each pixel that the network saw is believed to be of an object, where it
            makes masks; else None. See `mask`.
        seen: The part of the image that the network saw: left, top, right and bottom in pixels.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]
    beliefs: np.ndarray | None
    seen: tuple[float, float, float, float]

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, number: int) -> np.ndarray:
        """Return which pixels of the image belong to an object: (height, width), bool.

        Raises:
            ValueError: If the network makes no masks.
        """
        if self.beliefs is None:
            raise ValueError("the network has no mask head, so objects have boxes alone")
        height, width = self.size
        left, top, right, bottom = (round(side) for side in self.seen)
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        right, bottom = min(max(right, left + 1), width), min(max(bottom, top + 1), height)
        large = scaled(torch.from_numpy(self.beliefs[number])[None, None], (bottom - top, right - left))[0, 0]
        found = np.zeros(self.size, bool)
        found[top:bottom, left:right] = large.numpy() >= _INSIDE
        return found

    def save(self, path: Path, picture: Any) -> None:
        """Write a PNG of the image with its objects, those of a score from 0.3 on.

        Args:
            path: The file.
            picture: The image as it was given: a path, bytes, an image of Pillow or an array.
        """
        from invnas.data.pictures import decode
        from invnas.data.preparing import GivenPictures

        outlined(decode(GivenPictures([picture]), 0, 3), self.things(SHOWN), self.names).save(path, format="PNG")

    def things(self, least: float) -> Iterator[Thing]:
        """Yield the objects of a score from `least` on as they are drawn."""
        for i, (box, label, score) in enumerate(self._best(None)):
            if score >= least:
                yield Thing(tuple(box), label, score, None if self.beliefs is None else self.mask(i))

    def words(self, most: int | None) -> str:
        """Return the surest objects, by default five, and how many more there are."""
        said = [
            f"{self.names[label]} {score:.2f} ({', '.join(f'{side:.0f}' for side in box)})"
            for box, label, score in self._best(most or _NAMED)
        ]
        more = len(self) - len(said)
        return ", ".join(said) + (f", and {more} more" if more else "") if said else "nothing"

    def to_dict(self, most: int | None) -> dict[str, Any]:
        """Return plain JSON data: the surest objects, all unless told otherwise."""
        found = [{"class": self.names[label], "score": score, "box": box} for box, label, score in self._best(most)]
        return {"size": list(self.size), "objects": found}

    def _best(self, most: int | None) -> list[tuple[list[float], int, float]]:
        return [*zip(self.boxes.tolist(), self.labels.tolist(), self.scores.tolist(), strict=True)][:most]


def detections(
    network: nn.Module, images: torch.Tensor, names: Sequence[str], seen: Sequence[Seen]
) -> Iterator[BoxPrediction]:
    """Yield what a network finds in each of the images (B, C, H, W), in pixels of the images as they were given."""
    from invnas.tasks.detection.assembly import found_in

    size = (images.shape[2], images.shape[3])
    for one, place in zip(found_in(network, images), seen, strict=True):
        yield _in_the_image(one, size, tuple(names), place)


def _in_the_image(
    found: Mapping[str, torch.Tensor], size: tuple[int, int], names: tuple[str, ...], seen: Seen
) -> BoxPrediction:
    numbers = {name: one.detach().cpu().numpy() for name, one in found.items()}
    left, top, right, bottom = seen.box
    scale = np.array([right - left, bottom - top] * 2) / np.array([size[1], size[0]] * 2)
    boxes = numbers["boxes"].astype(np.float64) * scale + np.array([left, top] * 2)
    beliefs = numbers.get("masks")
    return BoxPrediction(
        seen.size,
        boxes.clip(0, np.array([seen.size[1], seen.size[0]] * 2)),
        numbers["labels"],
        numbers["scores"].astype(np.float64),
        names,
        None if beliefs is None else beliefs[:, 0].astype(np.float32, copy=False),
        seen.box,
    )
