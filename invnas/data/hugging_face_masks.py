"""A Hugging Face data set of images and masks (extra `data`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from invnas.data.hub import encoded, is_image, load_tables, split_name
from invnas.data.loader import checked_workers
from invnas.data.mask_coding import MaskCoding
from invnas.data.mask_files import CodedPairs
from invnas.data.masked import MaskDataModule
from invnas.data.module import Splits
from invnas.data.pairs import PairFrame, PairImages, size_of
from invnas.data.pictures import RowPictures, Span, check_channels, span_of
from invnas.errors import BadInput, nearest
from invnas.masks import IGNORED

_MASK_NAMES = ("mask", "masks", "label", "labels", "annotation", "segmentation_mask", "segmentation", "trimap")


class HuggingFaceMasks(MaskDataModule):
    """Images and masks of a Hugging Face data set; batches, masks and cropping are those of `MaskFolder`.

    What the data set lacks (validation, test) is held out of its training images.

    Args:
        name: Name on the hub, folder written by `save_to_disk`, or a Parquet file or folder of such files.
        config: Configuration of the data set, where it has several.
        image_column: Column of the images; None finds it.
        mask_column: Column of the masks, images themselves; None finds it.
        image_size: Side of the square images in pixels, or [height, width]; at least 16.
        classes: Number of classes, where nothing names them.
        class_names: Names of the classes in the order of their values.
        palette: Class for each colour "#rrggbb" of the masks, in the order of the classes; a colour of null is ignored.
        ignore_value: Value in the masks of pixels that count nowhere. 0: the first class has the value 1.
        channels: 3 or 1; all images are converted.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of the images held out for the search.
        test_share: Share of the images held out for the test.
        train_limit: Use only so many training images, drawn by seed.
        flip: Mirror training images left to right, half of the time.
        scales: Smallest and largest scale of a training image against what validation sees.
        num_workers: Processes that decode; None takes all cores but one, at most 8.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        image_column: str | None = None,
        mask_column: str | None = None,
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
        train_limit: int | None = None,
        flip: bool = True,
        scales: tuple[float, float] = (0.5, 2.0),
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit)
        check_channels(channels, may_be_none=False)
        self.dataset, self.config = name, config
        self.columns = {"image": image_column, "mask": mask_column}
        self.frame = PairFrame(size_of(image_size), channels, flip, scales)
        self.num_workers = checked_workers(num_workers)
        self.coding = MaskCoding.of(classes, class_names, palette, ignore_value)

    def open_splits(self) -> Splits:
        """Load the table; the test rows are not looked at before the test."""
        parts = load_tables(self.dataset, self.config)
        train_name = split_name(parts, "train", self.dataset) or next(iter(parts))
        columns = self._columns(parts[train_name])
        others = {name: part for name, part in parts.items() if name != train_name}
        validation_name = split_name(others, "validation", self.dataset)
        test_name = split_name(others, "test", self.dataset)
        train = self._images(parts[train_name], columns, train_name)
        span = train.pairs.span
        return Splits(
            f"the split {train_name} of '{self.dataset}'",
            self.coding.classes,
            self.coding.names,
            train,
            self._images(parts[validation_name], columns, validation_name, span) if validation_name else None,
            (lambda: self._images(parts[test_name], columns, test_name, span)) if test_name else None,
            f"the split {validation_name}",
            f"the split {test_name}",
        )

    def _columns(self, table: Any) -> tuple[str, str]:
        """Return the columns of the images and of the masks, the user's or by their type and name."""
        origin = f"'{self.dataset}'"
        held = [name for name in table.column_names if is_image(table.features[name])]
        for kind, wanted in self.columns.items():
            if wanted is not None and wanted not in held:
                raise BadInput(
                    f"{origin} has no images in a column `{wanted}` (`{kind}_column`); {nearest(wanted, held)}"
                )
        image, mask = self.columns["image"], self.columns["mask"]
        mask = mask or next((name for name in _MASK_NAMES if name in held and name != image), None)
        image = image or next((name for name in held if name != mask), None)
        for kind, found in (("image", image), ("mask", mask)):
            if found is None:
                raise BadInput(
                    f"{origin} has no column that looks like the {kind}s: set `{kind}_column`; those that hold "
                    f"images are {', '.join(held) or 'none'}"
                )
        assert image is not None
        assert mask is not None
        return image, mask

    def _images(self, table: Any, columns: tuple[str, str], split: str, span: Span | None = None) -> PairImages:
        origin = f"the split {split} of '{self.dataset}'"
        if not len(table):
            raise BadInput(f"{origin} has no images")
        image, mask = columns
        pictures = RowPictures(encoded(table, image), origin)
        # Black and white are those of the training images, which are opened first.
        pictures = replace(pictures, span=span or span_of(pictures))
        masks = RowPictures(encoded(table, mask), f"`{mask}` in {origin}")
        pairs = CodedPairs(pictures, masks, self.coding, self.frame.channels)
        pairs.check(origin)
        return PairImages(pairs, np.arange(len(table)), self.frame, self.num_workers)
