from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from invnas.data import Digits, HardDigits
from invnas.data.digits import spoil
from invnas.errors import BadInput


def everything(loader: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("source", [Digits, HardDigits])
def test_the_facts_are_right(source: type[Digits]) -> None:
    data = source()
    data.setup("test")
    assert data.input_shape == (1, 8, 8)
    assert data.classes == 10
    assert data.class_names == tuple("0123456789")
    assert sum(data.counts.values()) == 1797
    assert data.counts["test"] == pytest.approx(1797 * 0.2, abs=10)
    assert data.counts["validation"] == pytest.approx(1797 * 0.8 * 0.2, abs=10)


def test_no_image_is_in_two_splits() -> None:
    # With the noise of HardDigits, no two images are equal.
    data = HardDigits(batch_size=64)
    data.setup("test")
    rows = [tuple(image.flatten().tolist()) for part in data._sets.values() for image in part.images]
    assert len(set(rows)) == len(rows) == 1797


def test_the_test_images_are_not_open_before_the_test() -> None:
    data = Digits()
    data.setup("fit")
    data.train_dataloader(), data.val_dataloader()
    assert set(data.counts) == {"train", "validation"}
    data.test_dataloader()
    assert set(data.counts) == {"train", "validation", "test"}


def test_batches_are_normalised_by_the_training_images() -> None:
    data = Digits()
    images, labels = everything(data.train_dataloader())
    assert images.shape[1:] == (1, 8, 8)
    assert images.mean().abs() < 0.01
    assert images.std() == pytest.approx(1, abs=0.01)
    assert set(labels.tolist()) == set(range(10))


def test_seeds_decide_the_data() -> None:
    first, again, other = (everything(HardDigits(seed=seed).val_dataloader())[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_hard_digits_are_the_same_in_another_process() -> None:
    program = (
        "import torch; torch.set_num_threads(1);"  # as here: the order of a sum depends on it
        "from invnas.data import HardDigits; data = HardDigits(seed=2);"
        "print(sum(float(images.double().sum()) for images, _ in data.val_dataloader()))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    here = sum(float(images.double().sum()) for images, _ in HardDigits(seed=2).val_dataloader())
    assert float(printed) == pytest.approx(here, rel=1e-12)


def test_spoiling_shifts_occludes_and_adds_noise() -> None:
    images = np.full((2000, 8, 8), 10, dtype=np.float32)  # so bright that no noise hides a shift
    spoilt = spoil(images, np.random.default_rng(0))
    dark = (spoilt < 5).sum((1, 2))
    # 4 pixels of the occluder, and up to 8 + 7 that a diagonal shift uncovers
    assert dark.min() == 4
    assert dark.max() == 15 + 4
    assert spoilt[spoilt > 5].std() == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize("source", [Digits, HardDigits])
def test_a_trainer_fits_and_tests(
    source: type[Digits], make_trainer: Callable[..., Trainer], watcher: Callable[..., Any]
) -> None:
    data = source()
    data.setup("fit")
    model = watcher(data.input_shape, data.classes)
    trainer = make_trainer()
    trainer.fit(model, datamodule=data)
    assert len(model.seen[0]) == len(data.train_dataloader())
    assert model.validated == data.counts["validation"]
    model.validated = 0
    trainer.test(model, datamodule=data, verbose=False)
    assert model.validated == data.counts["test"]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_resumed_training_sees_the_same_batches(
    make_trainer: Callable[..., Trainer], watcher: Callable[..., Any], tmp_path: Path
) -> None:
    def fit(epochs: int, checkpoint: str | None = None) -> tuple[Any, str]:
        data = HardDigits(batch_size=256)
        model = watcher((1, 8, 8), 10)
        saver = ModelCheckpoint(dirpath=tmp_path / "checkpoints", save_last=True)
        trainer = make_trainer(epochs, enable_checkpointing=True, callbacks=[saver])
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=False)
        return model, saver.last_model_path

    whole, _ = fit(4)
    _, checkpoint = fit(2)
    resumed, _ = fit(4, checkpoint)
    assert list(resumed.seen) == [2, 3]
    assert all(resumed.seen[epoch] == whole.seen[epoch] for epoch in (2, 3))
    assert len({tuple(batches) for batches in whole.seen.values()}) == 4, "every epoch must differ"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 1}, "`batch_size` must be a whole number of at least 2, but got 1"),
        ({"batch_size": "64"}, "`batch_size` must be a whole number of at least 2, but got '64'"),
        ({"seed": -1}, "`seed` must be a whole number of at least 0, but got -1"),
        ({"batch_size": 10**23}, "`batch_size` must be at most 16,777,216, but is larger"),
        ({"batch_size": 10**5000}, "`batch_size` must be at most 16,777,216, but is larger"),
        ({"seed": 2**63}, "`seed` must be at most 9,223,372,036,854,775,807, but is larger"),
        ({"validation_share": 1.0}, "`validation_share` must lie between 0 and 1, but got 1.0"),
        ({"test_share": 0}, "`test_share` must lie between 0 and 1, but got 0"),
    ],
)
def test_a_bad_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Digits(**arguments)
