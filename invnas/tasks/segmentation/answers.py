"""What a segmenter says of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from invnas.masks import IGNORED, palette
from invnas.nn.layers import scaled

if TYPE_CHECKING:
    from invnas.data.preparing import Seen

#: Classes that are named in one line.
_NAMED = 5


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """What a segmenter says of one image.

    Attributes:
        mask: (height, width) of the image as it was given, uint8: the class of each pixel, 255 where the network has
            not seen the image (what was cropped).
        names: What the classes are called; their numbers where they have no names.
    """

    mask: np.ndarray
    names: tuple[str, ...]

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """The share of the pixels seen that each class has, the largest first; a class that has none is not there."""
        counts = np.bincount(self.mask.ravel(), minlength=IGNORED + 1)[: len(self.names)]
        seen = max(int(counts.sum()), 1)
        return {self.names[i]: int(counts[i]) / seen for i in np.argsort(-counts, kind="stable") if counts[i]}

    def save(self, path: Path, picture: Any = None) -> None:
        """Write the mask as a PNG with a palette: the numbers of the classes, each with a colour of its own.

        Args:
            path: The file.
            picture: The image as it was given, which this file does not show.
        """
        image = Image.frombytes("P", self.mask.shape[::-1], np.ascontiguousarray(self.mask).tobytes())
        image.putpalette(palette())
        image.save(path)

    def words(self, most: int | None) -> str:
        """Return the classes with the largest shares, by default five."""
        return ", ".join(f"{name} {100 * share:.1f} %" for name, share in [*self.shares.items()][: most or _NAMED])

    def to_dict(self, most: int | None) -> dict[str, Any]:
        """Return plain JSON data: the shares of the classes; the mask itself is an image."""
        kept = [*self.shares.items()][:most]
        return {"size": list(self.mask.shape), "classes": [{"class": name, "share": share} for name, share in kept]}


def masks(scores: torch.Tensor, names: Sequence[str], seen: Sequence[Seen]) -> list[MaskPrediction]:
    """Return what scores (B, classes, H, W) say of each image, at the size that it has."""
    return [
        MaskPrediction(_mask(one.float().cpu(), place), tuple(names)) for one, place in zip(scores, seen, strict=True)
    ]


def _mask(scores: torch.Tensor, seen: Seen) -> np.ndarray:
    """Return the mask of an image: scores are scaled to the part of it that was seen, and the largest one decides."""
    top, left, *size = seen.pixels
    # Class by class: the scores of all at the size of a photograph can take gigabytes.
    best, taken = torch.full(size, -torch.inf), torch.zeros(size, dtype=torch.uint8)
    for index, score in enumerate(scores):
        large = scaled(score[None, None], size)[0, 0]
        better = large > best
        best, taken = torch.where(better, large, best), taken.masked_fill(better, index)
    mask = np.full(seen.size, IGNORED, np.uint8)
    mask[top : top + size[0], left : left + size[1]] = taken.numpy()
    return mask
