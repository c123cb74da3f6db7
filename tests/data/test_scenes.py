from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from invnas.data import Scenes, things
from invnas.data.check import examine
from invnas.data.scenery import Scene, Things
from invnas.data.scenes import _objects_of
from invnas.data.source import load_data
from invnas.errors import BadInput
from invnas.experiment import DataSource, Recipe
from invnas.facts import DataFacts
from invnas.masks import IGNORED
from invnas.task import load_task
from invnas.training import check_sampling

FEW: Mapping[str, Any] = {"images": 40, "image_size": 32, "batch_size": 8}


def scenes(**more: Any) -> Scenes:
    data = Scenes(**{**FEW, **more})
    data.setup("fit")
    return data


def objects_in(data: Scenes) -> list[dict[str, torch.Tensor]]:
    return [target for _, targets in data.val_dataloader() for target in targets]


def test_the_facts_are_right() -> None:
    data = scenes(channels=1)
    assert (data.input_shape, data.classes) == ((1, 32, 32), 11)
    assert data.class_names == ("background", *"0123456789")
    assert data.counts == {"train": 26, "validation": 6}
    assert data.class_counts is None
    assert (data.preprocessing.size, data.preprocessing.crop) == ((32, 32), 1.0)
    data.setup("test")
    assert data.counts == {"train": 26, "validation": 6, "test": 8}
    assert data.origins == {
        "train": "26 from scenes of 1,151 digits (seed 0)",
        "validation": "6 all of the validation scenes of 287 digits that no other split has",
        "test": "all of 8 test scenes of 359 digits that no other split has",
    }


def test_a_mask_has_a_class_for_each_pixel_and_nothing_is_ignored_but_beyond_the_picture() -> None:
    data = scenes(scales=(0.5, 1.0))
    seen = {}
    for name, loader in (("train", data.train_dataloader()), ("validation", data.val_dataloader())):
        for images, masks in loader:
            assert images.shape[1:] == (3, 32, 32)
            assert images.dtype == torch.float32
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert masks.shape == (len(images), 32, 32)
            assert masks.dtype == torch.int64
        seen[name] = torch.cat([masks for _, masks in loader])
    assert set(seen["validation"].unique().tolist()) <= set(range(11))
    assert set(seen["train"].unique().tolist()) == {*range(11), IGNORED}


def test_no_object_is_in_two_splits() -> None:
    numbers = np.arange(300)
    every = Things(numbers[:, None, None], numbers[:, None, None], numbers % 10)
    parts = scenes()._divided(every)
    found = [part.opacity.ravel().tolist() for part in parts.values()]
    assert [len(one) for one in found] == [190, 50, 60]
    assert sorted(np.concatenate(found).tolist()) == numbers.tolist()
    for part in parts.values():
        assert set(part.labels) == set(range(10))


def test_targets_of_detection_are_those_of_the_masks() -> None:
    data, maps = scenes(task="detection"), scenes()
    assert (data.classes, data.class_names) == (10, tuple("0123456789"))
    masks = torch.cat([masks for _, masks in maps.val_dataloader()])
    pictures = [torch.cat([images for images, _ in one.val_dataloader()]) for one in (data, maps)]
    assert torch.equal(*pictures)
    found = objects_in(data)
    assert sum(len(target["labels"]) for target in found) > 6
    for target, mask in zip(found, masks, strict=True):
        assert {name: (part.dtype, part.shape[1:]) for name, part in target.items()} == {
            "boxes": (torch.float32, (4,)),
            "labels": (torch.int64, ()),
            "masks": (torch.bool, (32, 32)),
        }
        assert torch.equal(mask > 0, target["masks"].any(0))
        for box, label, one in zip(target["boxes"], target["labels"], target["masks"], strict=True):
            assert (mask[one] == label + 1).all()
            left, top, right, bottom = (int(side) for side in box)
            assert one[top:bottom, left:right].sum() == one.sum()
            for edge in (one[top], one[bottom - 1], one[:, left], one[:, right - 1]):
                assert edge.any()


def test_objects_follow_the_picture_in_training_and_those_that_are_cut_off_go() -> None:
    data = scenes(task="detection", scales=(2.0, 2.0), images=100)
    kept = total = 0
    for _ in range(2):
        for images, targets in data.train_dataloader():
            assert isinstance(targets, tuple)
            assert len(targets) == len(images)
            for target in targets:
                kept += len(target["labels"])
                assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
                assert target["masks"].flatten(1).any(1).all()
    total = 2 * sum(len(scene.labels) for scene in data._sets["train"].pairs.scenes)  # type: ignore[attr-defined]
    assert 0.15 * total < kept < 0.7 * total  # a quarter of the area, and what is cut


def test_an_object_stays_while_a_share_of_it_is_seen_at_any_scale() -> None:
    whole = np.zeros((20, 20), np.uint8)
    whole[:10, :10] = 1
    scene = Scene(np.zeros((20, 20, 3), np.uint8), whole, (7,))
    for shown, pixels, kept in ((1.0, 29, 0), (1.0, 30, 1), (4.0, 119, 0), (4.0, 120, 1), (0.001, 0, 0), (0.001, 1, 1)):
        seen = np.zeros(400, np.uint8)
        seen[:pixels] = 1
        found = _objects_of(seen.reshape(20, 20), scene, shown)
        assert found["labels"].tolist() == [7] * kept
        assert found["masks"].sum() == pixels * kept


def test_a_picture_without_objects_has_empty_tensors() -> None:
    data = scenes(task="detection", objects=(0, 1), images=60)
    empty = [target for target in objects_in(data) if not len(target["labels"])]
    assert empty
    for target in empty:
        assert {name: tuple(part.shape) for name, part in target.items()} == {
            "boxes": (0, 4), "labels": (0,), "masks": (0, 32, 32)
        }  # fmt: skip


def test_seeds_decide_scenes_and_order() -> None:
    first, again, other = scenes(seed=3), scenes(seed=3), scenes(seed=4)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    first.order_seed, again.order_seed = 5, 6
    one, two = (torch.cat([masks for _, masks in data.train_dataloader()]) for data in (first, again))
    assert not torch.equal(one, two)
    again.order_seed = 5
    assert torch.equal(one, torch.cat([masks for _, masks in again.train_dataloader()]))


def test_more_scenes_begin_with_the_same() -> None:
    few, many = (scenes(images=count)._sets["train"] for count in (20, 40))
    for number in range(len(few)):
        assert few.pairs.content(number) == many.pairs.content(number)  # type: ignore[attr-defined]


def test_all_of_them_are_trained_on_together() -> None:
    data = scenes()
    assert sum(len(images) for images, _ in data.all_data_dataloader()) == 26 + 6
    assert scenes(train_limit=10).counts == {"train": 10, "validation": 6}
    assert scenes(train_limit=10).origins["train"].startswith("10 of 26, drawn by seed 0, from scenes")


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """Write the four files of a small Fashion-MNIST."""
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = np.zeros((100, 28, 28), np.uint8)
        images[:, 4:24, 8:20] = rng.integers(20, 256, (100, 20, 12))
        images[:, 10:12, 12:14] = 0  # dark cloth
        labels = np.arange(100, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, array.ndim)) + np.asarray(array.shape, ">u4").tobytes()
            content = head + array.tobytes()
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_clothes_are_read_from_their_files(clothes: Path) -> None:
    found = things.fashion(clothes)
    assert len(found) == 200
    assert found.opacity.shape == (200, 30, 30)
    assert found.opacity[0, 5:25, 9:21].min() == 255  # what is dark within is cloth
    assert found.opacity[0].sum() == 255 * 20 * 12
    assert found.shade[:, 5:25, 9:21].min() >= 90
    data = scenes(source="fashion", folder=str(clothes), classes=3)
    assert data.class_names == ("background", "T-shirt/top", "Trouser", "Pullover")
    assert data.frame.flip
    assert not scenes().frame.flip
    packed = clothes / "t10k-labels-idx1-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert len(things.fashion(clothes)) == 200


def test_clothes_that_are_not_there_are_one_sentence(clothes: Path) -> None:
    def said() -> str:
        with pytest.raises(BadInput) as error:
            things.fashion(clothes)
        return str(error.value)

    with pytest.raises(BadInput, match="install Debian's package dataset-fashion-mnist, or let `folder` name"):
        scenes(source="fashion", folder=str(clothes / "none"))
    labels = clothes / "train-labels-idx1-ubyte.gz"
    whole = gzip.decompress(labels.read_bytes())
    labels.write_bytes(gzip.compress(whole[:-1]))
    assert said() == f"'{labels}' is cut off or too long: its head says 100 items, but it has 107 bytes"
    for content in (whole[:3], b"", bytes((0, 0, 8, 3)) + whole[4:]):
        labels.write_bytes(gzip.compress(content))
        assert said() == f"'{labels}' is not a file of Fashion-MNIST: its head does not fit"
    labels.write_bytes(gzip.compress(whole[:-1] + bytes([10])))
    assert "must hold a label from 0 to 9 for each image, but have 200 images and 200 labels" in said()
    labels.write_bytes(b"no gzip")
    assert said().startswith(f"'{labels}' cannot be read: Not a gzipped file")
    labels.unlink()
    assert said() == f"'{clothes}' holds no Fashion-MNIST: its file train-labels-idx1-ubyte.gz is missing"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"source": "digit"}, "unknown source 'digit'; nearest: 'digits'; valid: digits, fashion"),
        ({"task": "detect"}, "unknown task 'detect'; nearest: 'detection'"),
        ({"image_size": 16}, "`image_size` must be a whole number of at least 32, but got 16"),
        ({"image_size": 1024}, "`image_size` must be at most 512"),
        ({"image_size": [64, 64]}, r"`image_size` must be a whole number of at least 32, but got \[64, 64\]"),
        ({"images": 3}, "`images` must be a whole number of at least 4, but got 3"),
        (
            {"images": 10**7, "image_size": 512},
            r"10,000,000 scenes of 512 x 512 take 10485.8 GB of memory, but at most 4",
        ),
        ({"images": 20, "test_share": 0.01}, "20 scenes leave none for the test split"),
        ({"classes": 11}, "`classes` must be at most 10"),
        ({"classes": 1}, "`classes` must be a whole number of at least 2, but got 1"),
        ({"objects": [3, 1]}, r"`objects` must be the fewest and the most objects .* but got \[3, 1\]"),
        ({"objects": 5}, "`objects` must be the fewest and the most objects"),
        ({"objects": (0, 0)}, "`objects` must let scenes have some"),
        ({"channels": 2}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got 2"),
        ({"scales": [2, 1]}, r"`scales` must be the smallest and the largest scale"),
        ({"flip": "no"}, "`flip` must be true or false, but got 'no'"),
    ],
)
def test_a_bad_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        scenes(**arguments)


@dataclass(frozen=True)
class Maps:
    """What a task for masks checks of a batch."""

    facts: DataFacts

    def __call__(self, targets: Any, images: int, training: bool) -> None:
        assert not training
        wanted = (images, *self.facts.input_shape[1:])
        if tuple(getattr(targets, "shape", ())) != wanted:
            raise BadInput(f"masks must have the shape {wanted}")
        assert targets.dtype == torch.int64


def test_a_search_looks_at_what_the_targets_are() -> None:
    source = DataSource("Scenes", dict(FEW))
    data, facts = examine(source, Maps)
    assert facts.class_counts is None
    assert DataFacts.from_dict(facts.to_dict()) == facts
    assert facts.fingerprint == data.fingerprint()  # type: ignore[operator]
    with pytest.raises(BadInput, match=r"the validation images of `Digits` cannot be used: masks must have the shape"):
        examine(DataSource("Digits"), Maps)
    with pytest.raises(BadInput, match=r"the validation images of `Scenes` cannot be used: "):
        examine(source, load_task("classification").check_targets)
    detection = DataSource("Scenes", {**FEW, "task": "detection"})
    with pytest.raises(BadInput, match=r"the validation images of `Scenes` cannot be used: "):
        examine(detection, load_task("classification").check_targets)


def test_classes_cannot_come_equally_often() -> None:
    data = load_data(DataSource("Scenes", dict(FEW)))
    check_sampling(data, Recipe())
    with pytest.raises(BadInput, match=r"`recipe.sampling` is balanced, but a picture with a mask holds"):
        check_sampling(data, Recipe(sampling="balanced"))
    with pytest.raises(BadInput, match="`Scenes` takes no argument `balance`"):
        load_data(DataSource("Scenes", {**FEW, "balance": True}))
