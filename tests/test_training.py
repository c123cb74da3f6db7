"""Training: the recipe's schedule, what comes out, and what ends it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from invnas.cost import cost
from invnas.data import load_data
from invnas.data.digits import Digits
from invnas.errors import BadInput, TrialFailed
from invnas.experiment import DataSource, Recipe
from invnas.measurement import Cost
from invnas.nn import build
from invnas.space import load_space
from invnas.training import Classifier, make_trainer, quiet_lightning, test_top1, train

RECIPE = Recipe(epochs=3, learning_rate=0.2)
FREE = Cost(0, 0, 0)


@pytest.fixture(scope="module")
def data() -> Any:
    return load_data(DataSource("Digits", {"batch_size": 128}))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_a_hybrid_learns_and_says_what_it_cost(data: Any) -> None:
    architecture = load_space("digits").sample(random.Random(1))[1]
    torch.manual_seed(0)
    price = cost(architecture, (1, 8, 8), 10)
    network = build(architecture, (1, 8, 8), 10)
    measured = train(network, data, RECIPE, cost=price, classes=10)
    assert measured.top1 > 0.25  # guessing has 0.1
    assert measured.top5 is not None
    assert measured.top1 <= measured.top5 <= 1
    assert (measured.macs, measured.parameters, measured.activation_bytes) == (
        price.macs,
        price.parameters,
        price.activation_bytes,
    )
    assert measured.epochs == 3
    assert measured.backend
    assert abs(test_top1(network, data, RECIPE, 10) - measured.top1) < 0.15


def test_top1_and_loss_are_those_of_an_independent_count(data: Any) -> None:
    network = linear()
    measured = train(network, data, RECIPE, cost=FREE, classes=10)
    batches = list(data.val_dataloader())
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        scores = network.eval()(images)
    assert measured.top1 == pytest.approx((scores.argmax(1) == labels).double().mean().item(), abs=1e-6)
    assert measured.loss == pytest.approx(nn.functional.cross_entropy(scores, labels).item(), abs=1e-5)
    top5 = (scores.topk(5).indices == labels[:, None]).any(1).double().mean().item()
    assert measured.top5 == pytest.approx(top5, abs=1e-6)


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
        train(interrupted, broken, recipe, cost=FREE, classes=10, checkpoints=tmp_path / "a")
    saved = torch.load(tmp_path / "a" / "last.ckpt", weights_only=False)
    assert saved["epoch"] == 1
    fresh = linear()
    resumed = train(fresh, data, recipe, cost=FREE, classes=10, checkpoints=tmp_path / "a")
    expected = train(whole, data, recipe, cost=FREE, classes=10)
    assert resumed.top1 == expected.top1
    for mine, theirs in zip(fresh.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_checkpoint_of_the_last_epoch_is_measured(data: Any, tmp_path: Path) -> None:
    first = train(linear(), data, RECIPE, cost=FREE, classes=10, checkpoints=tmp_path)
    again = train(linear(), data, RECIPE, cost=FREE, classes=10, checkpoints=tmp_path)
    assert again.top1 == first.top1


def test_nan_ends_the_trial_with_its_reason(data: Any) -> None:
    network = linear()
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(TrialFailed, match="training loss became nan in epoch 1"):
        train(network, data, RECIPE, cost=FREE, classes=10)


def test_divergence_ends_the_trial_with_its_reason(data: Any) -> None:
    wild = Recipe(epochs=2, learning_rate=1e4, gradient_clip=0, warmup_epochs=0)
    with pytest.raises(TrialFailed, match=r"diverged: the training loss is .* guessing has 2.3"):
        train(linear(), data, wild, cost=FREE, classes=10)


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


def test_the_rate_warms_up_and_decays_to_zero(data: Any) -> None:
    rates = []

    class Watched(Classifier):
        def on_train_batch_start(self, batch: Any, index: int) -> None:
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    recipe = Recipe(epochs=4, learning_rate=0.4, warmup_epochs=1, momentum=0)
    with quiet_lightning():
        make_trainer(recipe).fit(Watched(linear(), 10, recipe), datamodule=data)
    per_epoch = len(rates) // 4
    assert rates[0] == pytest.approx(0.4 / (per_epoch + 1))
    assert max(rates) == pytest.approx(0.4)
    assert rates.index(max(rates)) == per_epoch
    assert rates[per_epoch:] == sorted(rates[per_epoch:], reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_norms_and_biases_do_not_decay(optimizer: Any) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    recipe = Recipe(epochs=1, optimizer=optimizer, weight_decay=0.1)
    module = Classifier(network, 10, recipe)
    module._trainer = type("T", (), {"estimated_stepping_batches": 10})()  # all that the schedule asks for
    decayed, kept = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.1
    assert [p.dim() for p in decayed["params"]] == [4]
    assert kept["weight_decay"] == 0
    assert len(kept["params"]) == 3


@pytest.mark.parametrize(("logger", "pattern"), [("csv", "metrics.csv"), ("tensorboard", "events.*")])
def test_loggers_get_every_epoch(data: Any, tmp_path: Path, logger: Any, pattern: str) -> None:
    if logger == "tensorboard":
        pytest.importorskip("tensorboard")
    recipe = replace(RECIPE, logger=logger, epochs=2)
    train(linear(), data, recipe, cost=FREE, classes=10, logs=tmp_path / "7")
    (written,) = (tmp_path / "7").glob(pattern)
    if logger == "csv":
        assert written.read_text().count("\n") >= 3
        assert "top1" in written.read_text()


def test_two_classes_have_no_top5() -> None:
    assert set(Classifier(linear(), 2, RECIPE).metrics) == {"top1"}


def test_an_unknown_precision_is_refused(data: Any) -> None:
    with pytest.raises(BadInput, match=r"`recipe.precision` is '3-bit'"):
        train(linear(), data, replace(RECIPE, precision="3-bit"), cost=FREE, classes=10)


def test_label_smoothing_is_in_the_training_loss_only() -> None:
    scores = torch.tensor([[4.0, 0.0]])
    network = nn.Sequential(nn.Flatten(), nn.Identity())
    module = Classifier(network, 2, Recipe(label_smoothing=0.2))
    images, labels = scores.view(1, 2, 1, 1), torch.tensor([0])
    smoothed = module.training_step((images, labels), 0)
    module.validation_step((images, labels), 0)
    assert smoothed.item() == pytest.approx(nn.functional.cross_entropy(scores, labels, label_smoothing=0.2).item())
    assert module.loss.compute().item() == pytest.approx(nn.functional.cross_entropy(scores, labels).item())
