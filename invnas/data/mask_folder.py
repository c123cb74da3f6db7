"""A folder of images and masks, streamed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from invnas.data.listing import SPLITS, named_folder, names_in, split_folder
from invnas.data.loader import checked_workers
from invnas.data.mask_coding import MaskCoding
from invnas.data.mask_files import IMAGES, MASKS, CodedPairs, paired
from invnas.data.masked import MaskDataModule
from invnas.data.module import Splits
from invnas.data.pairs import PairFrame, PairImages, size_of
from invnas.data.pictures import FilePictures, Span, check_channels, span_of
from invnas.data.readable import broken_files
from invnas.errors import BadInput
from invnas.masks import IGNORED
from invnas.rules import one_of

_CLASSES = "classes.txt"


class MaskFolder(MaskDataModule):
    """Images and masks in folders: root/train/images/NAME.jpg, root/train/masks/NAME.png; or root/images, root/masks.

    The folder of the training images is called train or training, that of the validation images validation, valid, val
    or dev, that of the test images test or testing; each has images and masks. What is lacking is held out of the
    training images, by `validation_share` and `test_share`. A mask has the name of its image and holds the class of
    each pixel: as index (PNG of 8 or 16 bits; the colours of one with a palette of its own mean nothing), or as colour
    by `palette`.

    Batches are (images, masks): images (B, C, H, W) float32, normalised, channels_last; masks (B, H, W) int64, 0 for
    the first class, 255 where a pixel is ignored.

    Validation and test see the largest centred part of an image with the proportions of `image_size`, scaled: all of
    it where images have these proportions. So does `predict` of an exported model. Nothing is padded.

    Args:
        root: The folder.
        image_size: Side of the square images in pixels, or [height, width]; at least 16.
        classes: Number of classes, where nothing names them.
        class_names: Names of the classes in the order of their values; None reads classes.txt in the root, a line each.
        palette: Class for each colour "#rrggbb" of the masks, in the order of the classes; a colour of null is ignored.
        ignore_value: Value in the files of pixels that count nowhere. 0: the first class has the value 1.
        channels: 3 or 1; all images are converted.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of the images held out for the search.
        test_share: Share of the images held out for the test.
        test_folder: Name of the folder with the test images; None takes test or testing.
        train_limit: Use only so many training images, drawn by seed.
        flip: Mirror training images left to right, half of the time.
        scales: Smallest and largest scale of a training image against what validation sees: a random part of it at more
            than 1, more of the image, or all of it within what is ignored, at less.
        num_workers: Processes that decode; None takes all cores but one, at most 8.
        on_broken_image: What is done with images and masks that cannot be read: "error" refuses the first that is met;
            "skip" looks for them when the folder is opened, leaves them out of every split and says which.
    """

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] = 256,
        classes: int | None = None,
        class_names: Sequence[str] | None = None,
        palette: Mapping[str, str | None] | None = None,
        ignore_value: int = IGNORED,
        channels: Literal[1, 3] = 3,
        batch_size: int = 16,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        test_folder: str | None = None,
        train_limit: int | None = None,
        flip: bool = True,
        scales: tuple[float, float] = (0.5, 2.0),
        num_workers: int | None = None,
        on_broken_image: str = "error",
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit)
        check_channels(channels, may_be_none=False)
        for sentence in one_of("on_broken_image", on_broken_image, ("error", "skip")):
            raise BadInput(sentence)
        self.root, self.test_folder = Path(root), test_folder
        self.frame = PairFrame(size_of(image_size), channels, flip, scales)
        self.num_workers = checked_workers(num_workers)
        self.skip = on_broken_image == "skip"
        self.said = {"classes": classes, "class_names": class_names, "palette": palette, "ignore_value": ignore_value}

    def open_splits(self) -> Splits:
        """List and check the files; the test folder is not listed before the test."""
        if not self.root.is_dir():
            raise BadInput(f"the image folder '{self.root}' does not exist")
        coding = MaskCoding.of(**{**self.said, **self._from_file()})
        train_root = split_folder(self.root, "train")
        if train_root is None:
            if lost := [name for split in ("validation", "test") for name in SPLITS[split] if self._has(name)]:
                raise BadInput(
                    f"'{self.root}' has a folder '{lost[0]}' but none with training images: call theirs 'train'"
                )
            return Splits(f"'{self.root}'", coding.classes, coding.names, self._listed(self.root, coding))
        train = self._listed(train_root, coding)
        test_root = named_folder(self.root, self.test_folder)
        validation_root = split_folder(self.root, "validation", other_than=test_root)
        span = train.pairs.span
        # Broken images are looked for in all splits at once, before anything is trained.
        test = self._listed(test_root, coding, span) if test_root and self.skip else None
        without = f", without {len(test.broken):,} that cannot be read" if test and test.broken else ""
        return Splits(
            f"'{train_root}'",
            coding.classes,
            coding.names,
            train,
            self._listed(validation_root, coding, span) if validation_root else None,
            (lambda: test or self._listed(test_root, coding, span)) if test_root else None,
            f"'{validation_root}'",
            f"'{test_root}'{without}",
        )

    def _has(self, name: str) -> bool:
        return (self.root / name / IMAGES).is_dir()

    def _from_file(self) -> dict[str, Any]:
        """Return the names in classes.txt, where nothing else names the classes."""
        file = self.root / _CLASSES
        if self.said["class_names"] is not None or self.said["palette"] is not None or not file.is_file():
            return {}
        return {"class_names": names_in(file)}

    def _listed(self, folder: Path, coding: MaskCoding, span: Span | None = None) -> PairImages:
        images, masks = (FilePictures(paths) for paths in paired(folder))
        broken = broken_files(images, self.frame.channels) | broken_files(masks, 1) if self.skip else frozenset[int]()
        good = [number for number in range(len(images)) if number not in broken]
        if not good:
            raise BadInput(f"'{folder}' has no pair left: of each of its {len(images):,} image or mask cannot be read")
        self.left_out += tuple(os.path.relpath(images.paths[number], self.root) for number in sorted(broken))
        readable = FilePictures([images.paths[number] for number in good])
        span = span or span_of(readable)
        CodedPairs(readable, FilePictures([masks.paths[number] for number in good]), coding, self.frame.channels).check(
            f"'{folder / MASKS}'"
        )
        pairs = CodedPairs(replace(images, span=span), masks, coding, self.frame.channels)
        return PairImages(pairs, np.arange(len(images)), self.frame, self.num_workers, broken)
