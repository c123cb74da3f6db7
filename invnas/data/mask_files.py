"""Images and masks in files: which belong together, and what both are checked for before and while they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from invnas.data.listing import is_picture
from invnas.data.mask_coding import MaskCoding
from invnas.data.pictures import Pictures, Span, content_of, decode, opened, upright_size
from invnas.data.window import Window
from invnas.errors import BadInput
from invnas.masks import IGNORED

#: What the folders of a split are called.
IMAGES, MASKS = "images", "masks"

_LOSSY = (".jpg", ".jpeg", ".webp")
_NAMED = 3  # files named in a sentence
_SIZES = 5_000  # pairs whose sizes are compared before anything is trained
_VALUES = 256  # masks whose values are looked at before anything is trained


@dataclass(frozen=True)
class CodedPairs:
    """Encoded images and their masks, in files or in the rows of a table.

    Attributes:
        pictures: The images.
        masks: The mask of each.
        coding: What the values of a mask mean.
        channels: 1 or 3.
    """

    pictures: Pictures
    masks: Pictures
    coding: MaskCoding
    channels: int

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def span(self) -> Span | None:
        """Black and white of images of floats or 32-bit integers, if any."""
        return self.pictures.span

    def opened(self, index: int) -> tuple[Image.Image, Image.Image]:
        """Return an image and the class of each of its pixels.

        Raises:
            BadInput: If one cannot be read, they differ in size, or a value of the mask stands for no class.
        """
        picture = decode(self.pictures, index, self.channels)
        mask = opened(self.masks, index)
        if picture.size != mask.size:
            raise BadInput(self._difference(index, mask, picture))
        return picture, Image.fromarray(self.coding.indices(mask, self.masks.place(index)))

    def target(self, index: int, truth: Image.Image, window: Window) -> torch.Tensor:
        """Return a mask, (H, W) int64."""
        return torch.from_numpy(window.map(truth).astype(np.int64))

    def content(self, index: int) -> bytes:
        """Return the bytes of both, and what the values mean."""
        return repr(self.coding).encode() + content_of(self.pictures, index) + content_of(self.masks, index)

    def check(self, origin: str) -> None:
        """Compare the sizes of up to 5,000 pairs, and look at the values of up to 256 masks.

        Raises:
            BadInput: The first that is wrong, or all masks are of one class.
        """
        for index in _spread(len(self), _SIZES):
            if upright_size(self.pictures, index) != upright_size(self.masks, index):
                self.opened(index)
        seen = np.zeros(IGNORED + 1, bool)
        looked = _spread(len(self), _VALUES)
        for index in looked:
            seen[np.unique(self.coding.indices(opened(self.masks, index), self.masks.place(index)))] = True
        if len(present := np.flatnonzero(seen[:IGNORED])) < 2:
            raise BadInput(self._alone(origin, len(looked), present, bool(seen[IGNORED])))

    def _difference(self, index: int, mask: Image.Image, picture: Image.Image) -> str:
        return (
            f"the mask {self.masks.place(index)} is {mask.width} x {mask.height} pixels, but its image "
            f"{self.pictures.place(index)} is {picture.width} x {picture.height}: a mask has a pixel for each "
            "of its image"
        )

    def _alone(self, origin: str, looked: int, present: np.ndarray, ignored: bool) -> str:
        held = "ignored pixels alone"
        if len(present):
            name = self.coding.names[present[0]] if self.coding.names else present[0]
            held = f"the class '{name}' alone{' beside ignored pixels' if ignored else ''}"
        hint = f"; {self.coding.ignore_value} is ignored (`ignore_value`)"
        if self.coding.ignore_value == IGNORED:
            hint += ", and masks of black and white need `palette`: {'#000000': 'background', '#ffffff': 'object'}"
        hint = hint if ignored and self.coding.palette is None else ""
        return f"the {looked:,} masks of {origin} that were looked at hold {held}{hint}"


def paired(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images of a folder that has `images` and `masks`, and the mask of each: equal but for the ending.

    Raises:
        BadInput: If one lacks the other, two have one name, a mask is of a format that changes its values, or there are
            none.
    """
    images, masks = by_name(folder / IMAGES), by_name(folder / MASKS)
    for one, other, what, lack in ((images, masks, "images", "a mask"), (masks, images, "masks", "an image")):
        if lost := sorted(set(one) - set(other)):
            more = f" and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
            named = ", ".join(f"'{one[name].relative_to(folder)}'" for name in lost[:_NAMED])
            raise BadInput(
                f"'{folder}' has {len(lost):,} {what} without {lack}: {named}{more}; both have one name, but for the "
                "ending"
            )
    if not images:
        raise BadInput(f"'{folder / IMAGES}' has no images")
    if lossy := next((path for path in masks.values() if path.suffix.lower() in _LOSSY), None):
        raise BadInput(f"the mask '{lossy}' is of a format that changes values: masks are stored as PNG")
    names = sorted(images)
    return [str(images[name]) for name in names], [str(masks[name]) for name in names]


def by_name(folder: Path) -> Mapping[str, Path]:
    """Return the images of a folder, and of the folders in it, by their names without the ending.

    Raises:
        BadInput: If there is no such folder, or two have one name.
    """
    if not folder.is_dir():
        raise BadInput(f"'{folder.parent}' must have folders '{IMAGES}' and '{MASKS}', but '{folder.name}' is missing")
    found: dict[str, Path] = {}
    # Sorted, because the order a disk lists files in differs from machine to machine.
    for file in sorted(file for file in folder.rglob("*") if is_picture(file, folder)):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise BadInput(f"'{folder}' has two files of one name, '{found[name].name}' and '{file.name}': keep one")
        found[name] = file
    return found


def _spread(count: int, most: int) -> range:
    return range(0, count, max(-(-count // most), 1))
