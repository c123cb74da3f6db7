"""The base of every source: splits, normalisation, loaders, and the checks they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from invnas.data.normalisation import Normalisation
from invnas.data.split import hold_out, seed_of, subset
from invnas.errors import BadInput, shown
from invnas.preprocessing import Preprocessing
from invnas.rules import BATCH, check_whole

#: The set of training and validation images together.
_ALL = "train and validation"


@dataclass(frozen=True)
class Loading:
    """How a set becomes batches.

    Attributes:
        batch_size: Images of a batch.
        seed: Seed of order and augmentation.
        normalisation: Mean and deviation of the training images.
        balanced: An epoch of training has each class equally often, instead of each image once.
    """

    batch_size: int
    seed: int
    normalisation: Normalisation
    balanced: bool = False


class ImageSet(Protocol):
    """Labelled images, in memory or read one by one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a network gets."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image, without the normalisation."""
        ...

    @property
    def classes_of(self) -> np.ndarray:
        """The label of each image, (N,)."""
        ...

    def take(self, indices: np.ndarray) -> ImageSet:
        """Return the images at `indices`."""
        ...

    def joined(self, other: Any) -> ImageSet:
        """Return these images and those of another set of the same kind, trained on as these are."""
        ...

    def readable(self) -> ImageSet:
        """Return the images without those that were found broken and shall be left out."""
        ...

    def fingerprint(self) -> str:
        """Return sixteen hex digits that differ where labels or images do."""
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
        validation_origin: The words that name where the validation images are, if they have a place of their own.
        test_origin: The same for the test images.
    """

    origin: str
    classes: int
    class_names: tuple[str, ...] | None
    train: ImageSet
    validation: ImageSet | None = None
    test: Callable[[], ImageSet] | None = None
    validation_origin: str = ""
    test_origin: str = ""


class ImageDataModule(LightningDataModule):
    """Train, validation and test batches of one source; a subclass says where the images are in `open_splits`.

    Args:
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of each class held out of the training images for the search.
        test_share: Share of each class held out for the test, where the source has no test images of its own.
        train_limit: Use only so many training images, drawn by seed so that every class keeps its share.
        balance: With `train_limit`, draw equally many of each class instead, as far as they go.
    """

    input_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...] | None
    normalisation: Normalisation
    preprocessing: Preprocessing
    #: A training sets it: with `seed` it decides order and augmentation, the split stays; None leaves them to `seed`.
    order_seed: int | None = None
    #: A training sets it: "shuffled" or "balanced", as `Recipe.sampling`.
    sampling: str = "shuffled"

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        validation_share: float = 0.2,
        test_share: float = 0.2,
        train_limit: int | None = None,
        balance: bool = False,
    ) -> None:
        super().__init__()
        check_whole("batch_size", batch_size, 2, BATCH)
        check_whole("seed", seed, 0)
        for name, share in (("validation_share", validation_share), ("test_share", test_share)):
            if not (isinstance(share, int | float) and 0 < share < 1):
                raise BadInput(f"`{name}` must lie between 0 and 1, but got {shown(share)}")
        if train_limit is not None:
            check_whole("train_limit", train_limit, 2)
        if not isinstance(balance, bool):
            raise BadInput(f"`balance` must be true or false, but got {shown(balance)}")
        if balance and train_limit is None:
            raise BadInput("`balance` says how `train_limit` draws: give `train_limit` too")
        self.batch_size, self.seed = batch_size, seed
        self.validation_share, self.test_share, self.train_limit = validation_share, test_share, train_limit
        self.balance = balance
        #: Which images are trained, validated and tested, how many, and where from, by split.
        self.origins: dict[str, str] = {}
        #: Images that cannot be read and are in no split.
        self.left_out: tuple[str, ...] = ()
        self._sets: dict[str, ImageSet] = {}
        self._open_test: Callable[[], ImageSet] | None = None

    def open_splits(self) -> Splits:
        """Open the source, all but its test images."""
        raise NotImplementedError

    def keep(self, note: Callable[[str], None]) -> None:
        """Check, and say, what is made before the first training: nothing but where a source has a cache.

        Raises:
            BadInput: If it takes more room than there is.
        """

    @property
    def counts(self) -> dict[str, int]:
        """Images of each split that is open."""
        return {name: len(images.classes_of) for name, images in self._sets.items() if name != _ALL}

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, in label order."""
        return tuple(np.bincount(self._sets["train"].classes_of, minlength=self.classes).tolist())

    def setup(self, stage: str) -> None:
        """Open the training and validation images, and the test images when `stage` is "test"."""
        if not self._sets:
            self._set_up(self.open_splits())
        if stage == "test" and "test" not in self._sets:
            assert self._open_test is not None
            self._sets["test"] = self._open_test().readable()

    def train_dataloader(self) -> Any:
        """Return the shuffled and augmented training batches."""
        return self._loader("train")

    def all_data_dataloader(self) -> Any:
        """Return training batches of training and validation images together, for a final training.

        Mean and deviation stay those of the training images.
        """
        self.setup("fit")
        if _ALL not in self._sets:
            self._sets[_ALL] = self._sets["train"].joined(self._sets["validation"])
        return self._loader(_ALL)

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
        origins = {"test": f"all of {splits.test_origin}", "validation": f"all of {splits.validation_origin}"}
        if self._open_test is None:
            train, test = self._divide(train, self.test_share, 1)
            # Left out after the split: which of the others are trained or tested then depends on no broken image.
            test, without = _readable(test)
            self._open_test = lambda: test
            origins["test"] = f"{len(test.classes_of):,}{self._held(self.test_share, splits.origin)}{without}"
        if validation is None:
            train, validation = self._divide(train, self.validation_share, 2)
            origins["validation"] = self._held(self.validation_share, splits.origin)
        every = np.unique(train.classes_of)
        validation, without = _readable(validation)
        origins["validation"] = f"{len(validation.classes_of):,} {origins['validation'].strip()}{without}"
        train, without = _readable(train)
        for label in np.setdiff1d(every, train.classes_of):
            name = splits.class_names[label] if splits.class_names else label
            raise BadInput(
                f"{splits.origin} has no training image of class '{name}' that can be read: those that are not broken "
                "are held out; mend or remove its broken images"
            )
        offered = len(train.classes_of)
        if self.train_limit is not None:
            chosen = subset(train.classes_of, self.train_limit, seed_of(self.seed, 3), self.balance)
            train = train.take(chosen)
        trained = len(train.classes_of)
        how = "equally many of each class" if self.balance else "every class in its share"
        limited = f" of {offered:,}, drawn by seed {self.seed}, {how}," if trained < offered else ""
        origins["train"] = f"{trained:,}{limited} from {splits.origin}{without}"
        if len(train.classes_of) < 2 or not len(validation.classes_of):
            raise BadInput(
                f"{splits.origin} has too few images: {len(train.classes_of)} to train and"
                f" {len(validation.classes_of)} to validate after the split, but it takes at least 2 and 1"
            )
        self.input_shape, self.classes, self.class_names = train.shape, splits.classes, splits.class_names
        self.normalisation = train.normalisation(self.seed)
        self.preprocessing = replace(train.preprocessing, mean=self.normalisation.mean, std=self.normalisation.std)
        self.origins = {name: origins[name] for name in ("train", "validation", "test")}
        self._sets = {"train": train, "validation": validation}

    def _held(self, share: float, origin: str) -> str:
        return f" held out of {origin} ({100 * share:g} % of each class, seed {self.seed})"

    def fingerprint(self) -> str:
        """Return sixteen hex digits that differ where the training or validation images or their labels do."""
        self.setup("fit")
        parts = [self._sets[name].fingerprint() for name in ("train", "validation")]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def _divide(self, images: ImageSet, share: float, part: int) -> tuple[ImageSet, ImageSet]:
        rest, held = hold_out(images.classes_of, share, seed_of(self.seed, part))
        return images.take(rest), images.take(held)

    def _loader(self, name: str) -> Any:
        self.setup("fit")
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        self._sets[name] = self._sets[name].to(device)
        seed = self.seed if self.order_seed is None else seed_of(self.seed, self.order_seed)
        loading = Loading(self.batch_size, seed, self.normalisation, self.sampling == "balanced")
        return self._sets[name].batches(loading, training=name in ("train", _ALL))


def _readable(images: ImageSet) -> tuple[ImageSet, str]:
    """Return the images that are not left out, and how many are, as the end of a phrase."""
    found = images.readable()
    lost = len(images.classes_of) - len(found.classes_of)
    return found, f", without {lost:,} that cannot be read" if lost else ""


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
