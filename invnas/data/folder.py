"""Images in a folder for each class, streamed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from invnas.data.listing import ENDINGS, SPLITS, class_folders, is_picture, split_folder
from invnas.data.module import ImageDataModule, Splits
from invnas.data.pictures import FilePictures, Span, check_channels, span_of
from invnas.data.stream import Frame, StreamImages, default_workers
from invnas.errors import BadInput
from invnas.rules import LARGEST, WORKERS, check_whole


class ImageFolder(ImageDataModule):
    """Images in folders named like their classes: root/train/<class>/*.jpg, or root/<class>/*.jpg.

    The folder of the training images is called train or training, that of the validation images validation, valid, val
    or dev, that of the test images test or testing. What is lacking is held out of the training images, by
    `validation_share` and `test_share`. ImageNet has train and val only: with `test_folder: val` the search never sees
    the images that the final figure is measured on.

    Args:
        root: The folder.
        image_size: Side of the square images in pixels.
        channels: 3 or 1; all images are converted.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of each class held out for the search.
        test_share: Share of each class held out for the test.
        test_folder: Name of the folder with the test images; None takes test or testing.
        train_limit: Use only so many training images, drawn by seed so that every class keeps its share.
        balance: With `train_limit`, draw equally many of each class instead, as far as they go.
        flip: Mirror training images left to right, half of the time.
        smallest_crop: Smallest share of the area that a random crop of a training image keeps; 1 crops at the centre.
        augment: What else is done to training images: "trivial" (TrivialAugment, one operation of any strength), "rand"
            (RandAugment, two of moderate strength) or "none".
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
        test_folder: str | None = None,
        train_limit: int | None = None,
        balance: bool = False,
        flip: bool = True,
        smallest_crop: float = 0.08,
        augment: str = "none",
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit, balance)
        check_whole("image_size", image_size, 1, LARGEST)
        check_channels(channels, may_be_none=False)
        if num_workers is not None:
            check_whole("num_workers", num_workers, 0, WORKERS)
        self.root, self.test_folder = Path(root), test_folder
        self.frame = Frame(image_size, channels, flip, smallest_crop, augment)
        self.num_workers = default_workers() if num_workers is None else num_workers

    def open_splits(self) -> Splits:
        """List the files; the test folder is not listed before the test."""
        if not self.root.is_dir():
            raise BadInput(f"the image folder '{self.root}' does not exist")
        train_root = split_folder(self.root, "train")
        if train_root is None:
            names = class_folders(self.root)
            if lost := [name for split in ("validation", "test") for name in SPLITS[split] if name in names]:
                raise BadInput(
                    f"'{self.root}' has a folder '{lost[0]}' but none with training images: call theirs 'train'"
                )
            return Splits(f"'{self.root}'", len(names), names, self._listed(self.root, names, whole=True))
        names = class_folders(train_root)
        train = self._listed(train_root, names, whole=True)
        test_root = self._test_folder()
        validation_root = split_folder(self.root, "validation", other_than=test_root)
        span = train.pictures.span
        return Splits(
            f"'{train_root}'",
            len(names),
            names,
            train,
            self._listed(validation_root, names, span=span) if validation_root else None,
            (lambda: self._listed(test_root, names, span=span)) if test_root else None,
            f"'{validation_root}'",
            f"'{test_root}'",
        )

    def _test_folder(self) -> Path | None:
        if self.test_folder in (None, "test"):
            return split_folder(self.root, "test")
        named = self.root / str(self.test_folder)
        if not named.is_dir():
            raise BadInput(f"`test_folder` is '{self.test_folder}', but '{self.root}' has no such folder")
        return named

    def _listed(
        self, folder: Path, names: tuple[str, ...], span: Span | None = None, whole: bool = False
    ) -> StreamImages:
        """List the images of a split; `whole`: every class must have some. A class must be one that is trained."""
        paths: list[str] = []
        labels: list[int] = []
        empty: list[str] = []
        for name in class_folders(folder):
            if name not in names:
                raise BadInput(f"'{folder}' has a class '{name}' that the training images lack")
            # Sorted, because the order a disk lists files in differs from machine to machine.
            found = sorted(str(file) for file in (folder / name).rglob("*") if is_picture(file, folder))
            if not found:
                empty.append(name)
            paths += found
            labels += [names.index(name)] * len(found)
        if not paths:
            raise BadInput(f"'{folder}' has no images: each class needs a folder of its own with image files in it")
        if whole and empty:
            kinds = ", ".join(sorted(ENDINGS))
            raise BadInput(f"the class folder '{folder / empty[0]}' has no images: their names end in {kinds}")
        pictures = FilePictures(paths)
        pictures = replace(pictures, span=span or span_of(pictures))
        return StreamImages(pictures, np.asarray(labels), np.arange(len(paths)), self.frame, self.num_workers)
