from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_boxes import agreeing, picture, some_boxes
from PIL import Image

from invnas.data import CocoFiles
from invnas.data.check import examine
from invnas.data.source import load_data
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.facts import DataFacts
from invnas.task import load_task

Make = Callable[..., Path]

#: Out of order and with gaps: labels are 0 for 3, 1 for 7, 2 for 90.
CATEGORIES = [{"id": 7, "name": "green"}, {"id": 90, "name": "blue"}, {"id": 3, "name": "red"}]
NUMBERS = (3, 7, 90)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))


def annotated(folder: Path, each: int, first: int = 1) -> dict[str, Any]:
    """Draw pictures of odd sizes into a folder, and return what COCO would say of them; every seventh has no object."""
    rng = np.random.default_rng(each)
    folder.mkdir(parents=True, exist_ok=True)
    images: list[Any] = []
    annotations: list[Any] = []
    for number in range(first, first + each):
        width, height = int(rng.integers(20, 50)), int(rng.integers(20, 50))
        boxes = some_boxes(width, height, rng) if number % 7 else []
        picture(width, height, boxes).save(folder / f"{number}.png")
        images.append({"id": 10 * number, "file_name": f"{number}.png", "width": width, "height": height})
        for left, top, across, down, label in boxes:
            right, bottom = left + across, top + down
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 * number,
                    "category_id": NUMBERS[label],
                    "bbox": [left, top, across, down],
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                    "iscrowd": 0,
                }
            )
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write splits with their annotations beside the images."""

    def write(splits: tuple[str, ...] = ("train",), each: int = 10, name: str = "_annotations.coco.json") -> Path:
        for split in splits:
            data = annotated(tmp_path / "shapes" / split, each)
            (tmp_path / "shapes" / split / name).write_text(json.dumps(data))
        return tmp_path / "shapes"

    return write


def opened(root: Path, **more: Any) -> CocoFiles:
    data = CocoFiles(str(root), **{"image_size": 24, "batch_size": 4, "num_workers": 0, **more})
    data.setup("fit")
    return data


def said(root: Path, **more: Any) -> str:
    with pytest.raises(BadInput) as error:
        for _ in opened(root, **more).train_dataloader():
            pass
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{root}/", "")


def change(root: Path, **lists: Any) -> dict[str, Any]:
    """Write the annotation file of the training images anew with other lists."""
    file = root / "train/_annotations.coco.json"
    data = {**json.loads(file.read_text()), **lists}
    file.write_text(json.dumps(data))
    return data


def with_first(root: Path, **entries: Any) -> None:
    """Change the first annotation; None takes an entry away."""
    first, *others = json.loads((root / "train/_annotations.coco.json").read_text())["annotations"]
    first = {key: value for key, value in {**first, **entries}.items() if value is not None}
    change(root, annotations=[first, *others])


def paths_of(data: CocoFiles) -> list[str]:
    return [
        images.pairs.pictures.paths[index]  # type: ignore[attr-defined]
        for images in data._sets.values()
        for index in images.indices  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("name", ["_annotations.coco.json", "annotations.json", "result.json"])
@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        ((".",), {"train": 6, "validation": 2, "test": 2}),
        (("train",), {"train": 6, "validation": 2, "test": 2}),
        (("train", "valid"), {"train": 8, "validation": 10, "test": 2}),
        (("training", "val", "testing"), {"train": 10, "validation": 10, "test": 10}),
    ],
)
def test_every_layout_is_found_and_what_lacks_is_held_out(
    make: Make, splits: tuple[str, ...], counts: dict[str, int], name: str
) -> None:
    data = opened(make(splits, name=name))
    assert set(data.counts) == {"train", "validation"}
    data.setup("test")
    assert data.counts == counts
    assert (data.input_shape, data.classes, data.class_names) == ((3, 24, 24), 3, ("red", "green", "blue"))
    assert data.class_counts is None
    assert data.preprocessing.crop == 1
    assert len(set(paths_of(data))) == sum(counts.values())


def test_the_layout_of_coco_is_found(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for name in ("train2017", "val2017"):
        data = annotated(root / name, 10)
        (root / f"annotations/instances_{name}.json").write_text(json.dumps(data))
        (root / f"annotations/captions_{name}.json").write_text("{}")
    (root / "annotations/image_info_test2017.json").write_text("{}")
    data = opened(root)
    data.setup("test")
    assert data.counts == {"train": 8, "validation": 10, "test": 2}
    objects = len(json.loads((root / "annotations/instances_val2017.json").read_text())["annotations"])
    assert data.origins["validation"] == f"10 all of '{root}/annotations/instances_val2017.json' ({objects} objects)"
    assert all("/train2017/" in path or "/val2017/" in path for path in paths_of(data))
    (root / "images").mkdir()
    for name in ("train2017", "val2017"):
        (root / name).rename(root / "images" / name)
    assert opened(root).counts == {"train": 8, "validation": 10}
    (root / "annotations/instances_train2014.json").write_text("{}")
    assert said(root) == (
        "'annotations' has two files of the train images, instances_train2014.json and "
        "instances_train2017.json: `annotations` says which"
    )
    for file in (root / "annotations").glob("*train*"):
        file.unlink()
    assert "has 'instances_val2017.json', but no file of the training images" in said(root)


def test_one_file_among_annotations_has_all_images(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_default.json").write_text(json.dumps(annotated(tmp_path / "images", 10)))
    assert opened(tmp_path).counts == {"train": 6, "validation": 2}


def test_files_and_folders_may_be_said(tmp_path: Path) -> None:
    root = tmp_path / "odd"
    data = annotated(root / "photos", 10)
    (root / "one.json").write_text(json.dumps(data))
    (root / "two.json").write_text(json.dumps(annotated(root / "more", 5, 11)))
    assert (
        said(root)
        == f"'{root}' has two annotation files, one.json and two.json: `annotations` names those of all splits"
    )
    assert opened(root, annotations="one.json", images="photos").counts == {"train": 6, "validation": 2}
    told = {"annotations": {"train": "one.json", "test": "two.json"}, "images": {"train": "photos", "test": "more"}}
    data_ = opened(root, **told)
    data_.setup("test")
    assert data_.counts == {"train": 8, "validation": 2, "test": 5}
    assert said(root, annotations="one.json") == (
        f"'one.json' names 10 images, but none is in '{root}' nor in 'images' nor in 'data': '1.png', '2.png', '3.png' "
        "and 7 more; `images` says where they are"
    )
    assert said(root, annotations="none.json") == f"`annotations` is 'none.json', but '{root}' has no such file"
    assert said(root, annotations="one.json", images="foto") == f"`images` is 'foto', but '{root}' has no such folder"
    # Absolute paths need no root of their own.
    assert opened(root, annotations=str(root / "one.json"), images=str(root / "photos")).counts["train"] == 6


def test_no_annotation_file_is_told(make: Make, tmp_path: Path) -> None:
    assert said(tmp_path / "none") == f"the image folder '{tmp_path / 'none'}' does not exist"
    (tmp_path / "empty").mkdir()
    assert said(tmp_path / "empty").startswith(f"'{tmp_path}/empty' has no annotation file: neither train/_annot")
    root = make(("train", "valid"))
    (root / "valid/_annotations.coco.json").unlink()
    assert said(root).startswith("'valid' has no annotation file, _annotations.coco.json, annotations.json or any one")


@pytest.mark.parametrize("masks", [False, True])
def test_boxes_and_masks_lie_where_their_colour_does(make: Make, masks: bool) -> None:
    root = make(("train", "valid"), each=40)
    data = opened(root, image_size=[32, 40], scales=[0.5, 2.0], masks=masks)
    for training, loader in ((True, data.train_dataloader()), (False, data.val_dataloader())):
        count = empty = 0
        for images, targets in loader:
            assert images.is_contiguous(memory_format=torch.channels_last)
            check = load_task("detection").check_targets(DataFacts((3, 32, 40), 3))
            check(targets, len(images), training)
            count += agreeing(images, targets, data)
            for target in targets:
                assert set(target) == {"boxes", "labels"} | ({"masks"} if masks else set())
                assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
                empty += not len(target["labels"])
        assert count > 20
        assert empty


def test_an_epoch_is_seeds_and_epochs_with_any_number_of_workers(make: Make) -> None:
    root = make(each=12)

    def epoch(number: int, workers: int = 0) -> list[torch.Tensor]:
        loader = opened(root, num_workers=workers).train_dataloader()
        loader.sampler.set_epoch(number)
        return [part for images, targets in loader for part in (images, *(one["boxes"] for one in targets))]

    for one, other in zip(epoch(3), epoch(3, workers=1), strict=True):
        assert torch.equal(one, other)
    assert any(not torch.equal(one, other) for one, other in zip(epoch(3)[::5], epoch(4)[::5], strict=True))


def test_training_and_validation_images_may_be_trained_on_together(make: Make) -> None:
    data = opened(make(("train", "valid")), masks=True)
    seen = list(data.all_data_dataloader())
    assert sum(len(images) for images, _ in seen) == 18
    assert sum(agreeing(*batch, data) for batch in seen) > 5


def test_the_fingerprint_is_that_of_pictures_and_objects(make: Make) -> None:
    root = make()
    prints = {opened(root).fingerprint(), opened(root, masks=True).fingerprint()}
    assert opened(root).fingerprint() in prints
    data = change(root)
    data["annotations"][0]["bbox"][2] -= 1
    change(root, annotations=data["annotations"])
    prints.add(opened(root).fingerprint())
    data["annotations"][0]["category_id"] = {3: 7, 7: 3, 90: 7}[data["annotations"][0]["category_id"]]
    change(root, annotations=data["annotations"])
    prints.add(opened(root).fingerprint())
    assert len(prints) == 4


def test_some_categories_may_be_the_classes(make: Make) -> None:
    root = make(each=40)
    data = opened(root, class_names=["blue", "red"])
    assert (data.classes, data.class_names) == (2, ("blue", "red"))
    green = sum(one["category_id"] == 7 for one in change(root)["annotations"])
    assert f"left out are {green} objects of other categories)" in data.origins["train"]
    assert {int(one) for _, targets in data.train_dataloader() for t in targets for one in t["labels"]} == {0, 1}
    assert said(root, class_names=["bleu"]) == (
        "'train/_annotations.coco.json' has no category 'bleu', which `class_names` asks for; nearest: 'blue'; valid: "
        "green, blue, red"
    )
    # One class is enough for boxes.
    source = DataSource("CocoFiles", {"root": str(root), "class_names": ["blue"], "image_size": 24, "num_workers": 0})
    facts = examine(source, load_task("detection").check_targets)[1]
    assert (facts.classes, facts.class_names) == (1, ("blue",))


def test_crowds_are_left_out(make: Make) -> None:
    root = make()
    before = sum(map(len, opened(root)._sets["train"].pairs.objects))  # type: ignore[attr-defined]
    with_first(root, iscrowd=1, segmentation={"counts": [1, 2], "size": [1, 3]}, bbox=[0, 0, 1, 1])
    data = opened(root, masks=True)
    assert sum(map(len, data._sets["train"].pairs.objects)) == before - 1  # type: ignore[attr-defined]
    assert f"({before - 1} objects; left out are 1 crowds (`iscrowd`))" in data.origins["train"]


def test_one_image_with_one_object_of_a_pixel_or_of_its_size(tmp_path: Path) -> None:
    for box in ([0, 0, 30, 20], [29, 19, 1, 1]):
        folder = tmp_path / f"{box[2]}"
        images = [{"id": n, "file_name": f"{n}.png", "width": 30, "height": 20} for n in range(4)]
        for one in images:
            folder.mkdir(exist_ok=True)
            Image.new("RGB", (30, 20), (int(one["id"]), 90, 0)).save(folder / str(one["file_name"]))
        annotations = [{"id": n, "image_id": n, "category_id": 1, "bbox": box} for n in range(4)]
        data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
        (folder / "annotations.json").write_text(json.dumps(data))
        found = opened(folder, image_size=[20, 30], scales=[1, 1], flip=False)
        ((_, targets),) = found.val_dataloader()
        assert [one["boxes"].tolist() for one in targets] == [[[box[0], box[1], box[0] + box[2], box[1] + box[3]]]]
        assert found.counts["train"] == 2
        change_ = {**data, "images": images[:1], "annotations": annotations[:1]}
        (folder / "annotations.json").write_text(json.dumps(change_))
        assert "has too few images: 1 to train and 0 to validate after the split" in said(folder)


def test_an_object_of_which_too_little_is_seen_is_left_out(tmp_path: Path) -> None:
    # The centre of 40 x 20 is columns 10 to 29: 3 of 10 columns are enough, 2.9 are not, and neither is half a pixel.
    boxes = [[3, 0, 10, 20], [3, 0, 9.9, 20], [12, 3, 0.6, 5], [12, 3, 0.4, 5], [30, 0, 5, 5]]
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 20} for n in range(5)]
    for one in images:
        Image.new("RGB", (40, 20), (int(one["id"]), 90, 0)).save(tmp_path / str(one["file_name"]))
    annotations = [
        {"image_id": image, "category_id": number, "bbox": box}
        for image in range(5)
        for number, box in enumerate(boxes)
    ]
    names = [{"id": number, "name": str(number)} for number in range(len(boxes))]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    ((_, (target,)),) = opened(tmp_path, image_size=20).val_dataloader()
    assert target["labels"].tolist() == [0, 2]
    assert torch.allclose(target["boxes"], torch.tensor([[0, 0, 3, 20], [2, 3, 2.6, 8]]))


def test_a_camera_may_have_been_turned(make: Make) -> None:
    root = make()
    exif = Image.Exif()
    exif[0x0112] = 6
    data = change(root)
    for one in data["images"]:
        file = root / "train" / one["file_name"]
        upright = Image.open(file).convert("RGB")
        file.unlink()
        one["file_name"] = f"{one['file_name']}.jpg"
        upright.transpose(Image.Transpose.ROTATE_90).save(root / "train" / one["file_name"], exif=exif, quality=100)
    change(root, images=data["images"])
    found = opened(root)
    assert sum(agreeing(*batch, found) for batch in found.val_dataloader()) > 0
    one = data["images"][0]
    one["width"], one["height"] = one["height"], one["width"]
    change(root, images=data["images"])
    assert said(root) == (
        f"the image 'train/1.png.jpg' is {one['height']} x {one['width']} pixels once it is turned the way its camera "
        f"says, but 'train/_annotations.coco.json' says {one['width']} x {one['height']}: the boxes would lie elsewhere"
    )


def test_broken_images_are_refused_or_left_out(make: Make) -> None:
    root = make(("train", "test"))
    (root / "train/3.png").write_bytes(b"none")
    (root / "test/7.png").write_bytes(b"none")
    assert said(root).endswith("; `on_broken_image: skip` leaves such images out")
    data = opened(root, on_broken_image="skip")
    assert data.left_out == ("train/3.png", "test/7.png")
    data.setup("test")
    assert sum(data.counts.values()) == 18
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for _ in loader:
            pass
    for number in range(1, 11):
        (root / "test" / f"{number}.png").write_bytes(b"none")
    assert said(root, on_broken_image="skip") == (
        "'test/_annotations.coco.json' has no image left: none of its 10 can be read"
    )


FILE = "'train/_annotations.coco.json'"
NO_COCO = f"{FILE} is no annotation file of COCO, which is an object with the lists 'images', 'annotations' and"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", f"{NO_COCO} 'categories': it lacks 'images' and 'annotations' and 'categories'"),
        ("[]", f"{NO_COCO} 'categories': it is a list"),
        ("7", f"{NO_COCO} 'categories': it is a number"),
        ('{"images": 3, "annotations": [], "categories": []}', f"{NO_COCO} 'categories': it lacks 'images'"),
        (
            "",
            f"{FILE[1:-1]} is malformed: it is not valid JSON: Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
def test_what_is_no_annotation_file_is_told(make: Make, text: str, words: str) -> None:
    root = make()
    (root / "train/_annotations.coco.json").write_text(text)
    assert said(root) == words


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"images": []}, f"{FILE} has no images: the list is empty"),
        ({"annotations": []}, f"{FILE} has no annotations: the list is empty"),
        ({"categories": []}, f"{FILE} has no categories: the list is empty"),
        ({"categories": [{"id": 3}]}, f"category 1 of {FILE} must have a `name`, but it is None"),
        ({"categories": ["red"]}, f"category 1 of {FILE} must be an object, but is 'red'"),
        (
            {"categories": [{"id": "3", "name": "a"}]},
            f"category 1 of {FILE} must have a whole number as `id`, but it is '3'",
        ),
        (
            {"categories": [*CATEGORIES, {"id": 3, "name": "rot"}]},
            f"{FILE} has two categories of the id 3: 'red', 'rot'",
        ),
        ({"images": [{"id": 10}]}, f"the image 10 of {FILE} must have a `file_name`, but it is None"),
        (
            {"images": [{"id": 10, "file_name": "1.png", "height": 3}]},
            f"the image 10 of {FILE}, '1.png', must have its `width` in pixels, but it is None",
        ),
        (
            {"images": [{"id": 10, "file_name": "1.png", "height": 3, "width": 2.5}]},
            f"the image 10 of {FILE}, '1.png', must have its `width` in pixels, but it is 2.5",
        ),
        (
            {"images": [{"id": 10, "file_name": f"{n}.png", "height": 3, "width": 2} for n in (1, 2)]},
            f"{FILE} has two images of the id 10: '1.png', '2.png'",
        ),
        (
            {"images": [{"id": n, "file_name": "1.png", "height": 3, "width": 2} for n in (1, 2)]},
            f"{FILE} has two images of the `file_name` '1.png'",
        ),
        (
            {"categories": [{"id": n, "name": "red"} for n in (7, 3)]},
            f"{FILE} has two categories 'red': each needs a name of its own",
        ),
        ({"annotations": [3]}, f"annotation 1 of {FILE} must be an object, but is 3"),
    ],
)
def test_lists_that_cannot_be_are_told(make: Make, lists: Mapping[str, Any], words: str) -> None:
    root = make()
    change(root, **lists)
    assert said(root) == words


FIRST = f"the annotation 1 of {FILE}"
CLIP = "; `on_broken_box: clip` clips boxes to their image, and leaves out those of which nothing is left"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"id": 2}, f"{FILE} has two annotations of the id 2"),
        ({"id": "a"}, f"annotation 1 of {FILE} must have a whole number as `id`, but it is 'a'"),
        ({"image_id": 11}, f"{FIRST} is of the image 11, which is not among its `images`"),
        ({"image_id": None}, f"{FIRST} must have a whole number as `image_id`, but it is None"),
        (
            {"category_id": 0},
            f"{FIRST} is of the category 0, which is not among its `categories`: 3 'red', 7 'green', 90 'blue'",
        ),
        (
            {"bbox": [3, 4, 0, 5]},
            f"{FIRST} has the box [3, 4, 0, 5] of no area: `bbox` is [left, top, width, height]{CLIP}",
        ),
        (
            {"bbox": [3, 4, -2, 5]},
            f"{FIRST} has the box [3, 4, -2, 5] of no area: `bbox` is [left, top, width, height]",
        ),
        (
            {"bbox": [3, 4, 2, float("nan")]},
            f"{FIRST} must have a `bbox` [left, top, width, height] of finite numbers, but it is [3, 4, 2, nan]",
        ),
        (
            {"bbox": [3, 4, 2]},
            f"{FIRST} must have a `bbox` [left, top, width, height] of finite numbers, but it is [3, 4, 2]",
        ),
        (
            {"bbox": [3, 4, 2, 10**400]},
            f"{FIRST} must have a `bbox` [left, top, width, height] of finite numbers, but it is [3, 4, 2, 1"
            + "0" * 69,
        ),
        (
            {"bbox": [3, 4, 2, True]},
            f"{FIRST} must have a `bbox` [left, top, width, height] of finite numbers, but it is [3, 4, 2, True]",
        ),
        ({"bbox": None}, f"{FIRST} must have a `bbox` [left, top, width, height] of finite numbers, but it is None"),
    ],
)
def test_annotations_that_cannot_be_are_told(make: Make, entries: Mapping[str, Any], words: str) -> None:
    root = make()
    with_first(root, **entries)
    assert said(root) == words


def test_a_box_beyond_its_image_is_refused_or_clipped(make: Make) -> None:
    root = make()
    image = change(root)["images"][0]
    width, height = image["width"], image["height"]
    for box in ([-1, -0.5, width + 2, height + 1.5], [0, 0, width, height]):
        with_first(root, bbox=box)
        train = opened(root, image_size=[height, width])._sets["train"]
        assert train.pairs.objects[0].boxes[0].tolist() == [0, 0, width, height]  # type: ignore[attr-defined]
    box = [3, 4, width - 1, 5]
    with_first(root, bbox=box)
    assert said(root) == (
        f"{FIRST} has the box {box}, which reaches beyond its image '1.png' of {width} x {height} pixels: `bbox` is "
        f"[left, top, width, height]{CLIP}"
    )
    with_first(root, bbox=[width + 0.2, 4, 0.5, 5])  # within what rounding may be, and yet not in its image
    assert said(root).startswith(f"{FIRST} has the box {[width + 0.2, 4, 0.5, 5]}, which reaches beyond its image")
    with_first(root, bbox=[3, 4, 1e-20, 5])
    assert said(root) == f"{FIRST} has the box [3, 4, 1e-20, 5] of no area: `bbox` is [left, top, width, height]{CLIP}"
    with_first(root, bbox=box)
    train = opened(root, on_broken_box="clip")._sets["train"]
    assert train.pairs.objects[0].boxes[0].tolist() == [3, 4, width, 9]  # type: ignore[attr-defined]
    objects = len(change(root)["annotations"])
    for box in ([3, 4, 5, 0], [-7, 4, 5, 3], [3, height, 5, 4]):
        with_first(root, bbox=box)
        data = opened(root, on_broken_box="clip")
        assert (
            f"({objects - 1} objects; left out are 1 boxes of which nothing is in their image)" in data.origins["train"]
        )
    with_first(root, bbox=[3, 4, -5, 1])
    assert said(root, on_broken_box="clip").startswith(f"{FIRST} has the box [3, 4, -5, 1] of no area")


def test_an_image_that_is_missing_or_of_another_size_is_told(make: Make) -> None:
    root = make()
    (root / "train/4.png").unlink()
    assert said(root) == f"{FILE} names 1 images that are not in '{root}/train': '4.png'".replace(f"{root}/", "")
    Image.new("RGB", (7, 9)).save(root / "train/4.png")
    one = change(root)["images"][3]
    assert said(root) == (
        f"the image 'train/4.png' is 7 x 9 pixels, but {FILE} says {one['width']} x {one['height']}: the boxes would "
        "lie elsewhere"
    )


def test_masks_need_outlines(make: Make) -> None:
    root = make()
    with_first(root, segmentation=[])
    assert opened(root).classes == 3
    assert said(root, masks=True).startswith(f"{FIRST} has no `segmentation`, but `masks` is true")
    with_first(root, segmentation=[[1, 1, 2, 2]])
    assert said(root, masks=True) == f"{FIRST} has a polygon of 2 points, but 3 are the fewest: [1, 1, 2, 2]"


def test_all_splits_have_the_categories_of_the_training_images(make: Make) -> None:
    root = make(("train", "valid"))
    change(root, categories=[*CATEGORIES[:2], {"id": 3, "name": "rot"}])
    assert said(root) == (
        "'valid/_annotations.coco.json' calls its category 3 'red', but that of the training images is 'rot': all "
        "splits must have one list of categories"
    )
    change(root, categories=CATEGORIES[:2], annotations=[change(root)["annotations"][0] | {"category_id": 7}])
    assert "calls its category 3 'red', but that of the training images is missing: all splits" in said(root)


def test_a_size_before_it_is_turned_is_told_where_no_training_meets_it(make: Make) -> None:
    """Programs that know nothing of cameras write it, and then the size in the header is theirs."""
    root = make()
    data, held = change(root), opened(root)._sets["validation"].indices[0]  # type: ignore[attr-defined]
    one = data["images"][held]
    file, exif = root / "train" / one["file_name"], Image.Exif()
    exif[0x0112] = 6
    with Image.open(file) as picture:
        picture.convert("RGB").save(file.with_suffix(".jpg"), exif=exif)
    one["file_name"] = f"{file.stem}.jpg"
    change(root, images=data["images"])
    data_module = CocoFiles(str(root), image_size=24, batch_size=4, num_workers=0)
    with pytest.raises(BadInput, match="once it is turned the way its camera says, but "):
        data_module.setup("fit")


def test_splits_without_objects_are_no_task(make: Make) -> None:
    root = make()
    data, found = change(root), opened(root)
    found.setup("test")
    for split in ("validation", "test"):
        there = {data["images"][index]["id"] for index in found._sets[split].indices}  # type: ignore[attr-defined]
        kept = [one for one in data["annotations"] if one["image_id"] not in there]
        change(root, annotations=kept)
        assert said(root).startswith(f"none of the 2 {split} images has an object: 2 held out of 'train/_annotations")
    change(root, annotations=[{**one, "iscrowd": 1} for one in kept])
    assert said(root) == (
        f"{FILE} (0 objects; left out are {len(kept)} crowds (`iscrowd`)) has no object in any of its 10 images"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": 8}, "`image_size` must be a whole number of at least 16, but got 8"),
        ({"masks": "yes"}, "`masks` must be true or false, but got 'yes'"),
        ({"channels": 4}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got 4"),
        ({"num_workers": -1}, "`num_workers` must be a whole number of at least 0, but got -1"),
        ({"on_broken_image": "ignore"}, "unknown on_broken_image 'ignore'"),
        (
            {"on_broken_box": "skip"},
            "unknown on_broken_box 'skip'; nearest: 'clip'; valid: error, clip",
        ),
        ({"annotations": 3}, "`annotations` must be a path, or a path for each split by its name, but got 3"),
        ({"annotations": {"val": "a"}}, "unknown split 'val' in `annotations`; nearest: 'validation'"),
        ({"annotations": {"test": "a"}}, "`annotations` must name the file of 'train', but names 'test'"),
        ({"images": {"train": 3}}, "`images` must be a path, or a path for each split by its name"),
        ({"class_names": "red"}, "`class_names` must be a list of different names, but got 'red'"),
        ({"class_names": ["red", "red"]}, "`class_names` must be a list of different names"),
    ],
)
def test_a_bad_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        CocoFiles("anywhere", **arguments)


def test_a_search_opens_it(make: Make) -> None:
    source = DataSource("CocoFiles", {"root": str(make()), "image_size": [16, 24], "num_workers": 0, "masks": True})
    facts = examine(source, load_task("detection").check_targets)[1]
    assert facts.class_names == ("red", "green", "blue")
    assert facts.preprocessing is not None
    assert facts.preprocessing.size == (16, 24)
    assert facts.counts == {"train": 6, "validation": 2}
    with pytest.raises(BadInput, match="`CocoFiles` takes no argument `annotation`; nearest: 'annotations'"):
        load_data(DataSource("CocoFiles", {"root": "a", "annotation": "b"}))
