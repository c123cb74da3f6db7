from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from invnas.data import ImageFolder
from invnas.data.framing import Frame
from invnas.errors import BadInput

ALL_MODES = ("RGB", "L", "P", "RGBA", "LA", "1")


def everything(loader: Any) -> torch.Tensor:
    return torch.cat([images for images, _ in loader])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_every_size_and_mode_become_one_batch(make_folder: Callable[..., Path], channels: int) -> None:
    root = make_folder(modes=ALL_MODES, each=12)
    data = ImageFolder(str(root), image_size=16, channels=channels, batch_size=4, num_workers=0)
    data.setup("fit")
    assert data.input_shape == (channels, 16, 16)
    assert data.class_names == ("class0", "class1")
    for images, labels in data.train_dataloader():
        assert images.shape[1:] == (channels, 16, 16)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64


def test_a_palette_with_transparency_and_16_bits_are_read(make_folder: Callable[..., Path]) -> None:
    root = make_folder()
    palette = Image.new("P", (9, 7), 1)
    palette.save(root / "train" / "class0" / "a.png", transparency=bytes([0, 128]))
    deep = Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16))
    deep.save(root / "train" / "class0" / "b.png")
    data = ImageFolder(str(root), image_size=8, num_workers=0)
    everything(data.train_dataloader()), everything(data.val_dataloader())


@pytest.mark.parametrize(
    ("splits", "test_folder", "expected"),
    [
        (("",), "test", {"train": 12, "validation": 4, "test": 4}),
        (("train",), "test", {"train": 12, "validation": 4, "test": 4}),
        (("train", "val"), "test", {"train": 16, "validation": 20, "test": 4}),
        (("train", "val", "test"), "test", {"train": 20, "validation": 20, "test": 20}),
        (("train", "test"), "test", {"train": 16, "validation": 4, "test": 20}),
        (("train", "val"), "val", {"train": 16, "validation": 4, "test": 20}),
    ],
)
def test_what_the_folder_lacks_is_held_out(
    make_folder: Callable[..., Path], splits: tuple[str, ...], test_folder: str, expected: dict[str, int]
) -> None:
    data = ImageFolder(str(make_folder(splits, each=10)), image_size=8, num_workers=0, test_folder=test_folder)
    data.setup("fit")
    assert "test" not in data.counts
    data.setup("test")
    assert data.counts == expected
    files = [part.pictures.encoded(index) for part in data._sets.values() for index in part.indices]
    assert len(set(files)) == len(files)


def test_a_trainer_fits_and_tests_with_workers(
    make_folder: Callable[..., Path], make_trainer: Callable[..., Trainer], watcher: Callable[..., Any]
) -> None:
    data = ImageFolder(str(make_folder(each=10)), image_size=8, batch_size=4)
    model = watcher((3, 8, 8), 2)
    trainer = make_trainer(2)
    trainer.fit(model, datamodule=data)
    assert [len(model.seen[epoch]) for epoch in (0, 1)] == [3, 3]
    assert model.seen[0] != model.seen[1]
    trainer.test(model, datamodule=data, verbose=False)
    assert model.validated == 2 * data.counts["validation"] + data.counts["test"]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_resumed_training_sees_the_same_batches(
    make_folder: Callable[..., Path],
    make_trainer: Callable[..., Trainer],
    watcher: Callable[..., Any],
    tmp_path: Path,
) -> None:
    root = str(make_folder(each=10))

    def fit(epochs: int, checkpoint: str | None = None) -> tuple[Any, str]:
        model = watcher((3, 8, 8), 2)
        saver = ModelCheckpoint(dirpath=tmp_path / "checkpoints", save_last=True)
        trainer = make_trainer(epochs, enable_checkpointing=True, callbacks=[saver])
        data = ImageFolder(root, image_size=8, batch_size=4)
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=False)
        return model, saver.last_model_path

    whole, _ = fit(3)
    _, checkpoint = fit(1)
    resumed, _ = fit(3, checkpoint)
    assert list(resumed.seen) == [1, 2]
    assert all(resumed.seen[epoch] == whole.seen[epoch] for epoch in (1, 2))


def test_workers_do_not_change_the_batches(make_folder: Callable[..., Path]) -> None:
    root = str(make_folder(each=10))
    alone, helped = (ImageFolder(root, image_size=8, batch_size=4, num_workers=number) for number in (0, 1))
    assert torch.equal(everything(alone.train_dataloader()), everything(helped.train_dataloader()))


def test_a_last_batch_of_one_training_image_is_dropped(make_folder: Callable[..., Path]) -> None:
    data = ImageFolder(str(make_folder(("train", "val", "test"), each=5)), image_size=8, batch_size=3, num_workers=0)
    assert [len(images) for images, _ in data.train_dataloader()] == [3, 3, 3]
    assert [len(images) for images, _ in data.val_dataloader()] == [3, 3, 3, 1]


@given(
    st.integers(1, 50), st.integers(1, 50), st.integers(1, 20), st.floats(0.01, 1), st.booleans(), st.integers(0, 99)
)
def test_any_image_becomes_a_square(width: int, height: int, size: int, crop: float, flip: bool, seed: int) -> None:
    frame = Frame(size, 3, flip, crop)
    image = Image.new("RGB", (width, height))
    assert frame.training(image, random.Random(seed)).shape == (size, size, 3)
    assert frame.evaluation(image).size == (size, size)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("content", [b"no image", b""])
def test_a_broken_file_is_named(make_folder: Callable[..., Path], content: bytes, workers: int) -> None:
    root = make_folder(("train", "val", "test"), each=4)
    (root / "val" / "class1" / "2.png").write_bytes(content)
    data = ImageFolder(str(root), image_size=8, num_workers=workers)
    data.setup("fit")
    words = (
        f"'{root}/val/class1/2.png' is not a readable image: its format is unknown; `on_broken_image: skip` leaves "
        "such images out"
    )
    # No `as`: a kept exception would keep the worker alive.
    with pytest.raises(BadInput, match=f"^{re.escape(words)}$"):
        list(data.val_dataloader())


def test_a_truncated_file_is_named(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train", "val", "test"))
    file = root / "train" / "class1" / "2.png"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"class1/2.png' is not a readable image: "):
        everything(ImageFolder(str(root), image_size=8, num_workers=0).train_dataloader())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the image folder '.*nowhere' does not exist"):
        ImageFolder(str(tmp_path / "nowhere")).setup("fit")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    for root in (tmp_path, tmp_path / "train" / "cat"):
        with pytest.raises(BadInput, match="has no images: each class needs a folder of its own"):
            ImageFolder(str(root)).setup("fit")


def test_one_class_only_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="at least two classes, but all its images are of class 'class0'"):
        ImageFolder(str(make_folder(classes=1))).setup("fit")


def test_a_class_that_is_not_trained_is_refused(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train", "val"))
    (root / "val" / "class1").rename(root / "val" / "dog")
    with pytest.raises(BadInput, match="/val' has a class 'dog' that the training images lack"):
        ImageFolder(str(root)).setup("fit")


def test_too_few_images_are_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="has too few images: 2 to train and 0 to validate after the split"):
        ImageFolder(str(make_folder(("",), each=1)), num_workers=0).setup("fit")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": 4}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got 4"),
        ({"channels": None}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got None"),
        ({"image_size": 0}, "`image_size` must be a whole number of at least 1, but got 0"),
        ({"num_workers": -1}, "`num_workers` must be a whole number of at least 0, but got -1"),
        ({"image_size": 10**23}, "`image_size` must be at most 65,536, but is larger"),
        ({"num_workers": 10**6}, "`num_workers` must be at most 1,024, but is larger"),
        ({"train_limit": 10**23}, "`train_limit` must be at most 9,223,372,036,854,775,807, but is larger"),
        ({"smallest_crop": 0}, r"`smallest_crop` must lie in \(0, 1\], but got 0"),
        ({"cache": True}, "unknown cache True; valid: none, memory, disk"),
        ({"cache": "disc"}, "unknown cache 'disc'; nearest: 'disk'"),
        ({"cache_limit": -1}, "`cache_limit` must be a number of gigabytes above 0, but got -1"),
        ({"cache_limit": "1 GB"}, "`cache_limit` must be a number of gigabytes above 0, but got '1 GB'"),
        ({"cache_limit": float("nan")}, "`cache_limit` must be a number of gigabytes above 0, but got nan"),
        ({"on_broken_image": "ignore"}, "unknown on_broken_image 'ignore'; valid: error, skip"),
        ({"train_limit": 1}, "`train_limit` must be a whole number of at least 2, but got 1"),
    ],
)
def test_a_bad_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        ImageFolder("images", **arguments)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
@pytest.mark.parametrize("train", ["train", "training"])
@pytest.mark.parametrize("test", ["test", "testing"])
def test_the_usual_names_of_splits_are_taken(
    make_folder: Callable[..., Path], name: str, train: str, test: str
) -> None:
    root = make_folder((train, name, test), each=5)
    data = ImageFolder(str(root), image_size=8, num_workers=0)
    data.setup("test")
    assert data.counts == {"train": 10, "validation": 10, "test": 10}
    assert data.origins == {
        "train": f"10 from '{root / train}'",
        "validation": f"10 all of '{root / name}'",
        "test": f"all of '{root / test}'",
    }


def test_what_is_held_out_is_told_with_its_share_and_seed(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train",), each=10)
    data = ImageFolder(str(root), image_size=8, num_workers=0, seed=3, train_limit=8, validation_share=0.25)
    data.setup("fit")
    assert data.origins["validation"] == f"4 held out of '{root / 'train'}' (25 % of each class, seed 3)"
    assert data.origins["test"] == f"4 held out of '{root / 'train'}' (20 % of each class, seed 3)"
    assert data.origins["train"].startswith("8 of 12, drawn by seed 3, every class in its share, from ")


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        (("train", "val", "valid"), "two folders of validation images, valid and val: keep one"),
        (("train", "test", "testing"), "two folders of test images, test and testing: keep one"),
        (("val", "test"), "has a folder 'val' but none with training images: call theirs 'train'"),
    ],
)
def test_names_that_compete_or_lack_training_are_refused(
    make_folder: Callable[..., Path], splits: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        ImageFolder(str(make_folder(splits, each=4)), image_size=8).setup("fit")


def test_a_test_folder_that_is_not_there_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match=r"`test_folder` is 'holdout', but '.*' has no such folder"):
        ImageFolder(str(make_folder(("train",), each=4)), image_size=8, test_folder="holdout").setup("fit")


def test_an_empty_class_is_refused_by_name(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train",), each=4)
    (root / "train" / "empty").mkdir()
    with pytest.raises(BadInput, match=r"class folder '.*empty' has no images: their names end in .bmp, "):
        ImageFolder(str(root), image_size=8).setup("fit")


def test_balance_draws_equally_many_and_a_limit_alone_keeps_shares(make_folder: Callable[..., Path]) -> None:
    root = make_folder(("train",), each=40)
    for file in sorted((root / "train" / "class1").iterdir())[10:]:
        file.unlink()
    counted = []
    for balance in (False, True):
        data = ImageFolder(str(root), image_size=8, num_workers=0, train_limit=12, balance=balance)
        data.setup("fit")
        counted.append(np.bincount(data._sets["train"].strata).tolist())
    assert counted[1] == [6, 6]
    assert counted[0] in ([9, 3], [10, 2])
    with pytest.raises(BadInput, match="`balance` says how `train_limit` draws: give `train_limit` too"):
        ImageFolder(str(root), balance=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_balanced_batches_of_a_folder_have_classes_equally_often(
    make_folder: Callable[..., Path], workers: int
) -> None:
    root = make_folder(each=20)
    for number in range(4, 20):
        (root / "train" / "class1" / f"{number}.png").unlink()
    data = ImageFolder(str(root), image_size=8, batch_size=4, num_workers=workers)
    data.setup("fit")
    assert data.class_counts == (13, 2)
    data.sampling = "balanced"
    loader = data.train_dataloader()
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert sorted(labels.bincount().tolist()) == [7, 8]
    assert len({tuple(image.flatten().tolist()) for image in images[labels == 1]}) >= 7  # of two images, cropped anew
    assert torch.equal(everything(data.train_dataloader()), images)
    assert len(everything(data.val_dataloader())) == 4  # of the images that are there


@pytest.mark.parametrize("augment", ["trivial", "rand"])
def test_a_policy_changes_training_images_alone_by_seed_and_epoch(
    make_folder: Callable[..., Path], augment: str
) -> None:
    root = make_folder(each=10, modes=("RGB", "L"))

    def opened(policy: str, workers: int = 0, channels: int = 3) -> ImageFolder:
        data = ImageFolder(
            str(root), 16, channels, batch_size=4, smallest_crop=1, flip=False, augment=policy, num_workers=workers
        )
        data.setup("fit")
        return data

    plain, changed = opened("none"), opened(augment)
    first = everything(changed.train_dataloader())
    assert not torch.equal(first, everything(plain.train_dataloader()))
    assert torch.equal(everything(changed.val_dataloader()), everything(plain.val_dataloader()))
    assert torch.equal(first, everything(opened(augment, workers=1).train_dataloader()))
    loader = changed.train_dataloader()
    loader.sampler.set_epoch(1)
    assert not torch.equal(everything(loader).sort(0).values, first.sort(0).values)
    assert everything(opened(augment, channels=1).train_dataloader()).shape[1] == 1
    assert changed.normalisation == plain.normalisation


def test_an_unknown_policy_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="`augment` must be one of none, trivial, rand, but got 'randaugment'; nearest"):
        ImageFolder(str(make_folder()), augment="randaugment")
