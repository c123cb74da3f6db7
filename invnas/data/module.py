"""The base of every source: splits, normalisation, loaders, and the checks they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from invnas.data.split import balanced_subset, hold_out, seed_of
from invnas.errors import BadInput

_CHUNK = 1024  # images turned into floats at a time


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of values in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def to_unit(images: torch.Tensor) -> torch.Tensor:
        """Return uint8 in 0..255 as float in 0..1; floats stay as they are."""
        return images.float().div_(255) if images.dtype == torch.uint8 else images

    @classmethod
    def of(cls, images: torch.Tensor) -> Normalisation:
        """Measure images (N, C, H, W), uint8 or float in 0..1."""
        channels = images.shape[1]
        sums = torch.zeros(2, channels, dtype=torch.float64)
        for chunk in images.split(_CHUNK):
            # One row for each pixel: summing these is ten times as fast as summing over three axes.
            values = cls.to_unit(chunk.permute(0, 2, 3, 1).reshape(-1, channels))
            sums += torch.stack([values.sum(0), values.square().sum(0)]).cpu()
        mean, square = sums / (images.numel() // channels)
        std = (square - mean.square()).clamp(min=0).sqrt()
        # A constant channel has nothing to scale.
        std = torch.where(std < 1e-3, torch.ones_like(std), std)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, H, W) as float with mean 0 and deviation 1."""
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return (self.to_unit(images) - mean).div_(std)


@dataclass(frozen=True)
class Loading:
    """How a set becomes batches.

    Attributes:
        batch_size: Images of a batch.
        seed: Seed of order and augmentation.
        normalisation: Mean and deviation of the training images.
    """

    batch_size: int
    seed: int
    normalisation: Normalisation


class ImageSet(Protocol):
    """Labelled images, in memory or read one by one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a network gets."""
        ...

    @property
    def classes_of(self) -> np.ndarray:
        """The label of each image, (N,)."""
        ...

    def take(self, indices: np.ndarray) -> ImageSet:
        """Return the images at `indices`."""
        ...

    def to(self, device: torch.device) -> ImageSet:
        """Return the same images on `device`, if they live on one."""
        ...

    def normalisation(self, seed: int) -> Normalisation:
        """Return mean and deviation of each channel."""
        ...

    def batches(self, loading: Loading, training: bool) -> Any:
        """Return a loader that yields (images, labels)."""
        ...


@dataclass(frozen=True)
class Splits:
    """What a source offers; a part that is None is held out of `train`.

    Attributes:
        origin: The words that name the source in an error.
        classes: Number of classes.
        class_names: Their names in label order, if known.
        train: The training images.
        validation: The images the search sees.
        test: Opens the test images; not called before the test.
    """

    origin: str
    classes: int
    class_names: tuple[str, ...] | None
    train: ImageSet
    validation: ImageSet | None = None
    test: Callable[[], ImageSet] | None = None


class ImageDataModule(LightningDataModule):
    """Train, validation and test batches of one source; a subclass says where the images are in `open_splits`.

    Args:
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of each class held out of the training images for the search.
        test_share: Share of each class held out for the test, where the source has no test images of its own.
        train_limit: Use only so many training images, drawn from the classes in turn.
    """

    input_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...] | None
    normalisation: Normalisation

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        train_limit: int | None = None,
    ) -> None:
        super().__init__()
        check_at_least("batch_size", batch_size, 2)
        check_at_least("seed", seed, 0)
        for name, share in (("validation_share", validation_share), ("test_share", test_share)):
            if not (isinstance(share, int | float) and 0 < share < 1):
                raise BadInput(f"`{name}` must lie between 0 and 1, but got {share!r}")
        if train_limit is not None:
            check_at_least("train_limit", train_limit, 2)
        self.batch_size, self.seed = batch_size, seed
        self.validation_share, self.test_share, self.train_limit = validation_share, test_share, train_limit
        self._sets: dict[str, ImageSet] = {}
        self._open_test: Callable[[], ImageSet] | None = None

    def open_splits(self) -> Splits:
        """Open the source, all but its test images."""
        raise NotImplementedError

    @property
    def counts(self) -> dict[str, int]:
        """Images of each split that is open."""
        return {name: len(images.classes_of) for name, images in self._sets.items()}

    def setup(self, stage: str) -> None:
        """Open the training and validation images, and the test images when `stage` is "test"."""
        if not self._sets:
            self._set_up(self.open_splits())
        if stage == "test" and "test" not in self._sets:
            assert self._open_test is not None
            self._sets["test"] = self._open_test()

    def train_dataloader(self) -> Any:
        """Return the shuffled and augmented training batches."""
        return self._loader("train")

    def val_dataloader(self) -> Any:
        """Return the batches a search is judged by."""
        return self._loader("validation")

    def test_dataloader(self) -> Any:
        """Return the batches for the final figure only."""
        self.setup("test")
        return self._loader("test")

    def _set_up(self, splits: Splits) -> None:
        train, validation, self._open_test = splits.train, splits.validation, splits.test
        _check_classes(splits)
        if self._open_test is None:
            train, test = self._divide(train, self.test_share, 1)
            self._open_test = lambda: test
        if validation is None:
            train, validation = self._divide(train, self.validation_share, 2)
        if self.train_limit is not None:
            train = train.take(balanced_subset(train.classes_of, self.train_limit, seed_of(self.seed, 3)))
        if len(train.classes_of) < 2 or not len(validation.classes_of):
            raise BadInput(
                f"{splits.origin} has too few images: {len(train.classes_of)} to train and"
                f" {len(validation.classes_of)} to validate after the split, but it takes at least 2 and 1"
            )
        self.input_shape, self.classes, self.class_names = train.shape, splits.classes, splits.class_names
        self.normalisation = train.normalisation(self.seed)
        self._sets = {"train": train, "validation": validation}

    def _divide(self, images: ImageSet, share: float, part: int) -> tuple[ImageSet, ImageSet]:
        rest, held = hold_out(images.classes_of, share, seed_of(self.seed, part))
        return images.take(rest), images.take(held)

    def _loader(self, name: str) -> Any:
        self.setup("fit")
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        self._sets[name] = self._sets[name].to(device)
        loading = Loading(self.batch_size, self.seed, self.normalisation)
        return self._sets[name].batches(loading, training=name == "train")


def check_at_least(name: str, value: object, least: int) -> None:
    """Raise BadInput unless the argument is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"`{name}` must be a whole number of at least {least}, but got {value!r}")


def _check_classes(splits: Splits) -> None:
    present = np.unique(splits.train.classes_of)
    if len(present) == 0:
        raise BadInput(f"{splits.origin} has no images")
    if len(present) == 1:
        name = splits.class_names[present[0]] if splits.class_names else present[0]
        raise BadInput(f"{splits.origin} must have at least two classes, but all its images are of class '{name}'")
    if present[0] < 0 or present[-1] >= splits.classes:
        raise BadInput(
            f"{splits.origin} has labels from {present[0]} to {present[-1]},"
            f" but with {splits.classes} classes they must lie in 0..{splits.classes - 1}"
        )
