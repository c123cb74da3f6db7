from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_boxes import agreeing, picture, some_boxes
from PIL import Image

from invnas.data import BoxFolder
from invnas.data.check import examine
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.facts import DataFacts
from invnas.task import load_task

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write pictures of odd sizes with a file of boxes, or of polygons, for each; every seventh has none."""

    def write(splits: tuple[str, ...] = ("train",), each: int = 10, polygons: bool = False) -> Path:
        rng = np.random.default_rng(each)
        root = tmp_path / "shapes"
        for split in splits:
            images, labels = (root / split / kind for kind in ("images", "labels"))
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for number in range(1, each + 1):
                width, height = int(rng.integers(20, 50)), int(rng.integers(20, 50))
                boxes = some_boxes(width, height, rng) if number % 7 else []
                picture(width, height, boxes).save(images / f"{number}.png")
                if boxes:
                    lines = [line(one, width, height, polygons) for one in boxes]
                    (labels / f"{number}.txt").write_text("\n".join(lines) + "\n\n")
        (root / "classes.txt").write_text("red\ngreen\nblue\n")
        return root

    return write


def line(box: tuple[int, ...], width: int, height: int, polygon: bool) -> str:
    left, top, across, down, label = box
    right, bottom = left + across, top + down
    if polygon:
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return f"{label} " + " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in points)
    middle = (left + right) / 2 / width, (top + bottom) / 2 / height
    return f"{label} {middle[0]:.6f} {middle[1]:.6f} {across / width:.6f} {down / height:.6f}"


def opened(root: Path, **more: Any) -> BoxFolder:
    data = BoxFolder(str(root), **{"image_size": 24, "batch_size": 4, "num_workers": 0, **more})
    data.setup("fit")
    return data


def said(root: Path, **more: Any) -> str:
    with pytest.raises(BadInput) as error:
        for _ in opened(root, **more).train_dataloader():
            pass
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{root}/", "")


@pytest.mark.parametrize("kinds_first", [False, True])
@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        ((".",), {"train": 6, "validation": 2, "test": 2}),
        (("train",), {"train": 6, "validation": 2, "test": 2}),
        (("train", "val"), {"train": 8, "validation": 10, "test": 2}),
        (("training", "valid", "testing"), {"train": 10, "validation": 10, "test": 10}),
    ],
)
def test_every_layout_is_found_and_what_lacks_is_held_out(
    make: Make, splits: tuple[str, ...], counts: dict[str, int], kinds_first: bool
) -> None:
    root = make(splits)
    if kinds_first and splits != (".",):  # images/train and labels/train
        for split in splits:
            for kind in ("images", "labels"):
                (root / kind).mkdir(exist_ok=True)
                (root / split / kind).rename(root / kind / split)
            (root / split).rmdir()
    data = opened(root)
    assert set(data.counts) == {"train", "validation"}
    data.setup("test")
    assert data.counts == counts
    assert (data.input_shape, data.classes, data.class_names) == ((3, 24, 24), 3, ("red", "green", "blue"))
    assert (data.class_counts, data.preprocessing.crop) == (None, 1)
    paths = {
        images.pairs.pictures.paths[index]  # type: ignore[attr-defined]
        for images in data._sets.values()
        for index in images.indices  # type: ignore[attr-defined]
    }
    assert len(paths) == sum(counts.values())


def test_names_of_splits_may_go_on_beside_their_labels(make: Make) -> None:
    root = make(("train", "val"))
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind).mkdir(exist_ok=True)
            (root / split / kind).rename(root / kind / f"{split}2017")
    assert opened(root).counts == {"train": 8, "validation": 10}
    (root / "images" / "train2017").rename(root / "train2017")
    assert said(root) == "'images' has a folder 'val2017' but none with training images: call theirs 'train'"


def test_text_files_of_other_systems_are_read(make: Make) -> None:
    root = make()
    counted = opened(root).origins["train"]
    labels = root / "train" / "labels"
    (labels / "1.txt").rename(labels / "1.TXT")
    for file in (root / "classes.txt", labels / "2.txt"):
        file.write_text(file.read_text(), encoding="utf-8-sig")  # with a byte order mark
    found = opened(root)
    assert found.class_names == ("red", "green", "blue")
    assert found.origins["train"] == counted
    assert said(root, class_names=["a", "b", "a"]) == "`class_names` has two classes 'a': each needs a name of its own"


def test_test_images_may_lie_in_any_folder(make: Make) -> None:
    data = opened(make(("train", "val")), test_folder="val")
    data.setup("test")
    assert data.counts == {"train": 8, "validation": 2, "test": 10}
    assert said(data.root, test_folder="vall") == f"`test_folder` is 'vall', but '{data.root}' has no such folder"


@pytest.mark.parametrize("polygons", [False, True])
def test_boxes_and_masks_lie_where_their_colour_does(make: Make, polygons: bool) -> None:
    data = opened(make(("train", "valid"), 40, polygons), image_size=[32, 40], masks=polygons)
    check = load_task("detection").check_targets(DataFacts((3, 32, 40), 3))
    for training, loader in ((True, data.train_dataloader()), (False, data.val_dataloader())):
        count = empty = 0
        for images, targets in loader:
            check(targets, len(images), training)
            count += agreeing(images, targets, data)
            for target in targets:
                assert set(target) == {"boxes", "labels"} | ({"masks"} if polygons else set())
                empty += not len(target["labels"])
        assert count > 20
        assert empty


def test_boxes_are_those_that_were_written(make: Make) -> None:
    root = make()
    Image.new("RGB", (200, 100), (9, 9, 9)).save(root / "train/images/1.png")
    (root / "train/labels/1.txt").write_text("2 0.5 0.5 0.25 0.5\n0 1 1 0.5 0.5\n1\t.1 .2 .3 .2 .3 .6\n")
    data = opened(root, on_broken_box="clip")
    pairs: Any = data._sets["train"].pairs  # type: ignore[attr-defined]
    objects = pairs.opened(0)[1]
    assert objects.boxes.tolist() == [[75, 25, 125, 75], [150, 75, 200, 100], [20, 20, 60, 60]]
    assert objects.labels.tolist() == [2, 0, 1]


def test_an_image_without_a_file_or_with_an_empty_one_has_no_objects(make: Make) -> None:
    root = make()
    (root / "train/labels/1.txt").write_text(" \n")
    (root / "train/labels/2.txt").unlink()
    pairs: Any = opened(root)._sets["train"].pairs  # type: ignore[attr-defined]
    none = {file for file, one in zip(pairs.pictures.paths, pairs.objects, strict=True) if not len(one)}
    assert none == {str(root / f"train/images/{number}.png") for number in (1, 2, 7)}
    for file in (root / "train/labels").iterdir():
        file.unlink()
    assert said(root) == "'train' (0 objects) has no object in any of its 10 images"


def test_classes_are_named_in_a_file_or_an_argument(make: Make) -> None:
    root = make()
    (root / "train/labels/classes.txt").write_text("what a program has left\n")
    assert opened(root, class_names=["r", "g", "b"]).class_names == ("r", "g", "b")
    (root / "data.yaml").write_text("train: ../train/images\nnc: 3\nnames: ['un', 'deux', 'trois']\n")
    assert opened(root).class_names == ("un", "deux", "trois")
    (root / "data.yaml").write_text("names:\n  0: un\n  2: trois\n  1: deux\n")
    assert opened(root).class_names == ("un", "deux", "trois")
    for text in ("names: 3", "names: []", "names: {1: a}", "nc: 3", "3", ""):
        (root / "data.yaml").write_text(text)
        assert said(root).startswith(
            "`names` in 'data.yaml' must be a list of names, or a name for each number from 0,"
        )
    (root / "data.yaml").write_text("names: [")
    assert said(root).startswith("'data.yaml' cannot be read: ")
    (root / "data.yaml").unlink()
    (root / "classes.txt").unlink()
    assert said(root).startswith(f"nothing names the classes of '{root}': give `class_names`, or write data.yaml with")
    assert said(root, class_names="red").startswith("`class_names` must be a list of names, or a name for each number")
    # One class is enough for boxes.
    (root / "classes.txt").write_text("thing\n")
    for file in (root / "train/labels").iterdir():
        file.write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "train/labels/classes.txt").unlink()
    source = DataSource("BoxFolder", {"root": str(root), "image_size": 24, "num_workers": 0})
    assert examine(source, load_task("detection").check_targets)[1].class_names == ("thing",)


CLIP = "; `on_broken_box: clip` clips boxes to their image, and leaves out those of which nothing is left"
FORM = (
    "it must be a class and four numbers (x and y of the centre of a box, its width and height), or a class and the x "
    "and y of at least three points"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.5 0.2", f"is '0 0.5 0.5 0.2': {FORM}"),
        ("0 0.5 0.5 0.2 0.2 0.9", f"is '0 0.5 0.5 0.2 0.2 0.9': {FORM}"),
        ("0 0.1 0.1 0.5 0.5 0.2 0.2 0.9", f"is '0 0.1 0.1 0.5 0.5 0.2 0.2 0.9': {FORM}"),
        ("0 0.5 0.5 0.2 nan", f"is '0 0.5 0.5 0.2 nan': {FORM}"),
        ("0,0.5,0.5,0.2,0.2", f"is '0,0.5,0.5,0.2,0.2': {FORM}"),
        ("red 0.5 0.5 0.2 0.2", f"is 'red 0.5 0.5 0.2 0.2': {FORM}"),
        ("3 0.5 0.5 0.2 0.2", "has the class 3, but with 3 classes they are whole numbers in 0..2"),
        ("-1 0.5 0.5 0.2 0.2", "has the class -1, but with 3 classes they are whole numbers in 0..2"),
        ("0.5 0.5 0.5 0.2 0.2", "has the class 0.5, but with 3 classes they are whole numbers in 0..2"),
        ("0 0.5 0.5 0 0.2", f"has a box of 0 x 0.2, which has no area{CLIP}"),
        ("0 0.5 0.5 0.2 -0.2", "has a box of 0.2 x -0.2, which has no area"),
        ("0 0.5 0.5 0.5 0.5 0.5 0.6", f"has a polygon of 0 x 0.1, which has no area{CLIP}"),
        (
            "0 0.5 0.5 0.2 1.2",
            f"has a box of 0.2 x 1.2 from 0.4, -0.1, 0.6, 1.1, which reaches beyond its image, 0 to 1{CLIP}",
        ),
        (
            "0 1.001 0.5 0.001 0.2",
            f"has a box of 0.001 x 0.2 from 1.0005, 0.4, 1.0015, 0.6, which reaches beyond its image, 0 to 1{CLIP}",
        ),
        (
            "0 120 80 40 30",
            "has a box of 40 x 30 from 100, 65, 140, 95, which reaches beyond its image, 0 to 1: numbers are shares of "
            f"the sides of the image, not pixels{CLIP}",
        ),
        (
            "0 0.5 0.5 0.7 0.5 0.7 1.6",
            f"has a polygon of 0.2 x 1.1 from 0.5, 0.5, 0.7, 1.6, which reaches beyond its image, 0 to 1{CLIP}",
        ),
    ],
)
def test_a_line_that_cannot_be_is_told(make: Make, text: str, words: str) -> None:
    root = make()
    (root / "train/labels/3.txt").write_text(f"0 0.5 0.5 0.2 0.2\n\n{text}\n")
    assert said(root) == f"line 3 of 'train/labels/3.txt' {words}"


def test_a_box_beyond_its_image_may_be_clipped(make: Make) -> None:
    root = make()
    (root / "train/labels/1.txt").write_text("0 0.5 0.5 1.002 1.003\n")  # rounding
    assert opened(root)._sets["train"].pairs.objects[0].boxes.tolist() == [[0, 0, 1, 1]]  # type: ignore[attr-defined]
    (root / "train/labels/1.txt").write_text("0 0.5 0.5 0.5 1.5\n0 1.5 0.5 0.5 0.5\n0 0.5 0.5 0 0.5\n")
    data = opened(root, on_broken_box="clip")
    assert data._sets["train"].pairs.objects[0].boxes.tolist() == [[0.25, 0, 0.75, 1]]  # type: ignore[attr-defined]
    assert "objects; left out are 2 boxes of which nothing is in their image)" in data.origins["train"]


def test_masks_need_polygons(make: Make) -> None:
    root = make()
    assert said(root, masks=True) == (
        "line 1 of 'train/labels/1.txt' has a box, but `masks` is true: it must be a class and a polygon"
    )


def test_folders_that_are_not_as_they_should_be(make: Make, tmp_path: Path) -> None:
    assert said(tmp_path / "none") == f"the image folder '{tmp_path / 'none'}' does not exist"
    root = make()
    (root / "train/labels/0.txt").write_text("")
    assert said(root) == (
        "'train/labels' has 1 files without an image in 'train/images': '0.txt'; both have one name, but for the ending"
    )
    (root / "train/labels/0.txt").write_bytes(b"\xff\xfe")
    Image.new("RGB", (9, 9)).save(root / "train/images/0.png")
    assert said(root).startswith("'train/labels/0.txt' cannot be read: ")
    (root / "train/labels").rename(root / "train/boxes")
    assert said(root) == (
        "images lie in 'train/images' and their objects in 'train/labels', but there is no folder 'train/labels'"
    )
    (root / "train").rename(root / "val")
    assert said(root) == f"'{root}' has a folder 'val' but none with training images: call theirs 'train'"
    empty = tmp_path / "empty"
    for kind in ("images", "labels"):
        (empty / kind).mkdir(parents=True)
    assert said(empty, class_names=["a"]) == "'images' has no images"


def test_broken_images_are_refused_or_left_out(make: Make) -> None:
    root = make(("train", "test"))
    (root / "train/images/3.png").write_bytes(b"none")
    (root / "test/images/6.png").write_bytes(b"none")
    assert said(root).endswith("; `on_broken_image: skip` leaves such images out")
    data = opened(root, on_broken_image="skip")
    assert data.left_out == ("train/images/3.png", "test/images/6.png")
    data.setup("test")
    assert sum(data.counts.values()) == 18
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for _ in loader:
            pass


def test_the_fingerprint_is_that_of_pictures_and_objects(make: Make) -> None:
    root = make()
    before = opened(root).fingerprint()
    assert opened(root, num_workers=1).fingerprint() == before
    file = root / "train/labels/1.txt"
    file.write_text(file.read_text() + "0 0.5 0.5 0.1 0.1\n")
    assert opened(root).fingerprint() != before


def test_workers_read_what_the_process_reads(make: Make) -> None:
    root = make(polygons=True)
    one, other = (list(opened(root, num_workers=workers, masks=True).train_dataloader()) for workers in (0, 1))
    for (images, targets), (theirs, found) in zip(one, other, strict=True):
        assert torch.equal(images, theirs)
        for target, mine in zip(targets, found, strict=True):
            assert all(torch.equal(target[name], mine[name]) for name in ("boxes", "labels", "masks"))
