"""Training: the recipe's schedule, what comes out, and what ends it."""

from __future__ import annotations

import csv
import gc
import math
import random
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from invnas.confusion import Confusion
from invnas.data import load_data
from invnas.data.digits import Digits
from invnas.epochs import EpochTable
from invnas.errors import BadInput, TrialFailed
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.nn import build
from invnas.space import load_space
from invnas.tasks.classification.module import Classifier
from invnas.training import make_trainer, measure_on_test, quiet_lightning, train

RECIPE = Recipe(epochs=3, learning_rate=0.2)
MEASURED = {"top1", "top5", "loss", "balanced_accuracy", "f1", "auroc"}


@pytest.fixture(scope="module")
def data() -> Any:
    return load_data(DataSource("Digits", {"batch_size": 128}))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_a_hybrid_learns_and_says_what_it_cost(data: Any) -> None:
    architecture = load_space("digits").sample(random.Random(1))[1]
    torch.manual_seed(0)
    network = build(architecture, (1, 8, 8), 10)
    measured = train(network, data, RECIPE)
    assert measured.top1 > 0.25  # guessing has 0.1
    assert measured.top1 <= measured.top5 <= 1
    assert measured.epochs == 3
    assert measured.backend
    assert abs(measure_on_test(network, data, Experiment(recipe=RECIPE)).values["top1"] - measured.top1) < 0.15


class _Broken(Digits):
    """Digits whose third epoch breaks off, as a kill would."""

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()

        class Breaks(type(loader)):  # type: ignore[misc]
            def __iter__(self) -> Iterator[Any]:
                for batch in super().__iter__():
                    if self.epoch == 2:
                        raise RuntimeError("killed")
                    yield batch

        loader.__class__ = Breaks
        return loader


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(data: Any, tmp_path: Path) -> None:
    broken = _Broken(batch_size=128)
    broken.prepare_data()
    broken.setup("fit")
    recipe = replace(RECIPE, epochs=4)
    interrupted, whole = linear(), linear()
    with pytest.raises(RuntimeError, match="killed"):
        train(interrupted, broken, recipe, checkpoints=tmp_path / "a")
    saved = torch.load(tmp_path / "a" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1
    fresh = linear()
    resumed = train(fresh, data, recipe, checkpoints=tmp_path / "a")
    expected = train(whole, data, recipe)
    assert resumed.top1 == expected.top1
    for mine, theirs in zip(fresh.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_checkpoint_of_the_last_epoch_is_measured(data: Any, tmp_path: Path) -> None:
    first = train(linear(), data, RECIPE, checkpoints=tmp_path)
    again = train(linear(), data, RECIPE, checkpoints=tmp_path)
    assert again.top1 == first.top1


def test_nan_ends_the_trial_with_its_reason(data: Any) -> None:
    network = linear()
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(TrialFailed, match="training loss became nan in epoch 1"):
        train(network, data, RECIPE)


def test_divergence_ends_the_trial_with_its_reason(data: Any) -> None:
    wild = Recipe(epochs=2, learning_rate=1e4, gradient_clip=0, warmup_epochs=0)
    with pytest.raises(TrialFailed, match=r"diverged: the training loss is .* guessing has 2.3"):
        train(linear(), data, wild)


def test_gradients_are_clipped_by_default(data: Any) -> None:
    norms = []

    class Watched(Classifier):
        def on_train_batch_end(self, *_: Any) -> None:
            norms.append(max(float(p.grad.norm()) for p in self.network.parameters() if p.grad is not None))

    assert Recipe().gradient_clip > 0
    with quiet_lightning():
        make_trainer(Recipe(epochs=1, gradient_clip=0.01)).fit(Watched(linear(), 10, RECIPE), datamodule=data)
    assert norms
    assert max(norms) <= 0.01 + 1e-6


def test_tensorboard_gets_every_epoch(data: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(linear(), data, replace(RECIPE, logger="tensorboard", epochs=2), logs=tmp_path / "7")
    assert list((tmp_path / "7").glob("events.*"))


def test_an_unknown_precision_is_refused(data: Any) -> None:
    with pytest.raises(BadInput, match=r"`recipe.precision` is '3-bit'"):
        train(linear(), data, replace(RECIPE, precision="3-bit"))


@pytest.mark.parametrize("damage", ["empty", "torn", "noise", "another network"])
def test_a_checkpoint_that_cannot_be_read_starts_the_training_again(data: Any, tmp_path: Path, damage: str) -> None:
    expected = train(linear(), data, RECIPE, checkpoints=tmp_path)
    last = tmp_path / "last.ckpt"
    whole = last.read_bytes()
    match damage:
        case "empty":
            last.write_bytes(b"")
        case "torn":
            last.write_bytes(whole[: len(whole) // 2])
        case "noise":
            last.write_bytes(b"x" * 100)
        case _:
            train(nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)), data, RECIPE, checkpoints=tmp_path / "b")
            last.write_bytes((tmp_path / "b" / "last.ckpt").read_bytes())
    notes: list[str] = []
    epochs: list[int] = []
    again = train(
        linear(), data, RECIPE, checkpoints=tmp_path, on_epoch=lambda epoch, _: epochs.append(epoch), note=notes.append
    )
    (note,) = notes
    assert "last.ckpt cannot be read" in note
    assert note.endswith("the training starts again")
    assert epochs == [1, 2, 3]
    assert again.values == expected.values


def test_a_checkpoint_holds_nothing_that_runs_code(data: Any, tmp_path: Path) -> None:
    train(linear(), data, RECIPE, checkpoints=tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("killed", ["before the row", "after the row", "after the checkpoint"])
def test_the_log_of_an_interrupted_training_has_every_epoch_once(
    data: Any, tmp_path: Path, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, logger="csv", epochs=4)
    whole = _rows(train_logged(data, recipe, tmp_path / "whole"))

    def dies(*_: Any) -> None:
        raise RuntimeError("killed")

    def after_two(epoch: int, values: Any) -> None:
        if epoch == 2 and killed == "after the checkpoint":
            dies()

    save, add = Trainer.save_checkpoint, EpochTable.add
    with monkeypatch.context() as patch:
        if killed == "before the row":
            patch.setattr(EpochTable, "add", lambda self, at, *more: (add if at < 2 else dies)(self, at, *more))
        if killed == "after the row":
            patch.setattr(
                Trainer, "save_checkpoint", lambda self, path: (save if self.current_epoch < 2 else dies)(self, path)
            )
        with pytest.raises(RuntimeError, match="killed"):
            train_logged(data, recipe, tmp_path / "a", after_two)
    rows = _rows(train_logged(data, recipe, tmp_path / "a"))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert rows == whole
    assert all(row["train_loss"] and row["top1"] and row["loss"] for row in rows)
    # What begins anew, without a checkpoint, does not go on with the rows of another training.
    train(linear(), data, replace(recipe, epochs=1), logs=tmp_path / "a")
    assert [row["epoch"] for row in _rows(tmp_path / "a")] == ["0"]


def train_logged(data: Any, recipe: Recipe, folder: Path, on_epoch: Any = None) -> Path:
    train(linear(), data, recipe, checkpoints=folder, logs=folder, on_epoch=on_epoch)
    return folder


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_training_that_takes_too_long_fails_with_its_limit(data: Any) -> None:
    with pytest.raises(TrialFailed, match=r"took longer than max_minutes=1e-07 \(in epoch 1 of 3\)"):
        train(linear(), data, replace(RECIPE, max_minutes=1e-7))
    assert train(linear(), data, replace(RECIPE, max_minutes=10)).epochs == 3


def test_time_before_an_interruption_counts(data: Any, tmp_path: Path) -> None:
    def dies(epoch: int, _: Any) -> None:
        if epoch == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(linear(), data, RECIPE, checkpoints=tmp_path, on_epoch=dies)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    saved["callbacks"]["Clock"]["seconds"] += 1000
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(TrialFailed, match="took longer than max_minutes=10"):
        train(linear(), data, replace(RECIPE, max_minutes=10), checkpoints=tmp_path)
    assert train(linear(), data, RECIPE, checkpoints=tmp_path).train_seconds > 1000


@pytest.mark.parametrize("logger", ["none", "csv"])
def test_each_epoch_is_told_and_can_be_the_last(data: Any, tmp_path: Path, logger: Any) -> None:
    told: list[tuple[int, set[str]]] = []

    def on_epoch(epoch: int, values: Any) -> bool:
        told.append((epoch, set(values)))
        return epoch == 2

    recipe = replace(RECIPE, epochs=5, logger=logger)
    stopped = train(linear(), data, recipe, logs=tmp_path, on_epoch=on_epoch)
    known = {"train_loss"} if logger == "none" else {"train_loss", *MEASURED}
    assert told == [(1, known), (2, known)]
    assert (stopped.epochs, stopped.planned_epochs) == (2, 5)
    assert stopped.top1 > 0.2
    told.clear()
    full = train(linear(), data, replace(RECIPE, epochs=2), on_epoch=on_epoch)
    assert (full.epochs, full.planned_epochs) == (2, 2)
    assert told[-1] == (2, {"train_loss", *MEASURED})


class _Own(LightningDataModule):
    """A user's module: its order is torch's, its augmentation numpy's and Python's."""

    classes = 3

    def __init__(self, count: int = 31) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.labels = torch.arange(count) % 3
        self.images = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def train_dataloader(self) -> Any:
        def collate(items: Any) -> Any:
            images, labels = default_collate(items)
            noisy = images + np.random.rand() + random.random()
            self.seen.append(float(noisy.sum()))
            return noisy, labels

        return DataLoader(TensorDataset(self.images, self.labels), 5, shuffle=True, collate_fn=collate)

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(self.images, self.labels), 31)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))


def test_a_users_own_order_and_augmentation_follow_the_seed_and_survive_a_resume(tmp_path: Path) -> None:
    recipe, facts = Recipe(epochs=4), DataFacts((1, 4, 4), 3)
    whole, other, resumed = _Own(), _Own(), _Own()
    network, again = small(), small()
    train(network, whole, recipe, facts=facts, seed=1)
    train(small(), other, recipe, facts=facts, seed=2)
    assert len(whole.seen) == 4 * 7  # the last batch of one image is drawn, but teaches nothing
    assert whole.seen != other.seen
    assert sorted(whole.seen[:7]) != sorted(whole.seen[7:14])

    def dies(epoch: int, _: Any) -> None:
        if epoch == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(small(), resumed, recipe, facts=facts, seed=1, checkpoints=tmp_path, on_epoch=dies)
    torch.manual_seed(99)
    train(again, resumed, recipe, facts=facts, seed=1, checkpoints=tmp_path)
    assert resumed.seen == whole.seen
    for mine, theirs in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_the_seed_of_a_training_changes_order_and_augmentation_but_not_the_split() -> None:
    found = {}
    for seed in (0, 1):
        data: Any = load_data(DataSource("HardDigits", {"batch_size": 128}))
        train(linear(), data, Recipe(epochs=1), seed=seed)
        first, _ = next(iter(data.train_dataloader()))
        found[seed] = first, torch.cat([images for images, _ in data.val_dataloader()])
    assert not torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    ("train_images", "validated", "said"), [(0, 4, "training loader"), (4, 0, "validation loader")]
)
def test_a_loader_without_a_batch_is_a_reason(train_images: int, validated: int, said: str) -> None:
    class Empty(_Own):
        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(self.images[:train_images], self.labels[:train_images]), 2)

        def val_dataloader(self) -> Any:
            return DataLoader(TensorDataset(self.images[:validated], self.labels[:validated]), 2)

    with pytest.raises(TrialFailed, match=f"the {said} gave no batch"):
        train(small(), Empty(), Recipe(epochs=1), facts=DataFacts((1, 4, 4), 3))


def test_code_of_a_user_that_ends_the_process_ends_the_training() -> None:
    class Leaves(_Own):
        def train_dataloader(self) -> Any:
            raise SystemExit(0)

    with pytest.raises(TrialFailed, match=r"called sys.exit\(0\)"):
        train(small(), Leaves(), Recipe(epochs=1), facts=DataFacts((1, 4, 4), 3))


def test_an_interrupt_stays_an_interrupt() -> None:
    class Interrupted(_Own):
        def train_dataloader(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small(), Interrupted(), Recipe(epochs=1), facts=DataFacts((1, 4, 4), 3))


def test_a_number_of_the_test_that_is_not_finite_is_left_out_and_told() -> None:
    data: Any = load_data(DataSource("Digits", {"batch_size": 128}))
    network = linear()
    nn.init.constant_(network[1].weight, float("inf"))
    notes: list[str] = []
    found = measure_on_test(network, data, Experiment(recipe=RECIPE), note=notes.append)
    assert all(math.isfinite(value) for value in found.values.values())
    assert notes == ["the loss on the test images came out as nan"]


def test_counts_of_a_task_that_are_none_cost_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = load_data(DataSource("Digits", {"batch_size": 128}))
    experiment, notes = Experiment(recipe=RECIPE), list[str]()
    whole = measure_on_test(linear(), data, experiment)
    assert whole.confusion.right / whole.confusion.total == pytest.approx(whole.values["top1"])
    monkeypatch.setattr(Classifier, "class_confusion", lambda self: {0: 1.5})
    found = measure_on_test(linear(), data, experiment, note=notes.append)
    assert (set(found.values), found.confusion) == ({"top1"}, Confusion())
    assert notes == ["what was taken for what must be counts by pairs of classes, {(true, taken for): how many}, all "
                     "whole numbers, but is {0: 1.5}"]  # fmt: skip


def test_a_training_holds_nothing_afterwards(data: Any, tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        network = linear()
        gone = weakref.ref(network)
        train(network, data, replace(RECIPE, optimizer="adamw", learning_rate=1e-3), checkpoints=tmp_path)
        assert all(parameter.grad is None for parameter in network.parameters())
        measure_on_test(network, data, Experiment(recipe=RECIPE))
        del network
        assert gone() is None
    finally:
        gc.enable()
