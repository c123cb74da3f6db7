from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invnas.data import MaskFolder
from invnas.data.check import examine
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.masks import IGNORED

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write splits of images of odd sizes whose red says the class of each pixel: 40 times its index."""

    def write(splits: tuple[str, ...] = ("train",), each: int = 10, size: tuple[int, int] | None = None) -> Path:
        rng = np.random.default_rng(len(splits))
        root = tmp_path / "roads"
        for split in splits:
            for kind in ("images", "masks"):
                (root / split / kind).mkdir(parents=True)
            for number in range(each):
                shape = size or (int(rng.integers(20, 50)), int(rng.integers(20, 50)))
                mask = np.kron(rng.integers(0, 3, (4, 4)), np.ones((13, 13)))[: shape[0], : shape[1]].astype(np.uint8)
                image = np.stack([mask * 40, rng.integers(0, 256, mask.shape), mask * 0], axis=2).astype(np.uint8)
                Image.fromarray(image).save(root / split / "images" / f"{number}.png")
                Image.fromarray(mask).save(root / split / "masks" / f"{number}.png")
        (root / "classes.txt").write_text("ground\nroad\n\ntree\n")
        return root

    return write


def opened(root: Path, **more: Any) -> MaskFolder:
    data = MaskFolder(str(root), **{"image_size": 16, "batch_size": 4, "num_workers": 0, **more})
    data.setup("fit")
    return data


def said(root: Path, **more: Any) -> str:
    with pytest.raises(BadInput) as error:
        for _ in opened(root, **more).train_dataloader():
            pass
    assert "\n" not in str(error.value)
    return str(error.value)


def red(images: torch.Tensor, data: MaskFolder) -> torch.Tensor:
    """Return the class that the colour of each pixel says."""
    return (images[:, 0] * data.normalisation.std[0] + data.normalisation.mean[0]) * 255 / 40


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
    make: Make, splits: tuple[str, ...], counts: dict[str, int]
) -> None:
    data = opened(make(splits))
    assert set(data.counts) == {"train", "validation"}
    data.setup("test")
    assert data.counts == counts
    assert (data.input_shape, data.classes, data.class_names) == ((3, 16, 16), 3, ("ground", "road", "tree"))
    assert data.class_counts is None
    assert data.preprocessing.crop == 1
    paths = [
        images.pairs.pictures.paths[index]  # type: ignore[attr-defined]
        for images in data._sets.values()
        for index in images.indices  # type: ignore[attr-defined]
    ]
    assert len(set(paths)) == len(paths) == sum(counts.values())


def test_test_images_may_lie_in_any_folder(make: Make) -> None:
    data = opened(make(("train", "val")), test_folder="val")
    data.setup("test")
    assert data.counts == {"train": 8, "validation": 2, "test": 10}
    assert said(data.root, test_folder="vall") == f"`test_folder` is 'vall', but '{data.root}' has no such folder"


def test_masks_follow_their_images(make: Make) -> None:
    data = opened(make(), image_size=[16, 20], scales=[0.5, 2.0])
    assert data.input_shape == (3, 16, 20)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        ignored = 0.0
        for images, masks in loader:
            assert images.shape[1:] == (3, 16, 20)
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert masks.shape == (len(images), 16, 20)
            assert masks.dtype == torch.int64
            assert set(masks.unique().tolist()) <= {0, 1, 2, IGNORED}
            there = masks != IGNORED
            # Edges between classes are blurred by scaling; all else agrees.
            assert ((red(images, data) - masks).abs()[there] < 0.1).float().mean() > 0.7
            ignored += float((~there).float().mean())
        assert (ignored > 0) == (loader is not None and loader.dataset.training)


def test_an_epoch_is_seeds_and_epochs_with_any_number_of_workers(make: Make) -> None:
    root = make(each=12)

    def epoch(number: int, workers: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        loader = opened(root, num_workers=workers).train_dataloader()
        loader.sampler.set_epoch(number)
        images, masks = zip(*loader, strict=True)
        return torch.cat(images), torch.cat(masks)

    for one, other in zip(epoch(3), epoch(3, workers=1), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(epoch(3)[1], epoch(4)[1])


def test_a_palette_reads_colours(make: Make) -> None:
    root = make(("train",))
    coded = opened(root)
    before, print_ = list(coded.val_dataloader()), coded.fingerprint()
    colours = np.array([[10, 20, 30], [0, 0, 255], [0, 255, 0]], np.uint8)
    for file in (root / "train" / "masks").iterdir():
        Image.fromarray(colours[np.asarray(Image.open(file))]).save(file)
    palette = {"#0a141e": "ground", "#0000ff": "road", "#00ff00": "tree"}
    data = opened(root, palette=palette)
    for one, other in zip(before, data.val_dataloader(), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert data.class_names == ("ground", "road", "tree")
    assert data.fingerprint() != print_
    assert "mode RGB), and nothing says which class each colour is" in said(root)
    del palette["#00ff00"]
    assert "which `palette` does not have; nearest: " in said(root, palette={**palette, "#00fe00": "tree"})


def test_a_camera_may_have_been_turned(make: Make) -> None:
    root = make(size=(20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(10):
        file = root / "train" / "images" / f"{number}.png"
        Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file.with_suffix(".jpg"), exif=exif)
        file.unlink()
    assert opened(root).counts["train"] == 6
    Image.open(root / "train/images/0.jpg").save(root / "train/images/0.jpg")  # without the note
    assert "'0.png' is 30 x 20 pixels" in said(root).replace(f"{root}/train/masks/", "")


def test_a_mask_that_lies_is_named_before_anything_is_trained(make: Make) -> None:
    root = make(size=(20, 30))
    held = opened(root)._sets["validation"].indices[0]  # type: ignore[attr-defined]
    exif = Image.Exif()
    exif[0x0112] = 6
    file = root / f"train/images/{held}.png"
    Image.open(file).save(file.with_suffix(".jpg"), exif=exif)  # of the size of its mask, but that is turned
    file.unlink()
    with pytest.raises(BadInput, match="a mask has a pixel for each of its image"):
        opened(root)


def test_a_mask_of_another_size_is_named_before_anything_is_trained(make: Make) -> None:
    root = make(size=(20, 30))
    held = opened(root)._sets["validation"].indices[0]  # type: ignore[attr-defined]
    Image.new("L", (30, 21)).save(root / f"train/masks/{held}.png")
    with pytest.raises(BadInput) as error:
        opened(root)
    assert str(error.value) == (
        f"the mask '{root}/train/masks/{held}.png' is 30 x 21 pixels, but its image "
        f"'{root}/train/images/{held}.png' is 30 x 20: a mask has a pixel for each of its image"
    )


def test_an_unknown_value_is_named_before_anything_is_trained_or_when_it_is_read(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(size=(20, 30))
    held = opened(root)._sets["validation"].indices.max()  # type: ignore[attr-defined]
    mask = np.zeros((20, 30), np.uint8)
    mask[0, :7] = 3
    Image.fromarray(mask).save(root / f"train/masks/{held}.png")
    words = (
        f"the mask '{root}/train/masks/{held}.png' has the value 3 at 7 pixels, but with 3 classes its values must be "
        "0..2, or 255 where a pixel is ignored (`ignore_value`)"
    )
    with pytest.raises(BadInput) as error:
        opened(root)
    assert str(error.value) == words
    monkeypatch.setattr("invnas.data.mask_files._VALUES", 1)  # the first alone
    data = opened(root, num_workers=1)
    with pytest.raises(BadInput) as error:
        list(data.val_dataloader())
    assert str(error.value) == words


def test_what_lacks_its_other_half_is_named(make: Make) -> None:
    root = make()
    masks = root / "train" / "masks"
    for number in range(5):
        (masks / f"{number}.png").unlink()
    assert said(root) == (
        f"'{root}/train' has 5 images without a mask: 'images/0.png', 'images/1.png', 'images/2.png' and 2 more; both "
        "have one name, but for the ending"
    )
    for number in range(5):
        (root / "train/images" / f"{number}.png").unlink()
    (root / "train/images/9.png").unlink()
    assert "has 1 masks without an image: 'masks/9.png'; both" in said(root)


def test_folders_that_are_not_as_they_should_be(make: Make, tmp_path: Path) -> None:
    assert said(tmp_path / "none") == f"the image folder '{tmp_path / 'none'}' does not exist"
    root = make()
    (root / "train/images").rename(root / "train/pictures")
    assert said(root) == f"'{root}/train' must have folders 'images' and 'masks', but 'images' is missing"
    (root / "train/pictures").rename(root / "train/images")
    (root / "train/images/0.jpg").write_bytes((root / "train/images/0.png").read_bytes())
    assert said(root) == f"'{root}/train/images' has two files of one name, '0.jpg' and '0.png': keep one"
    (root / "train/images/0.jpg").unlink()
    (root / "train/masks/0.png").rename(root / "train/masks/0.jpg")
    assert (
        said(root) == f"the mask '{root}/train/masks/0.jpg' is of a format that changes values: masks are stored as PNG"
    )
    (root / "train").rename(root / "val")
    assert said(root) == f"'{root}' has a folder 'val' but none with training images: call theirs 'train'"
    empty = tmp_path / "empty"
    for kind in ("images", "masks"):
        (empty / kind).mkdir(parents=True)
    assert said(empty, classes=2) == f"'{empty}/images' has no images"
    (empty / "classes.txt").write_text(" \n")
    assert said(empty) == f"'{empty}/classes.txt' names no class: it holds a name a line"
    (empty / "classes.txt").write_bytes(b"\xff\xfe")
    assert said(empty).startswith(f"'{empty}/classes.txt' cannot be read: ")


def test_masks_of_one_class_are_no_task(make: Make) -> None:
    root = make()
    for file in (root / "train/masks").iterdir():
        Image.fromarray((np.asarray(Image.open(file)) > 0).astype(np.uint8) * 255).save(file)
    assert said(root) == (
        f"the 10 masks of '{root}/train/masks' that were looked at hold the class 'ground' alone beside ignored "
        "pixels; 255 is ignored (`ignore_value`), and masks of black and white need `palette`: {'#000000': "
        "'background', '#ffffff': 'object'}"
    )
    assert opened(root, palette={"#000000": "background", "#ffffff": "object"}).classes == 2


def test_what_cannot_be_read_is_refused_or_left_out(make: Make) -> None:
    root = make(("train", "test"))
    (root / "train/masks/3.png").write_bytes(b"none")
    (root / "train/images/5.png").write_bytes(b"none")
    (root / "test/masks/7.png").write_bytes(b"none")
    assert "'; `on_broken_image: skip`" not in said(root)
    assert said(root).endswith("; `on_broken_image: skip` leaves such images out")
    data = opened(root, on_broken_image="skip", validation_share=0.1)
    assert data.left_out == ("train/images/3.png", "train/images/5.png", "test/images/7.png")
    data.setup("test")
    assert sum(data.counts.values()) == 17
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for _ in loader:
            pass
    for number in range(10):
        (root / "test/masks" / f"{number}.png").write_bytes(b"none")
    assert "'test' has no pair left: of each of its 10 image or mask cannot be read" in said(
        root, on_broken_image="skip"
    ).replace(f"{root}/", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": 8}, "`image_size` must be a whole number of at least 16, but got 8"),
        ({"image_size": [256, 8]}, "`image_size` must be a whole number of at least 16, but got 8"),
        ({"image_size": [256]}, r"`image_size` must be a side in pixels or \[height, width\], but got \[256\]"),
        ({"image_size": "256"}, "`image_size` must be a whole number of at least 16, but got '256'"),
        ({"channels": 4}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got 4"),
        ({"num_workers": -1}, "`num_workers` must be a whole number of at least 0, but got -1"),
        ({"on_broken_image": "ignore"}, "unknown on_broken_image 'ignore'"),
        ({"scales": 2}, "`scales` must be the smallest and the largest scale"),
    ],
)
def test_a_bad_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        MaskFolder("anywhere", **arguments)


def test_a_search_opens_it(make: Make) -> None:
    source = DataSource("MaskFolder", {"root": str(make()), "image_size": [16, 24], "num_workers": 0})

    def maps(facts: Any) -> Callable[[Any, int, bool], None]:
        def check(targets: Any, images: int, training: bool) -> None:
            assert targets.shape == (images, 16, 24)

        return check

    facts = examine(source, maps)[1]
    assert facts.class_names == ("ground", "road", "tree")
    assert facts.preprocessing is not None
    assert facts.preprocessing.size == (16, 24)
