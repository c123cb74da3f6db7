"""CIFAR-10 and CIFAR-100 from the files a user already has: the original archives or Parquet."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch

from invnas.data.augment import Augment
from invnas.data.listing import SPLITS
from invnas.data.module import ImageDataModule, Splits
from invnas.data.parquet import find_parquet, read_parquet
from invnas.data.tensors import TensorImages
from invnas.errors import BadInput, shown

_FOLDER = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
_ARCHIVE = {10: "cifar-10-python.tar.gz", 100: "cifar-100-python.tar.gz"}
_TRAIN = {10: [f"data_batch_{number}" for number in range(1, 6)], 100: ["train"]}
_TEST = {10: ["test_batch"], 100: ["test"]}
_LABELS = {10: "labels", 100: "fine_labels"}
_META = {10: ("batches.meta", "label_names"), 100: ("meta", "fine_label_names")}


class Cifar(ImageDataModule):
    """CIFAR-10 or CIFAR-100: 50,000 training and 10,000 test images, 32x32, colour.

    Args:
        folder: Folder with the original archive (cifar-10-python.tar.gz), with its unpacked folder
            (cifar-10-batches-py), or with train.parquet and test.parquet (extra `data`).
        classes: 10 or 100.
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits, of the order and of the augmentation.
        validation_share: Share of each class held out of the training images for the search.
        train_limit: Use only so many training images, drawn by seed so that every class keeps its share.
        balance: With `train_limit`, draw equally many of each class instead, as far as they go.
        flip: Mirror training images left to right, half of the time.
        crop: Pixels of padding from which training images are cropped; 0 turns it off.
        cutout: Side of the square cut out of training images; 0 turns it off.
        augment: What else is done to training images: "trivial" (TrivialAugment, one operation of any strength), "rand"
            (RandAugment, two of moderate strength) or "none".
    """

    def __init__(
        self,
        folder: str,
        classes: Literal[10, 100] = 10,
        batch_size: int = 64,
        seed: int = 0,
        validation_share: float = 0.2,
        train_limit: int | None = None,
        balance: bool = False,
        flip: bool = True,
        crop: int = 4,
        cutout: int = 0,
        augment: str = "none",
    ) -> None:
        super().__init__(batch_size, seed, validation_share, train_limit=train_limit, balance=balance)
        if classes not in (10, 100):
            raise BadInput(f"`classes` of CIFAR must be 10 or 100, but got {shown(classes)}")
        self.folder, self.kind = Path(folder), int(classes)
        self.augment = Augment(flip, crop, cutout, augment)

    def open_splits(self) -> Splits:
        """Open the training images; the test images are read when the test begins."""
        origin = f"CIFAR-{self.kind} in '{self.folder}'"
        if not self.folder.exists():
            raise BadInput(f"the folder '{self.folder}' of CIFAR-{self.kind} does not exist")
        if find_parquet(self.folder, "train"):
            return self._from_parquet(origin)
        names_file, names_key = _META[self.kind]
        read = self._archive()
        names = [_text(name) for name in read(names_file)[names_key]]
        train = self._images(read, _TRAIN[self.kind])
        return Splits(
            origin,
            self.kind,
            tuple(names),
            train,
            test=lambda: self._images(read, _TEST[self.kind]),
            test_origin=f"the test images of {origin}",
        )

    def _from_parquet(self, origin: str) -> Splits:
        label = "fine_label" if self.kind == 100 else "label"

        def read(split: str) -> tuple[TensorImages, tuple[str, ...] | None]:
            images, labels, names = read_parquet(self.folder, split, label)
            return TensorImages(images, labels, self.augment), names

        train, names = read("train")
        found = [name for name in SPLITS["validation"] if find_parquet(self.folder, name)]
        if len(found) > 1:
            raise BadInput(f"'{self.folder}' has {found[0]}.parquet and {found[1]}.parquet: keep one")
        return Splits(
            origin,
            self.kind,
            names,
            train,
            read(found[0])[0] if found else None,
            lambda: read("test")[0],
            f"{found[0]}.parquet" if found else "",
            "test.parquet",
        )

    def _archive(self) -> Callable[[str], dict[str, Any]]:
        """Return a function that reads one file of the original archive by name."""
        inner = _FOLDER[self.kind]
        for folder in (self.folder, self.folder / inner):
            if (folder / _META[self.kind][0]).is_file():
                return lambda name: _read_file(folder / name)
        packed = self.folder if self.folder.is_file() else self.folder / _ARCHIVE[self.kind]
        if packed.is_file():
            return lambda name: _read_member(packed, f"{inner}/{name}")
        raise BadInput(
            f"the folder '{self.folder}' holds no CIFAR-{self.kind}: it must hold {_ARCHIVE[self.kind]}, {inner}/,"
            " or train.parquet and test.parquet"
        )

    def _images(self, read: Callable[[str], dict[str, Any]], names: list[str]) -> TensorImages:
        files = [read(name) for name in names]
        try:
            pixels = np.concatenate([np.asarray(file["data"], np.uint8).reshape(-1, 3, 32, 32) for file in files])
            labels = np.concatenate([np.asarray(file[_LABELS[self.kind]], np.int64) for file in files])
        except (KeyError, ValueError) as error:
            raise BadInput(f"CIFAR-{self.kind} in '{self.folder}' is not the original archive: {error}") from None
        if len(pixels) != len(labels):
            raise BadInput(f"CIFAR-{self.kind} in '{self.folder}' has {len(pixels)} images but {len(labels)} labels")
        images = torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)
        return TensorImages(images, torch.from_numpy(labels), self.augment)


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(f"the file '{path}' of CIFAR is missing")
    with path.open("rb") as file:
        return _unpickle(file, str(path))


def _read_member(packed: Path, name: str) -> dict[str, Any]:
    try:
        with tarfile.open(packed) as archive:
            file = archive.extractfile(name)
            assert file is not None
            return _unpickle(file, f"{packed}:{name}")
    except (KeyError, AssertionError):
        raise BadInput(f"the archive '{packed}' has no file '{name}'") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadInput(f"the archive '{packed}' cannot be read: {error}") from None


class _PlainUnpickler(pickle.Unpickler):
    """Admits arrays and plain values only: a pickle from elsewhere could otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise BadInput(f"it asks for `{module}.{name}`, and only arrays and plain values are read")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise BadInput(f"it asks for the encoding `{encoding}`, and only latin1 is read")
    return text.encode("latin1")


def _unpickle(file: IO[bytes], place: str) -> dict[str, Any]:
    try:
        content = _PlainUnpickler(file, encoding="bytes").load()
    except BadInput as error:
        raise BadInput(f"'{place}' is refused: {error}") from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise BadInput(f"'{place}' is not a CIFAR batch: {error or type(error).__name__}") from None
    if not isinstance(content, dict):
        raise BadInput(f"'{place}' is not a CIFAR batch: it holds no table")
    # Python 2 wrote the original files, so their strings arrive as bytes.
    return {_text(key): value for key, value in content.items()}


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
