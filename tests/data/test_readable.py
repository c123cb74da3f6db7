from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from invnas.data import DataFacts, ImageFolder
from invnas.data import readable as readable_module
from invnas.data.check import examine
from invnas.data.module import ImageDataModule
from invnas.data.readable import broken_among
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.task import load_task


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def opened(root: Path, **more: Any) -> ImageFolder:
    data = ImageFolder(str(root), image_size=8, num_workers=0, on_broken_image="skip", batch_size=4, **more)
    data.setup("test")
    return data


def files_of(data: ImageDataModule) -> dict[str, set[str]]:
    return {
        name: {Path(part.pictures.encoded(int(index))).name for index in part.indices}
        for name, part in data._sets.items()
    }


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of each of two classes, with names of their own."""
    root = tmp_path_factory.mktemp("flat")
    for label in range(2):
        (root / f"class{label}").mkdir()
        for number in range(10):
            Image.new("RGB", (6, 5), (number, label, 0)).save(root / f"class{label}" / f"{label}{number}.png")
    return root


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from([f"{label}{number}.png" for label in range(2) for number in range(10)]), max_size=4))
def test_no_broken_image_moves_another_to_another_split(flat: Path, broken: set[str]) -> None:
    whole = files_of(opened(flat))
    contents = {name: (flat / f"class{name[0]}" / name).read_bytes() for name in broken}
    try:
        for name in broken:
            (flat / f"class{name[0]}" / name).write_bytes(contents[name][:40])
        data = opened(flat)
        assert files_of(data) == {split: names - broken for split, names in whole.items()}
        assert data.left_out == tuple(sorted(f"class{name[0]}/{name}" for name in broken))
        loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
        assert all(len(list(loader)) > 0 for loader in loaders)
    finally:
        for name, content in contents.items():
            (flat / f"class{name[0]}" / name).write_bytes(content)


def test_broken_images_are_told_with_their_split(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train", "val", "test"), each=5)
    for name in ("train/class0/1.png", "val/class1/2.png", "test/class0/0.png", "test/class1/4.png"):
        (root / name).write_bytes(b"no image")
    data = ImageFolder(str(root), image_size=8, num_workers=0, on_broken_image="skip")
    data.setup("fit")
    assert data.origins == {
        "train": f"9 from '{root / 'train'}', without 1 that cannot be read",
        "validation": f"9 all of '{root / 'val'}', without 1 that cannot be read",
        "test": f"all of '{root / 'test'}', without 2 that cannot be read",
    }
    assert "test" not in data.counts
    assert set(data.left_out) == {"train/class0/1.png", "val/class1/2.png", "test/class0/0.png", "test/class1/4.png"}
    data.setup("test")
    assert data.counts == {"train": 9, "validation": 9, "test": 8}
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 8


def test_the_first_names_are_noted_and_all_are_in_the_facts(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train",), each=20)
    for number in range(7):
        (root / "train" / "class0" / f"{number}.png").write_bytes(b"")
    notes: list[str] = []
    arguments = {"root": str(root), "image_size": 8, "num_workers": 0, "on_broken_image": "skip"}
    _, facts = examine(DataSource("ImageFolder", arguments), load_task("classification").check_targets, notes.append)
    first = ", ".join(f"'train/class0/{number}.png'" for number in range(5))
    assert notes == [f"note: 7 images cannot be read and are left out: {first} and 2 more"]
    assert facts.left_out == tuple(f"train/class0/{number}.png" for number in range(7))
    assert DataFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_a_class_that_has_none_left_is_refused(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train", "test"), each=4)
    for file in (root / "test" / "class1").iterdir():
        file.write_bytes(b"no image")
    words = f"the class folder '{root / 'test' / 'class1'}' has no image left: none of its 4 can be read, such as '"
    with pytest.raises(BadInput, match=f"^{re.escape(words)}"):
        opened(root)


def test_a_class_whose_readable_images_are_all_held_out_is_refused(flat: Path, tmp_path: Path) -> None:
    whole = files_of(opened(flat))
    for label in range(2):
        (tmp_path / "some" / f"class{label}").mkdir(parents=True)
        for file in (flat / f"class{label}").iterdir():
            broken = label == 1 and file.name in whole["train"]
            (tmp_path / "some" / f"class{label}" / file.name).write_bytes(b"" if broken else file.read_bytes())
    with pytest.raises(BadInput, match="has no training image of class 'class1' that can be read: those that are not"):
        opened(tmp_path / "some")


def test_a_limit_draws_from_those_that_can_be_read(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "class0").mkdir()
    (tmp_path / "class1").mkdir()
    for number, file in enumerate(sorted(flat.rglob("*.png"))):
        (tmp_path / file.parent.name / file.name).write_bytes(b"" if number % 5 == 0 else file.read_bytes())
    assert opened(tmp_path, train_limit=8).counts["train"] == 8


def test_black_and_white_are_those_of_images_that_can_be_read(tmp_path: Path) -> None:
    for label in range(2):
        (tmp_path / f"class{label}").mkdir()
        for number in range(5):
            pixels = np.full((6, 6), 10.0 * number + label, np.float32)
            Image.fromarray(pixels).save(tmp_path / f"class{label}" / f"{number}.tif")
    torn = tmp_path / "class0" / "2.tif"
    torn.write_bytes(torn.read_bytes()[:-20])
    data = opened(tmp_path)
    assert data.left_out == ("class0/2.tif",)
    assert data.preprocessing.span == (0.0, 41.0)


def test_what_was_found_once_is_not_decoded_again(
    make_folder: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(each=6)
    bad = root / "train" / "class0" / "3.png"
    good = bad.read_bytes()
    bad.write_bytes(b"no image")
    looked: list[int] = []

    def watched(pictures: Any, indices: Any, channels: int) -> list[int]:
        looked.append(len(indices))
        return broken_among(pictures, indices, channels)

    monkeypatch.setattr(readable_module, "broken_among", watched)
    assert opened(root).left_out == opened(root).left_out == ("train/class0/3.png",)
    assert looked == [12, 1]
    bad.write_bytes(good)
    assert opened(root).left_out == ()
    assert looked == [12, 1, 12]
    (kept,) = own_cache.iterdir()
    for damage in ("", "{", "[99]", '["x"]', "3"):
        kept.write_text(damage)
        assert opened(root).left_out == ()
    assert looked == [12, 1, 12] + [12] * 5


def test_a_folder_for_caches_that_cannot_be_is_no_error(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "file"))
    root = make_folder(each=6)
    (root / "train" / "class0" / "3.png").write_bytes(b"")
    assert opened(root).left_out == ("train/class0/3.png",)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_keeps_what_can_be_read(make_folder: Callable[..., Path], own_cache: Path, cache: str) -> None:
    root = make_folder(("train", "val", "test"))
    (root / "val" / "class1" / "2.png").write_bytes(b"")
    data = opened(root, cache=cache)
    data.keep(lambda sentence: None)
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 11
