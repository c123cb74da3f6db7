"""The base of every source: splits, normalisation, loaders, and the checks they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from invnas.data.image_set import ImageSet, Loading
from invnas.data.labels import check_kept, check_labels
from invnas.data.normalisation import Normalisation
from invnas.data.split import hold_out, seed_of, subset
from invnas.errors import BadInput, shown
from invnas.preprocessing import Preprocessing
from invnas.rules import BATCH, check_whole

#: The set of training and validation images together.
_ALL = "train and validation"


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
    #: Why an epoch cannot have each class equally often, as the end of a sentence; empty where it can.
    cannot_balance: str = ""
    _share_of = " of each class"
    _drawn = ", every class in its share"

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
        return {name: len(images) for name, images in self._sets.items() if name != _ALL}

    @property
    def class_counts(self) -> tuple[int, ...] | None:
        """Training images of each class, in label order; None where an image has no one class."""
        return tuple(np.bincount(self._sets["train"].strata, minlength=self.classes).tolist())

    def sample_targets(self, count: int) -> Any:
        """Return the targets of the first `count` validation images, or of all if they are fewer, as in a batch."""
        self.setup("fit")
        validation = self._sets["validation"]
        return validation.targets(np.arange(min(count, len(validation))))

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
        self._check_targets(splits)
        origins = {"test": f"all of {splits.test_origin}", "validation": f"all of {splits.validation_origin}"}
        if self._open_test is None:
            train, test = self._divide(train, self.test_share, 1)
            # Left out after the split: which of the others are trained or tested then depends on no broken image.
            test, without = _readable(test)
            self._open_test = lambda: test
            origins["test"] = f"{len(test):,}{self._held(self.test_share, splits.origin)}{without}"
        if validation is None:
            train, validation = self._divide(train, self.validation_share, 2)
            origins["validation"] = self._held(self.validation_share, splits.origin)
        validation, without = _readable(validation)
        origins["validation"] = f"{len(validation):,} {origins['validation'].strip()}{without}"
        every = train.strata
        train, without = _readable(train)
        self._check_kept(splits, every, train.strata)
        offered = len(train)
        if self.train_limit is not None:
            chosen = subset(train.strata, self.train_limit, seed_of(self.seed, 3), self.balance)
            train = train.take(chosen)
        how = ", equally many of each class" if self.balance else self._drawn
        limited = f" of {offered:,}, drawn by seed {self.seed}{how}," if len(train) < offered else ""
        origins["train"] = f"{len(train):,}{limited} from {splits.origin}{without}"
        if len(train) < 2 or not len(validation):
            raise BadInput(
                f"{splits.origin} has too few images: {len(train)} to train and"
                f" {len(validation)} to validate after the split, but it takes at least 2 and 1"
            )
        self.input_shape, self.classes, self.class_names = train.shape, splits.classes, splits.class_names
        self.normalisation = train.normalisation(self.seed)
        self.preprocessing = replace(train.preprocessing, mean=self.normalisation.mean, std=self.normalisation.std)
        self.origins = {name: origins[name] for name in ("train", "validation", "test")}
        self._sets = {"train": train, "validation": validation}

    def _check_targets(self, splits: Splits) -> None:
        """Raise BadInput where no network can be trained on these targets."""
        check_labels(splits)

    def _check_kept(self, splits: Splits, every: np.ndarray, kept: np.ndarray) -> None:
        """Raise BadInput where what is left out, of training images with the strata `every`, leaves too little."""
        check_kept(splits, every, kept)

    def _held(self, share: float, origin: str) -> str:
        return f" held out of {origin} ({100 * share:g} %{self._share_of}, seed {self.seed})"

    def fingerprint(self) -> str:
        """Return sixteen hex digits that differ where the training or validation images or their labels do."""
        self.setup("fit")
        parts = [self._sets[name].fingerprint() for name in ("train", "validation")]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def _divide(self, images: ImageSet, share: float, part: int) -> tuple[ImageSet, ImageSet]:
        rest, held = hold_out(images.strata, share, seed_of(self.seed, part))
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
    lost = len(images) - len(found)
    return found, f", without {lost:,} that cannot be read" if lost else ""
