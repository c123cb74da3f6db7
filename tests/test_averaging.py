"""The moving average of weights, against one kept by hand."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from invnas.averaging import Average
from invnas.data import load_data
from invnas.data.digits import Digits
from invnas.experiment import DataSource, Recipe
from invnas.measurement import Measurement
from invnas.stopping import Rungs
from invnas.tasks.classification.module import Classifier
from invnas.training import make_trainer, quiet_lightning, train
from invnas.weights import load_weights, save_weights

RECIPE = Recipe(epochs=2, learning_rate=0.1, ema=0.95)
ALL = replace(RECIPE, epochs=4, mixup=0.3, cutmix=1.0, sampling="balanced", class_weights="balanced")


@pytest.fixture(scope="module")
def data() -> Any:
    return load_data(DataSource("Digits", {"batch_size": 128}))


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.1), nn.Linear(144, 10))


class ByHand(Callback):
    """Keeps every step of a network, the first weights first."""

    def __init__(self, network: nn.Module) -> None:
        self.steps = [copy.deepcopy(network.state_dict())]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.steps.append(copy.deepcopy(pl_module.network.state_dict()))


def test_it_is_the_average_of_all_steps(data: Any) -> None:
    network, average = normed(), Average(0.6)
    module, seen = Classifier(network, 10, RECIPE), ByHand(network)
    with quiet_lightning():
        make_trainer(RECIPE, [average, seen]).fit(module, datamodule=data)
    assert len(seen.steps) == 19
    average.settle(module)
    for name, found in network.state_dict().items():
        if "batches" in name:
            assert int(found) == 18
            continue
        expected = seen.steps[0][name].double()
        for number, step in enumerate(seen.steps[1:], 1):
            decay = min(0.6, (1 + number) / (10 + number))
            expected = decay * expected + (1 - decay) * step[name].double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6, msg=name)
        assert name != "4.weight" or not torch.equal(found, seen.steps[-1][name])


def test_the_average_is_what_is_validated_and_kept(data: Any, tmp_path: Path) -> None:
    network = normed()
    measured = train(network, data, RECIPE, seed=0)
    save_weights(network, tmp_path / "a.safetensors")
    kept = normed()
    load_weights(kept, tmp_path / "a.safetensors")
    images, labels = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))
    with torch.no_grad():
        scores = kept.eval()(images)
    assert measured.loss == pytest.approx(nn.functional.cross_entropy(scores, labels).item(), abs=1e-5)
    plain = train(normed(), data, replace(RECIPE, ema=0.0), seed=0)
    assert plain.loss != measured.loss


def test_a_short_training_is_no_average_with_its_first_weights(data: Any) -> None:
    recipe = replace(RECIPE, epochs=3, ema=0.9999)  # 27 steps
    assert train(normed(), data, recipe, seed=0).top1 > 0.5


class Killed(Digits):
    """Digits whose third epoch breaks off, as a kill would."""

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()

        class Breaks(type(loader)):  # type: ignore[misc]
            def __iter__(self) -> Iterator[Any]:
                for number, batch in enumerate(super().__iter__()):
                    if self.epoch == 2 and number == 3:
                        raise RuntimeError("killed")
                    yield batch

        loader.__class__ = Breaks
        return loader


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_resumed_training_with_everything_ends_where_an_uninterrupted_one_does(
    data: Any, tmp_path: Path, micro_batches: int
) -> None:
    broken = Killed(batch_size=128)
    broken.prepare_data()
    broken.setup("fit")
    how: Any = {"seed": 5, "micro_batches": micro_batches}
    with pytest.raises(RuntimeError, match="killed"):
        train(normed(), broken, ALL, checkpoints=tmp_path, **how)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 1
    resumed, whole = normed(), normed()
    found = train(resumed, data, ALL, checkpoints=tmp_path, **how)
    expected = train(whole, data, ALL, **how)
    assert found.values == expected.values
    for name, one in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], one, rtol=0, atol=0, msg=name)


def test_a_checkpoint_of_the_last_epoch_still_gives_the_average(data: Any, tmp_path: Path) -> None:
    first, again = normed(), normed()
    measured = train(first, data, RECIPE, seed=0, checkpoints=tmp_path)
    assert train(again, data, RECIPE, seed=0, checkpoints=tmp_path).values == measured.values
    for name, one in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], one, rtol=0, atol=0, msg=name)


def test_a_rung_measures_the_average_and_leaves_no_trace(data: Any) -> None:
    told: list[Measurement] = []
    watched, plain = normed(), normed()
    recipe = replace(RECIPE, epochs=3)
    rungs = Rungs((1, 2), 64)
    found = train(watched, data, recipe, seed=0, rungs=rungs, on_rung=told.append)
    assert [one.epochs for one in told] == [1, 2]
    assert train(plain, data, recipe, seed=0).values == found.values
    for name, one in plain.state_dict().items():
        torch.testing.assert_close(watched.state_dict()[name], one, rtol=0, atol=0, msg=name)
    without: list[Measurement] = []
    train(normed(), data, replace(recipe, ema=0.0), seed=0, rungs=rungs, on_rung=without.append)
    assert without[0].loss != told[0].loss


def test_a_training_that_ends_at_a_rung_keeps_the_average(data: Any) -> None:
    stopped, plain = normed(), normed()
    train(stopped, data, replace(RECIPE, epochs=3), seed=0, rungs=Rungs((1,), 64), on_rung=lambda _: True)
    train(plain, data, replace(RECIPE, epochs=3, ema=0.0), seed=0, rungs=Rungs((1,), 64), on_rung=lambda _: True)
    assert not torch.equal(stopped.state_dict()["0.weight"], plain.state_dict()["0.weight"])


def test_an_average_is_no_part_of_a_checkpoint_without_one(data: Any, tmp_path: Path) -> None:
    train(normed(), data, replace(RECIPE, epochs=1, ema=0.0), checkpoints=tmp_path)
    assert "invnas.Average" not in torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
