from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningDataModule

from invnas.data.all_data import all_data, validates
from invnas.data.folder import ImageFolder
from invnas.data.joined import JoinedPictures
from invnas.data.pictures import FilePictures
from invnas.data.source import load_data
from invnas.data.tensors import TensorImages
from invnas.errors import BadInput
from invnas.experiment import DataSource


def labels_of(loader: Any) -> list[int]:
    return [int(label) for _, labels in loader for label in labels]


@pytest.mark.parametrize("name", ["Digits", "HardDigits"])
def test_both_parts_are_trained_on_once_and_the_test_images_stay(name: str) -> None:
    data = load_data(DataSource(name, {"batch_size": 100}))
    counts, train = data.counts, labels_of(data.train_dataloader())
    whole = all_data(data, name)
    found = labels_of(whole.train_dataloader())
    assert len(found) == counts["train"] + counts["validation"]
    assert sorted(found) == sorted([*train, *labels_of(data.val_dataloader())])
    assert validates(data)
    assert not validates(whole)
    assert whole.preprocessing == data.preprocessing
    assert data.counts == counts
    assert labels_of(data.train_dataloader()) == train  # the module itself is as it was
    assert labels_of(whole.test_dataloader()) == labels_of(data.test_dataloader())


def test_a_seed_varies_the_order_of_all_of_them() -> None:
    data = load_data(DataSource("Digits"))
    whole = all_data(data, "Digits")
    orders = []
    for whole.order_seed in (0, 1, 0):
        orders.append(labels_of(whole.train_dataloader()))
    assert orders[0] == orders[2] != orders[1]
    assert data.order_seed is None


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test")])
def test_a_folder_of_images_with_and_without_validation_images_of_its_own(
    make_folder: Callable[..., Path], splits: tuple[str, ...]
) -> None:
    data = ImageFolder(str(make_folder(splits, each=5)), image_size=8, batch_size=4, num_workers=0)
    data.setup("fit")
    whole = all_data(data, "ImageFolder")
    seen = [(tuple(image.flatten().tolist()), int(label)) for images, labels in whole.train_dataloader()
            for image, label in zip(images, labels, strict=True)]  # fmt: skip
    expected = sum(data.counts.values())
    assert expected == 10 * (1 + ("val" in splits))
    assert len(seen) == expected - (expected % 4 == 1)
    assert sorted(label for _, label in seen) == [0] * (expected // 2) + [1] * (expected // 2)
    assert len({image for image, _ in seen}) == expected  # each once: pixels of files that differ


@given(st.integers(0, 3), st.integers(0, 3))
def test_joined_pictures_are_those_of_both_lists(first: int, second: int) -> None:
    one, other = [f"a{i}" for i in range(first)], [f"b{i}" for i in range(second)]
    joined, wanted = JoinedPictures(FilePictures(one), FilePictures(other)), [*one, *other]
    assert [joined.encoded(index) for index in range(len(joined))] == wanted
    assert [joined.place(index) for index in range(len(joined))] == [f"'{path}'" for path in wanted]


def test_sets_of_bytes_and_floats_are_joined_on_one_scale() -> None:
    labels = torch.zeros(1, dtype=torch.int64)
    byte = TensorImages(torch.full((1, 1, 2, 2), 51, dtype=torch.uint8), labels)
    for one, other in ((byte, byte), (byte, TensorImages(torch.full((1, 1, 2, 2), 0.2), labels + 1))):
        together = one.joined(other)
        assert together.images.dtype == other.images.dtype
        scale = 255 if together.images.dtype == torch.uint8 else 1
        assert torch.allclose(together.images / scale, torch.tensor(0.2))
        assert np.array_equal(together.strata, [int(one.labels), int(other.labels)])
    with pytest.raises(BadInput, match=r"training images of 1 x 2 x 2 and validation images of 1 x 3 x 2"):
        byte.joined(TensorImages(torch.zeros(1, 1, 3, 2), labels))


class Own(LightningDataModule):
    """A user's own module."""


class Offers(Own):
    """One that says how it trains on all."""

    def all_data_dataloader(self) -> list[int]:
        return [1]


def test_a_module_of_a_user_says_how_or_is_refused() -> None:
    with pytest.raises(BadInput, match=r"`my.Own` does not say .*: all_data needs its method `all_data_dataloader`"):
        all_data(Own(), "my.Own")
    whole = all_data(Offers(), "my.Offers")
    assert whole.train_dataloader() == [1]
    assert isinstance(whole, Offers)
