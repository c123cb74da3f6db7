"""A Hugging Face data set by name, folder or Parquet file (extra `data`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from invnas.data.augment import Augment
from invnas.data.decoding import decode_all
from invnas.data.framing import Frame
from invnas.data.hub import encoded, is_image, load_tables, split_name
from invnas.data.image_set import ImageSet
from invnas.data.loader import checked_workers
from invnas.data.module import ImageDataModule, Splits
from invnas.data.pictures import RowPictures, Span, channels_of, check_channels, span_of
from invnas.data.stream import StreamImages
from invnas.data.tensors import TensorImages
from invnas.errors import BadInput, nearest, shown
from invnas.rules import LARGEST, check_whole

_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class")


class HuggingFace(ImageDataModule):
    """Images and labels of a Hugging Face data set.

    Without `image_size` all images must have one size; they live in memory and on the device. With it they may have
    any size, are streamed by worker processes, and training images are cropped at random. What the data set lacks
    (validation, test) is held out of its training images.

    Args:
        name: Name on the hub, folder written by `save_to_disk`, or a Parquet file or folder of such files.
        config: Configuration of the data set, where it has several.
        image_column: Column of the images; None finds it.
        label_column: Column of the labels; None finds it.
        image_size: Side in pixels to which images are streamed; None keeps them in memory as they are.
        channels: 1 or 3 to convert all images; None keeps grey images grey and turns all others into colour.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of each class held out for the search.
        test_share: Share of each class held out for the test.
        train_limit: Use only so many training images, drawn by seed so that every class keeps its share.
        balance: With `train_limit`, draw equally many of each class instead, as far as they go.
        flip: Mirror training images left to right, half of the time.
        crop: Pixels of padding from which images in memory are cropped; 0 turns it off.
        cutout: Side of the square cut out of images in memory; 0 turns it off.
        augment: What else is done to training images: "trivial" (TrivialAugment, one operation of any strength), "rand"
            (RandAugment, two of moderate strength) or "none".
        num_workers: Processes that decode streamed images; None takes all cores but one, at most 8.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        train_limit: int | None = None,
        balance: bool = False,
        flip: bool = False,
        crop: int = 0,
        cutout: int = 0,
        augment: str = "none",
        num_workers: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share, train_limit, balance)
        check_channels(channels, may_be_none=True)
        if image_size is not None:
            check_whole("image_size", image_size, 1, LARGEST)
        self.dataset, self.config, self.channels, self.image_size = name, config, channels, image_size
        self.image_column, self.label_column = image_column, label_column
        self.augment = Augment(flip, crop, cutout, augment)
        self.num_workers = checked_workers(num_workers)
        self._span: Span | None = None

    def open_splits(self) -> Splits:
        """Load the table; the test rows are not decoded before the test."""
        parts = load_tables(self.dataset, self.config)
        train_name = split_name(parts, "train", self.dataset) or next(iter(parts))
        train = parts[train_name]
        columns = _Columns.find(train, self.image_column, self.label_column, f"'{self.dataset}'")
        others = {name: part for name, part in parts.items() if name != train_name}
        validation_name = split_name(others, "validation", self.dataset)
        test_name = split_name(others, "test", self.dataset)
        images = self._images(train, columns, train_name)
        return Splits(
            f"the split {train_name} of '{self.dataset}'",
            columns.classes,
            columns.class_names,
            images,
            self._images(parts[validation_name], columns, validation_name) if validation_name else None,
            (lambda: self._images(parts[test_name], columns, test_name)) if test_name else None,
            f"the split {validation_name}",
            f"the split {test_name}",
        )

    def _images(self, table: Any, columns: _Columns, split: str) -> ImageSet:
        origin = f"the split {split} of '{self.dataset}'"
        if not len(table):
            raise BadInput(f"{origin} has no images")
        pictures = RowPictures(columns.images(table), origin)
        # Black and white are those of the training images, which are opened first.
        self._span = self._span or span_of(pictures)
        pictures = replace(pictures, span=self._span)
        labels = columns.labels(table, origin)
        if self.image_size is None:
            return TensorImages(decode_all(pictures, self.channels), torch.from_numpy(labels), self.augment, self._span)
        if self.channels is None:
            self.channels = 3 if channels_of(pictures, 0) == 3 else 1
        frame = Frame(self.image_size, self.channels, self.augment.flip, policy=self.augment.policy)
        return StreamImages(pictures, labels, np.arange(len(labels)), frame, self.num_workers)


@dataclass(frozen=True)
class _Columns:
    """Which columns hold images and labels, and what the labels stand for."""

    image: str
    label: str
    class_names: tuple[str, ...]
    values: tuple[Any, ...]  # what stands in the label column for each class

    @property
    def classes(self) -> int:
        return len(self.values)

    @classmethod
    def find(cls, table: Any, image: str | None, label: str | None, origin: str) -> _Columns:
        """Take the user's columns, or find them by their type and name."""
        for wanted in (image, label):
            if wanted is not None and wanted not in table.column_names:
                raise BadInput(f"{origin} has no column `{wanted}`; {nearest(wanted, table.column_names)}")
        image = image or next((name for name in table.column_names if is_image(table.features[name])), None)
        label = label or next((name for name in _LABEL_NAMES if name in table.column_names and name != image), None)
        for wanted, kind in ((image, "image"), (label, "label")):
            if wanted is None:
                raise BadInput(
                    f"{origin} has no column that looks like the {kind}s: set `{kind}_column` to one of"
                    f" {', '.join(table.column_names)}"
                )
        assert image is not None
        assert label is not None
        names = getattr(table.features[label], "names", None)
        if names:
            return cls(image, label, tuple(names), tuple(range(len(names))))
        try:
            values = tuple(sorted(set(table[label][:])))
        except TypeError:
            raise BadInput(f"column `{label}` of {origin} must hold one number or word for each image") from None
        return cls(image, label, tuple(str(value) for value in values), values)

    def images(self, table: Any) -> Any:
        """Return the column of encoded images."""
        return encoded(table, self.image)

    def labels(self, table: Any, origin: str) -> np.ndarray:
        """Return the class of each row."""
        number = {value: index for index, value in enumerate(self.values)}
        column = table[self.label][:]
        unknown = next((row for row, value in enumerate(column) if value not in number), None)
        if unknown is not None:
            raise BadInput(
                f"row {unknown} of {origin} has the label {shown(column[unknown])}, which no training image has"
            )
        return np.asarray([number[value] for value in column], dtype=np.int64)
