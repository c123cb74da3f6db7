from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from invnas.data import HuggingFace
from invnas.errors import BadInput, MissingExtra

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def picture(seed: int, size: tuple[int, ...] = (8, 8)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))


def table(count: int = 20, size: tuple[int, ...] = (8, 8), label: str = "label", labels: Any = None) -> Any:
    values = labels if labels is not None else [number % 2 for number in range(count)]
    kind = {label: datasets.ClassLabel(names=["cat", "dog"])} if labels is None else {}
    rows = {"id": list(range(count)), "picture": [picture(seed, size) for seed in range(count)], label: values}
    return (
        datasets.Dataset.from_dict(rows)
        .cast_column("picture", datasets.Image())
        .cast(
            datasets.Features(
                {"id": datasets.Value("int64"), "picture": datasets.Image()}
                | (kind or {label: datasets.Dataset.from_dict({label: values}).features[label]})
            )
        )
    )


def save(path: Path, value: Any, form: str) -> str:
    if form == "disk":
        value.save_to_disk(str(path / "disk"))
        return str(path / "disk")
    value.to_parquet(str(path / "table" / "train.parquet"))
    return str(path / "table" / "train.parquet" if form == "file" else path / "table")


@pytest.mark.parametrize("form", ["disk", "file", "folder"])
def test_one_table_is_split_in_three(tmp_path: Path, form: str) -> None:
    data = HuggingFace(save(tmp_path, table(), form))
    data.setup("test")
    assert data.input_shape == (1, 8, 8)
    assert data.class_names == ("cat", "dog")
    assert data.counts == {"train": 12, "validation": 4, "test": 4}
    expected = {tuple(np.asarray(picture(seed)).flatten()) for seed in range(20)}
    found = [tuple(image.flatten().tolist()) for part in data._sets.values() for image in part.images]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_the_parts_of_the_data_set_are_used(tmp_path: Path, name: str) -> None:
    parts = datasets.DatasetDict({"train": table(), name: table(6), "test": table(8)})
    data = HuggingFace(save(tmp_path, parts, "disk"))
    data.setup("fit")
    assert data.counts == {"train": 20, "validation": 6}
    data.setup("test")
    assert data.counts["test"] == 8


@pytest.mark.parametrize("labels", [["b", "a"] * 10, [7, 3] * 10])
def test_labels_without_names_are_numbered(tmp_path: Path, labels: list[Any]) -> None:
    data = HuggingFace(save(tmp_path, table(labels=labels), "disk"))
    data.setup("fit")
    assert data.classes == 2
    assert data.class_names == tuple(str(value) for value in sorted(set(labels)))


def test_a_trainer_fits_in_memory(
    tmp_path: Path, make_trainer: Callable[..., Trainer], watcher: Callable[..., Any]
) -> None:
    data = HuggingFace(save(tmp_path, table(size=(8, 8, 3)), "disk"), batch_size=4, flip=True, crop=1, cutout=2)
    model = watcher((3, 8, 8), 2)
    make_trainer().fit(model, datamodule=data)
    assert len(model.seen[0]) == 3


def test_a_trainer_fits_streamed(
    tmp_path: Path, make_trainer: Callable[..., Trainer], watcher: Callable[..., Any]
) -> None:
    rows = table()
    sizes = [picture(seed, (5 + seed, 9)) for seed in range(20)]
    rows = rows.remove_columns("picture").add_column("picture", [{"bytes": encode(one), "path": None} for one in sizes])
    data = HuggingFace(save(tmp_path, rows, "disk"), batch_size=4, image_size=6, num_workers=1)
    data.setup("fit")
    assert data.input_shape == (1, 6, 6)
    model = watcher((1, 6, 6), 2)
    make_trainer().fit(model, datamodule=data)
    assert model.validated == 4


def encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def raw(tmp_path: Path, cells: list[Any]) -> str:
    rows = {"image": cells, "label": [number % 2 for number in range(len(cells))]}
    features = datasets.Features(
        {
            "image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "label": datasets.Value("int64"),
        }
    )
    return save(tmp_path, datasets.Dataset.from_dict(rows, features=features), "disk")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ({"bytes": b"no image", "path": None}, "row 3 of the split train of '.*' is not a readable image"),
        ({"bytes": None, "path": None}, "row 3 of the split train of '.*' holds no image"),
        ({"bytes": None, "path": "gone.png"}, "row 3 of .* points to the file 'gone.png', which does not exist"),
        (
            {"bytes": encode(picture(0, (8, 8, 3))), "path": None},
            "equally many channels, but row 3 of .* has 3 and row 0 of .* has 1: set `channels` to 1 or 3",
        ),
        (
            {"bytes": encode(picture(0, (8, 7))), "path": None},
            "one size, but row 3 of .* is 7x8 and row 0",
        ),
    ],
)
def test_a_bad_image_is_named_by_its_row(tmp_path: Path, cell: dict[str, Any], words: str) -> None:
    cells = [{"bytes": encode(picture(seed)), "path": None} for seed in range(6)]
    cells[3] = cell
    with pytest.raises(BadInput, match=words):
        HuggingFace(raw(tmp_path, cells)).setup("fit")


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_converted(tmp_path: Path, channels: int) -> None:
    cells = [{"bytes": encode(picture(seed, (8, 8, 3) if seed % 3 else (8, 8))), "path": None} for seed in range(20)]
    data = HuggingFace(raw(tmp_path, cells), channels=channels)
    assert next(iter(data.train_dataloader()))[0].shape[1] == channels


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_column": "pictures"}, "has no column `pictures`; nearest: 'picture'"),
        ({"label_column": "labels"}, "has no column `labels`; nearest: 'animal'; valid: id, picture, animal|valid:"),
        ({}, "no column that looks like the labels: set `label_column` to one of id, picture, animal"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        HuggingFace(save(tmp_path, table(label="animal"), "disk"), **arguments).setup("fit")


def test_the_label_column_may_be_named(tmp_path: Path) -> None:
    data = HuggingFace(save(tmp_path, table(label="animal"), "disk"), label_column="animal")
    data.setup("fit")
    assert data.class_names == ("cat", "dog")


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least two classes, but all its images are of class 'x'"):
        HuggingFace(save(tmp_path, table(labels=["x"] * 20), "disk")).setup("fit")


@pytest.mark.parametrize(("form", "words"), [("disk", "has no images"), ("file", "corresponds to no data")])
def test_zero_images_are_refused(tmp_path: Path, form: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        HuggingFace(save(tmp_path, table().select([]), form)).setup("fit")


def test_a_test_label_that_nobody_trained_is_named(tmp_path: Path) -> None:
    parts = datasets.DatasetDict({"train": table(labels=["a", "b"] * 10), "test": table(2, labels=["a", "z"])})
    data = HuggingFace(save(tmp_path, parts, "disk"))
    data.setup("fit")
    with pytest.raises(BadInput, match=r"row 1 of the split test of '.*' has the label 'z', which no training image"):
        data.setup("test")


def test_a_missing_folder_is_refused() -> None:
    with pytest.raises(BadInput, match=r"the data set '\./nowhere' does not exist"):
        HuggingFace("./nowhere").setup("fit")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": 0}, "`image_size` must be a whole number of at least 1, but got 0"),
        ({"image_size": 10**23}, "`image_size` must be at most 65,536, but is larger"),
        ({"num_workers": 10**6}, "`num_workers` must be at most 1,024, but is larger"),
        ({"batch_size": 10**23}, "`batch_size` must be at most 16,777,216, but is larger"),
    ],
)
def test_an_absurd_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        HuggingFace("anything", **arguments)


def test_an_unreachable_name_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="the data set 'nobody/nothing' cannot be loaded: ") as caught:
        HuggingFace("nobody/nothing").setup("fit")
    assert "\n" not in str(caught.value)


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"datasets.*invnas\[data\]"):
        HuggingFace("anything").setup("fit")


def test_a_large_cutout_is_refused_at_the_first_batch(tmp_path: Path) -> None:
    data = HuggingFace(save(tmp_path, table(), "disk"), cutout=9)
    with pytest.raises(BadInput, match="`cutout` must fit into the image of 8x8, but got 9"):
        next(iter(data.train_dataloader()))


def test_evaluation_in_memory_shows_the_images_as_they_are(tmp_path: Path) -> None:
    data = HuggingFace(save(tmp_path, table(), "disk"), flip=True, crop=2)
    first, second = (torch.cat([images for images, _ in data.val_dataloader()]) for _ in range(2))
    assert torch.equal(first, second)
