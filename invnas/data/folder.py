"""Images in a folder for each class, streamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from invnas.data import keeping
from invnas.data.framing import Frame
from invnas.data.keeping import Caching
from invnas.data.listing import ENDINGS, SPLITS, class_folders, is_picture, named_folder, split_folder
from invnas.data.loader import checked_workers
from invnas.data.module import ImageDataModule, Splits
from invnas.data.pictures import FilePictures, Span, check_channels, span_of
from invnas.data.readable import broken_files
from invnas.data.stream import StreamImages
from invnas.errors import BadInput
from invnas.rules import LARGEST, check_whole, one_of


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
        cache: Where training and validation images are kept once they are decoded: "none"; "memory", in each process
            that trains; "disk", in a file in the folder INVNAS_CACHE (or invnas in the user's folder for caches) that
            all processes share. A network sees the same bits either way.
        cache_limit: Gigabytes that `cache` may take; more is refused before anything is trained.
        on_broken_image: What is done with images that cannot be read: "error" refuses the first that is met; "skip"
            looks for them when the folder is opened, leaves them out of every split and says which.
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
        cache: str = "none",
        cache_limit: float = 1.0,
        on_broken_image: str = "error",
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit, balance)
        check_whole("image_size", image_size, 1, LARGEST)
        check_channels(channels, may_be_none=False)
        self.root, self.test_folder = Path(root), test_folder
        self.frame = Frame(image_size, channels, flip, smallest_crop, augment)
        self.num_workers = checked_workers(num_workers)
        self.cache = Caching(cache, cache_limit)
        for sentence in one_of("on_broken_image", on_broken_image, ("error", "skip")):
            raise BadInput(sentence)
        self.skip = on_broken_image == "skip"

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
        test_root = named_folder(self.root, self.test_folder)
        validation_root = split_folder(self.root, "validation", other_than=test_root)
        span = train.pictures.span
        # Broken images are looked for in all splits at once, before anything is trained.
        test = self._listed(test_root, names, span=span) if test_root and self.skip else None
        without = f", without {len(test.broken):,} that cannot be read" if test and test.broken else ""
        return Splits(
            f"'{train_root}'",
            len(names),
            names,
            train,
            self._listed(validation_root, names, span=span) if validation_root else None,
            (lambda: test or self._listed(test_root, names, span=span)) if test_root else None,
            f"'{validation_root}'",
            f"'{test_root}'{without}",
        )

    def keep(self, note: Callable[[str], None]) -> None:
        """Say what `cache` takes, and make its file; memory is filled in the process that trains.

        Raises:
            BadInput: If it takes more room than there is, or an image cannot be read.
            DiskFailed: If the disk is full.
        """
        self.setup("fit")
        if self.cache.where == "none":
            return
        sets = {name: images for name, images in self._sets.items() if isinstance(images, StreamImages)}
        sizes = {name: sets[name].decoded_bytes(name == "train") for name in ("train", "validation")}
        self.cache.check(whole := sum(sizes.values()), f"'{self.root}'")
        taken = f"note: the decoded training and validation images take {keeping.in_words(whole)}"
        if self.cache.where == "memory":
            note(f"{taken} in the memory of each process that trains (`cache: memory`)")
            return
        places = {name: sets[name].kept_at(name == "train") for name in sizes}
        lacking = {name: size for name, size in sizes.items() if not places[name].is_file()}
        if lacking:
            folder = places["train"].parent
            keeping.check_room(folder, sum(lacking.values()))
            note(f"{taken}, kept in '{folder}' (`cache: disk`)")
        for name in sizes:
            self._sets[name] = sets[name].keep(self.cache, name == "train")

    def _loader(self, name: str) -> Any:
        self.setup("fit")
        images, training = self._sets[name], name not in ("validation", "test")
        # Test images are read once; training and validation images together may be more than what was checked.
        if isinstance(images, StreamImages) and name != "test" and (name in self.counts or self._fits(images)):
            self._sets[name] = images.keep(self.cache, training)
        return super()._loader(name)

    def _fits(self, images: StreamImages) -> bool:
        return self.cache.where != "none" and self.cache.holds(images.decoded_bytes(training=True))

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
        broken = self._broken(pictures, np.asarray(labels), folder, names) if self.skip else frozenset[int]()
        readable = FilePictures([path for number, path in enumerate(paths) if number not in broken])
        pictures = replace(pictures, span=span or span_of(readable))
        return StreamImages(pictures, np.asarray(labels), np.arange(len(paths)), self.frame, self.num_workers, broken)

    def _broken(
        self, pictures: FilePictures, labels: np.ndarray, folder: Path, names: tuple[str, ...]
    ) -> frozenset[int]:
        """Return which images are left out; a class that has images must keep some."""
        broken = broken_files(pictures, self.frame.channels)
        good = np.asarray([number not in broken for number in range(len(labels))])
        for label in np.setdiff1d(labels, labels[good]):
            first = pictures.place(int(np.flatnonzero(labels == label)[0]))
            raise BadInput(
                f"the class folder '{folder / names[label]}' has no image left: none of its "
                f"{int((labels == label).sum()):,} can be read, such as {first}"
            )
        self.left_out += tuple(os.path.relpath(pictures.paths[number], self.root) for number in sorted(broken))
        return broken
