from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from invnas.data import Cifar
from invnas.errors import BadInput, MissingExtra

NAMES = {10: [f"thing{number}" for number in range(10)], 100: [f"thing{number}" for number in range(100)]}


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def write_batches(root: Path, classes: int, each: int = 4) -> Path:
    """Write the unpacked archive as Python 2 wrote it: protocol 2, byte strings."""
    folder = root / ("cifar-10-batches-py" if classes == 10 else "cifar-100-python")
    folder.mkdir(parents=True)
    label_key, meta, meta_key = (
        (b"labels", "batches.meta", b"label_names") if classes == 10 else (b"fine_labels", "meta", b"fine_label_names")
    )
    names = [f"data_batch_{number}" for number in range(1, 6)] if classes == 10 else ["train"]
    for seed, name in enumerate([*names, "test_batch" if classes == 10 else "test"]):
        labels = [number % classes for number in range(each * classes)]
        batch = {b"data": pixels(len(labels), seed).reshape(-1, 3072), label_key: labels, b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / meta).write_bytes(pickle.dumps({meta_key: [name.encode() for name in NAMES[classes]]}, protocol=2))
    return folder


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def write_parquet(path: Path, images: list[bytes], labels: list[Any], image: str = "img", label: str = "label") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    column = pa.array(
        [{"bytes": one, "path": None} for one in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    features = {label: {"names": NAMES[10], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({image: column, label: labels}).replace_schema_metadata(metadata), path)


def write_good_parquet(root: Path, count: int = 60, **columns: str) -> None:
    for seed, split in enumerate(("train", "test")):
        images = [encode(one.transpose(1, 2, 0)) for one in pixels(count, seed)]
        write_parquet(root / f"{split}.parquet", images, [number % 10 for number in range(count)], **columns)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("form", ["folder", "inside", "archive", "archive file"])
def test_the_original_archive_is_read(tmp_path: Path, classes: int, form: str) -> None:
    inner = write_batches(tmp_path / "unpacked", classes)
    place = {"folder": inner.parent, "inside": inner}.get(form, tmp_path)
    if form.startswith("archive"):
        packed = tmp_path / ("cifar-10-python.tar.gz" if classes == 10 else "cifar-100-python.tar.gz")
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(inner, inner.name)
        place = packed if form == "archive file" else tmp_path
    data = Cifar(str(place), classes=classes)
    data.setup("test")
    assert data.input_shape == (3, 32, 32)
    assert data.classes == classes
    assert data.class_names == tuple(NAMES[classes])
    training = 4 * classes * (5 if classes == 10 else 1)
    assert data.counts["train"] + data.counts["validation"] == training
    assert data.counts["test"] == 4 * classes
    test = pixels(4 * classes, seed=5 if classes == 10 else 1)
    assert np.array_equal(data._sets["test"].images.numpy(), test)


def test_parquet_is_read_pixel_by_pixel(tmp_path: Path) -> None:
    write_good_parquet(tmp_path)
    data = Cifar(str(tmp_path))
    data.setup("test")
    assert np.array_equal(data._sets["test"].images.numpy(), pixels(60, 1))
    assert data._sets["test"].labels.tolist() == [number % 10 for number in range(60)]
    assert data.class_names == tuple(NAMES[10])


def test_parquet_in_parts_with_other_column_names_is_read(tmp_path: Path) -> None:
    images = [encode(one.transpose(1, 2, 0), "JPEG") for one in pixels(60)]
    labels = [number % 10 for number in range(60)]
    for part in range(2):
        chosen = slice(part * 30, part * 30 + 30)
        write_parquet(
            tmp_path / "data" / f"train-0000{part}-of-00002.parquet", images[chosen], labels[chosen], image="image"
        )
    data = Cifar(str(tmp_path))
    data.setup("fit")
    assert sum(data.counts.values()) == 60


def test_cifar_100_in_parquet_uses_the_fine_labels(tmp_path: Path) -> None:
    images = [encode(one.transpose(1, 2, 0)) for one in pixels(200)]
    write_parquet(tmp_path / "train.parquet", images, [number % 100 for number in range(200)], label="fine_label")
    data = Cifar(str(tmp_path), classes=100)
    data.setup("fit")
    assert data.classes == 100


def test_a_trainer_fits(tmp_path: Path, make_trainer: Callable[..., Trainer], watcher: Callable[..., Any]) -> None:
    write_batches(tmp_path, 10)
    data = Cifar(str(tmp_path), batch_size=32, cutout=8)
    model = watcher((3, 32, 32), 10)
    make_trainer().fit(model, datamodule=data)
    assert len(model.seen[0]) == data.counts["train"] // 32
    assert model.validated == data.counts["validation"]


def test_a_limit_takes_a_balanced_part_and_leaves_the_validation(tmp_path: Path) -> None:
    write_batches(tmp_path, 10)
    whole, part = Cifar(str(tmp_path)), Cifar(str(tmp_path), train_limit=25)
    whole.setup("fit"), part.setup("fit")
    assert part.counts["train"] == 25
    assert np.bincount(part._sets["train"].strata).min() == 2
    assert torch.equal(whole._sets["validation"].images, part._sets["validation"].images)


def test_evaluation_images_are_not_augmented(tmp_path: Path) -> None:
    write_batches(tmp_path, 10)
    data = Cifar(str(tmp_path), cutout=8)
    first, second = ([images for images, _ in data.val_dataloader()] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    whole = data.normalisation.apply(data._sets["validation"].images)
    assert torch.equal(torch.cat(first), whole)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the folder '.*nowhere' of CIFAR-10 does not exist"):
        Cifar(str(tmp_path / "nowhere")).setup("fit")


def test_an_empty_folder_is_refused_and_told_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no CIFAR-100: it must hold cifar-100-python.tar.gz"):
        Cifar(str(tmp_path), classes=100).setup("fit")


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="`classes` of CIFAR must be 10 or 100, but got 20"):
        Cifar(str(tmp_path), classes=20)  # type: ignore[arg-type]


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_batches(tmp_path, 10)
    (folder / "data_batch_2").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BadInput, match=r"data_batch_2' is refused: it asks for `posix.mkdir`"):
        Cifar(str(tmp_path)).setup("fit")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps([1, 2])])
def test_a_broken_batch_is_named(tmp_path: Path, content: bytes) -> None:
    folder = write_batches(tmp_path, 10)
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(BadInput, match="data_batch_3' is not a CIFAR batch"):
        Cifar(str(tmp_path)).setup("fit")


def test_a_batch_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = write_batches(tmp_path, 10)
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]}))
    with pytest.raises(BadInput, match="is not the original archive: cannot reshape"):
        Cifar(str(tmp_path)).setup("fit")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    (write_batches(tmp_path, 10) / "data_batch_4").unlink()
    with pytest.raises(BadInput, match="data_batch_4' of CIFAR is missing"):
        Cifar(str(tmp_path)).setup("fit")


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"no archive")
    with pytest.raises(BadInput, match=r"the archive '.*' cannot be read"):
        Cifar(str(tmp_path)).setup("fit")


def test_an_archive_without_a_batch_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz"):
        pass
    with pytest.raises(BadInput, match=r"has no file 'cifar-10-batches-py/batches.meta'"):
        Cifar(str(tmp_path)).setup("fit")


@pytest.mark.parametrize("content", [b"no image", encode(pixels(1)[0].transpose(1, 2, 0))[:300]])
def test_a_broken_image_is_named_by_its_row(tmp_path: Path, content: bytes) -> None:
    images = [encode(one.transpose(1, 2, 0)) for one in pixels(20)]
    images[7] = content
    write_parquet(tmp_path / "train.parquet", images, [number % 10 for number in range(20)])
    with pytest.raises(BadInput, match=r"row 7 of '.*train.parquet' is not a readable image"):
        Cifar(str(tmp_path)).setup("fit")


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    images = [encode(np.zeros((32, 32, 3), np.uint8)), encode(np.zeros((32, 30, 3), np.uint8))]
    write_parquet(tmp_path / "train.parquet", images, [0, 1])
    with pytest.raises(BadInput, match=r"one size, but row 1 of '.*' is 30x32 and row 0 of '.*' is 32x32"):
        Cifar(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([3] * 20, "at least two classes, but all its images are of class 'thing3'"),
        ([11, *([0] * 19)], r"labels from 0 to 11, but with 10 classes they must lie in 0\.\.9"),
        (["cat"] * 20, "column `label` of '.*' must hold whole numbers"),
        ([None, *([0] * 19)], "column `label` of '.*' must hold whole numbers"),
        ([], "has no images"),
    ],
)
def test_bad_labels_are_refused(tmp_path: Path, labels: list[Any], words: str) -> None:
    image = encode(np.zeros((32, 32, 3), np.uint8))
    write_parquet(tmp_path / "train.parquet", [image] * len(labels), labels)
    with pytest.raises(BadInput, match=words):
        Cifar(str(tmp_path)).setup("fit")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_good_parquet(tmp_path, image="imgs")
    with pytest.raises(BadInput, match="has no column `img`; nearest: 'imgs'"):
        Cifar(str(tmp_path)).setup("fit")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"train.parquet' is not a readable Parquet file"):
        Cifar(str(tmp_path)).setup("fit")


def test_a_missing_test_file_is_told_when_the_test_begins(tmp_path: Path) -> None:
    write_good_parquet(tmp_path)
    (tmp_path / "test.parquet").unlink()
    data = Cifar(str(tmp_path))
    data.setup("fit")
    with pytest.raises(BadInput, match=r"has no test.parquet"):
        data.test_dataloader()


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_good_parquet(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pyarrow.*invnas\[data\]"):
        Cifar(str(tmp_path)).setup("fit")
