from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invnas.data import HuggingFaceMasks
from invnas.errors import BadInput

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def table(count: int = 10, names: tuple[str, str] = ("picture", "mask"), worst: int = 2) -> Any:
    """Return images whose brightness is 40 times the class of each pixel."""
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 3, (20 + number, 24), dtype=np.uint8) for number in range(count)]
    masks[3][0, 0] = worst
    rows = {
        "id": list(range(count)),
        names[0]: [Image.fromarray(mask * 40) for mask in masks],
        names[1]: [Image.fromarray(mask) for mask in masks],
    }
    kinds = {"id": datasets.Value("int64")} | {name: datasets.Image() for name in names}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


def opened(path: str, **more: Any) -> HuggingFaceMasks:
    data = HuggingFaceMasks(path, **{"image_size": 16, "classes": 3, "batch_size": 4, "num_workers": 0, **more})
    data.setup("fit")
    return data


def saved(path: Path, value: Any, split: str = "train") -> str:
    value.to_parquet(str(path / "table" / f"{split}.parquet"))
    return str(path / "table")


def test_one_table_is_split_in_three_and_masks_follow(tmp_path: Path) -> None:
    data = opened(saved(tmp_path, table()), channels=1)
    data.setup("test")
    assert data.counts == {"train": 6, "validation": 2, "test": 2}
    assert data.origins["train"] == f"6 from the split train of '{tmp_path / 'table'}'"
    assert (data.input_shape, data.classes, data.class_names) == ((1, 16, 16), 3, None)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for images, masks in loader:
            assert images.shape == (len(masks), 1, 16, 16)
            assert masks.shape == (len(images), 16, 16)
            assert masks.dtype == torch.int64
    grey = (images[:, 0] * data.normalisation.std[0] + data.normalisation.mean[0]) * 255
    assert float(torch.corrcoef(torch.stack([grey.flatten(), masks.flatten().float()]))[0, 1]) > 0.5


def test_splits_of_their_own_and_columns_by_name(tmp_path: Path) -> None:
    for split, count in (("train", 8), ("validation", 5), ("test", 4)):
        path = saved(tmp_path, table(count, ("label", "photo")), split)
    data = opened(path, mask_column="photo")  # not that which looks like it
    data.setup("test")
    assert data.counts == {"train": 8, "validation": 5, "test": 4}
    pairs: Any = data._sets["train"].pairs  # type: ignore[attr-defined]
    assert np.asarray(pairs.opened(0)[0])[:, :, 0].tolist() == (np.asarray(pairs.opened(0)[1]) * 40).tolist()


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    path = saved(tmp_path, table(worst=7))
    with pytest.raises(BadInput, match=r"mask row 3 of `mask` in the split train of '.*' has the value 7 at 1 pixels"):
        opened(path)
    with pytest.raises(
        BadInput, match=r"has no images in a column `masks` \(`mask_column`\); nearest: 'mask'; valid: "
    ):
        opened(path, mask_column="masks")
    with pytest.raises(BadInput, match=r"has no images in a column `id` \(`image_column`\)"):
        opened(path, image_column="id")
    path = saved(tmp_path / "other", table(names=("one", "two")))
    with pytest.raises(BadInput, match=r"no column that looks like the masks: set `mask_column`; .* are one, two"):
        opened(path)
    with pytest.raises(BadInput, match="nothing says which classes the masks have"):
        opened(path, classes=None)
