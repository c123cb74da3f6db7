"""The whole curve of the learning rate, and what the optimiser is made of."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from invnas.experiment import Recipe
from invnas.facts import DataFacts
from invnas.schedule import _length, optimizer_of, rate_of
from invnas.tasks.classification.module import Classifier
from invnas.training import make_trainer, quiet_lightning, train


@given(st.integers(1, 40), st.integers(1, 20), st.floats(0, 30))
def test_a_rate_rises_to_its_peak_once_and_falls_towards_zero(steps: int, epochs: int, warmup: float) -> None:
    rate = rate_of(steps, epochs, warmup)
    curve = [rate(step) for step in range(steps * epochs)]
    top = curve.index(max(curve))
    assert curve[top] == 1
    assert top == min(int(warmup * steps), steps * epochs - 1)
    assert curve[:top] == sorted(curve[:top])
    assert curve[top:] == sorted(curve[top:], reverse=True)
    assert all(0 < share <= 1 for share in curve)
    assert rate(steps * epochs) == pytest.approx(0, abs=1e-9)
    assert rate(steps * epochs + 7) == pytest.approx(0, abs=1e-9)


def test_curves_written_out() -> None:
    assert [rate_of(1, 1, 1)(0)] == [1]
    assert [rate_of(2, 2, 1)(step) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5])
    assert [rate_of(2, 2, 9)(step) for step in range(4)] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])


class _Stream(IterableDataset[Any]):
    """Twenty images, or fewer, that do not say how many they are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        for i in torch.randperm(self.count).tolist():
            yield torch.full((1, 4, 4), i / self.count), i % 2


class _Images(LightningDataModule):
    classes = 2

    def __init__(self, count: int, sized: bool) -> None:
        super().__init__()
        self.count, self.sized, self.passes = count, sized, 0

    def train_dataloader(self) -> Any:
        self.passes += 1
        if not self.sized:
            return DataLoader(_Stream(self.count), 4)
        return DataLoader(TensorDataset(torch.rand(self.count, 1, 4, 4), torch.arange(self.count) % 2), 4)

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.rand(4, 1, 4, 4), torch.arange(4) % 2), 4)


class _Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def rates(data: Any, recipe: Recipe, **more: Any) -> list[float]:
    watch = _Rates()
    trainer = make_trainer(recipe, [watch])
    for name, value in more.items():
        setattr(trainer, name, value)
    with quiet_lightning():
        trainer.fit(Classifier(network(), 2, recipe), datamodule=data)
    return watch.seen


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(
    ("count", "recipe"),
    [
        (20, Recipe(epochs=4, learning_rate=0.4, warmup_epochs=1)),
        (20, Recipe(epochs=1, learning_rate=0.4, warmup_epochs=0)),
        (20, Recipe(epochs=1, learning_rate=0.4)),
        (4, Recipe(epochs=3, learning_rate=0.4, warmup_epochs=1)),
        (4, Recipe(epochs=1, learning_rate=0.4)),
        (20, Recipe(epochs=2, learning_rate=0.4, warmup_epochs=7)),
        (20, Recipe(epochs=2, learning_rate=0.4, warmup_epochs=0.5, optimizer="adamw")),
    ],
)
def test_a_loader_without_a_length_has_the_same_rates(count: int, recipe: Recipe, sized: bool) -> None:
    steps = count // 4
    expected = [0.4 * rate_of(steps, recipe.epochs, recipe.warmup_epochs)(i) for i in range(steps * recipe.epochs)]
    assert rates(_Images(count, sized), recipe) == pytest.approx(expected)


@pytest.mark.parametrize("sized", [True, False])
def test_limits_and_accumulation_count_too(sized: bool) -> None:
    recipe = Recipe(epochs=3, learning_rate=0.4, warmup_epochs=1)
    curve = [0.4 * rate_of(2, 3, 1)(i) for i in range(6)]
    assert rates(_Images(20, sized), recipe, limit_train_batches=2) == pytest.approx(curve)
    # Five batches are two steps of two and one of one; a batch sees the rate of the step that it is part of.
    curve = [0.4 * rate_of(3, 3, 1)(i) for i in range(9)]
    expected = [curve[3 * epoch + batch // 2] for epoch in range(3) for batch in range(5)]
    assert rates(_Images(20, sized), recipe, accumulate_grad_batches=2) == pytest.approx(expected)


@pytest.mark.parametrize("sized", [True, False])
def test_a_resumed_training_goes_on_along_the_curve(sized: bool, tmp_path: Any, monkeypatch: Any) -> None:
    recipe = Recipe(epochs=4, learning_rate=0.4, warmup_epochs=1)
    watch = _Rates()
    monkeypatch.setattr(
        "invnas.training.make_trainer", lambda recipe, found, logger: make_trainer(recipe, [*found, watch], logger)
    )

    def breaks(epoch: int, values: Any) -> None:
        if epoch == 2 and len(watch.seen) == 10:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(network(), _Images(20, sized), recipe, checkpoints=tmp_path, on_epoch=breaks)
    train(network(), _Images(20, sized), recipe, checkpoints=tmp_path, on_epoch=breaks)
    assert watch.seen == pytest.approx([0.4 * rate_of(5, 4, 1)(i) for i in range(20)])


def test_counting_costs_one_pass_for_all_trainings_and_draws_nothing() -> None:
    data, recipe = _Images(20, sized=False), Recipe(epochs=1)
    facts = DataFacts((1, 4, 4), 2)
    train(network(), data, recipe, facts=facts)
    assert data.passes == 2
    train(network(), data, recipe, facts=facts)
    assert data.passes == 3
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    assert _length(DataLoader(_Stream(20), 4), None) == 5
    assert (torch.rand(1), random.random(), np.random.rand()) == expected


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_norms_and_biases_do_not_decay(optimizer: Any) -> None:
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    decayed, kept = optimizer_of(layers, Recipe(optimizer=optimizer, weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert [p.dim() for p in decayed["params"]] == [4]
    assert kept["weight_decay"] == 0
    assert len(kept["params"]) == 3
