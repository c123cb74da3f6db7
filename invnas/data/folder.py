"""Images in a folder for each class, streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from invnas.data.module import ImageDataModule, Splits, check_at_least
from invnas.data.pictures import FilePictures, check_channels
from invnas.data.stream import Frame, StreamImages, default_workers
from invnas.errors import BadInput

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}


class ImageFolder(ImageDataModule):
    """Images in folders named like their classes: root/train/<class>/*.jpg, or root/<class>/*.jpg.

    What the folder lacks is held out of the training images: `validation_share` where there is no root/val,
    `test_share` where there is no root/<test_folder>. ImageNet has train and val only: with `test_folder: val` the
    search never sees the images that the final figure is measured on.

    Args:
        root: The folder.
        image_size: Side of the square images in pixels.
        channels: 3 or 1; all images are converted.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of each class held out for the search.
        test_share: Share of each class held out for the test.
        test_folder: Name of the folder with the test images.
        train_limit: Use only so many training images, drawn from the classes in turn.
        flip: Mirror training images left to right, half of the time.
        smallest_crop: Smallest share of the area that a random crop of a training image keeps; 1 crops at the centre.
        num_workers: Processes that decode; None takes all cores but one, at most 8.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 224,
        channels: Literal[1, 3] = 3,
        batch_size: int = 64,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        test_folder: str = "test",
        train_limit: int | None = None,
        flip: bool = True,
        smallest_crop: float = 0.08,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit)
        check_at_least("image_size", image_size, 1)
        check_channels(channels, may_be_none=False)
        if num_workers is not None:
            check_at_least("num_workers", num_workers, 0)
        self.root, self.test_folder = Path(root), test_folder
        self.frame = Frame(image_size, channels, flip, smallest_crop)
        self.num_workers = default_workers() if num_workers is None else num_workers

    def open_splits(self) -> Splits:
        """List the files; the test folder is not listed before the test."""
        if not self.root.is_dir():
            raise BadInput(f"the image folder '{self.root}' does not exist")
        train_root = self.root / "train"
        if not train_root.is_dir():
            names = _class_names(self.root)
            return Splits(f"'{self.root}'", len(names), names, self._listed(self.root, names))
        names = _class_names(train_root)
        train = self._listed(train_root, names)
        validation_root, test_root = self.root / "val", self.root / self.test_folder
        has_validation = validation_root.is_dir() and validation_root != test_root
        return Splits(
            f"'{train_root}'",
            len(names),
            names,
            train,
            self._listed(validation_root, names) if has_validation else None,
            (lambda: self._listed(test_root, names)) if test_root.is_dir() else None,
        )

    def _listed(self, folder: Path, names: tuple[str, ...]) -> StreamImages:
        """List the images of a split; it may lack a class, but may not have one that is not trained."""
        paths: list[str] = []
        labels: list[int] = []
        for name in _class_names(folder):
            if name not in names:
                raise BadInput(f"'{folder}' has a class '{name}' that the training images lack")
            # Sorted, because the order a disk lists files in differs from machine to machine.
            found = sorted(str(file) for file in (folder / name).rglob("*") if file.suffix.lower() in _ENDINGS)
            paths += found
            labels += [names.index(name)] * len(found)
        if not paths:
            raise BadInput(f"'{folder}' has no images: each class needs a folder of its own with image files in it")
        return StreamImages(
            FilePictures(paths), np.asarray(labels), np.arange(len(paths)), self.frame, self.num_workers
        )


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
