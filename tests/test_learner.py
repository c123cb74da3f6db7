"""A batch in parts: the gradient of the whole batch, with the activations of one part at a time."""

from __future__ import annotations

import copy
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from invnas.data import load_data
from invnas.experiment import DataSource, Recipe
from invnas.learner import Learner, _parts
from invnas.training import make_trainer, quiet_lightning, train

RECIPE = Recipe(epochs=1, learning_rate=0.2, gradient_clip=0)
EMPTY = torch.zeros(0)
Pair = namedtuple("Pair", ["rows", "more"])

#: What a batch's targets may be, made of a row for each image.
FORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "tensor": lambda rows: rows,
    "dict": lambda rows: {"rows": rows, "more": {"of": rows + 1}, "none": None},
    "tuple": lambda rows: (rows, (rows, rows)),
    "named": lambda rows: Pair(rows, rows),
    "list of images": lambda rows: [{"boxes": row[None]} for row in rows],
    "dict of names": lambda rows: {"rows": rows, "names": [str(row) for row in rows.tolist()]},
}


def rows_of(targets: Any) -> torch.Tensor:
    if isinstance(targets, torch.Tensor):
        return targets
    if isinstance(targets, dict):
        if "names" in targets:
            assert targets["names"] == [str(row) for row in targets["rows"].tolist()]
        return rows_of(targets["rows"])
    if isinstance(targets, list) and isinstance(targets[0], dict):
        return torch.cat([one["boxes"] for one in targets])
    return rows_of(targets[0])


class Rows(Learner):
    """Fits rows of two numbers; keeps gradients and rates of each step, and how many images the network saw."""

    def __init__(self, network: nn.Module, recipe: Recipe, micro_batches: int) -> None:
        super().__init__(network, recipe)
        self.micro_batches = micro_batches
        self.gradients: list[torch.Tensor] = []
        self.rates: list[float] = []
        self.seen: list[int] = []

    def training_loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        self.seen.append(len(outputs))
        return F.mse_loss(outputs, rows_of(targets).to(outputs.dtype))

    def measure(self, outputs: torch.Tensor, targets: Any) -> None:
        pass

    def measured(self) -> dict[str, float]:
        return {}

    def on_train_batch_end(self, *_: Any) -> None:
        self.gradients.append(torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None] or [EMPTY]))
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])


class Batches(LightningDataModule):
    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Any:
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self) -> Any:
        return DataLoader([], batch_size=None)


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)).to(dtype)


def batch(images: int, form: str = "tensor", seed: int = 0) -> Any:
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randn(images, 2, generator=drawn)
    return torch.randn(images, 1, 4, 4, generator=drawn), FORMS[form](rows)


def fit(batches: list[Any], micro_batches: int, trainer: Trainer | None = None, **recipe: Any) -> Rows:
    asked = replace(RECIPE, **{"precision": "64-true", **recipe})
    module = Rows(network(), asked, micro_batches)
    with quiet_lightning():
        (trainer or make_trainer(asked)).fit(module, datamodule=Batches(batches))
    return module


def truth(images: torch.Tensor, targets: Any) -> torch.Tensor:
    """The gradient of the whole batch in float64."""
    exact = network(torch.float64)
    loss_of(images, targets, exact).backward()
    return torch.cat([p.grad.flatten() for p in exact.parameters() if p.grad is not None])


def loss_of(images: torch.Tensor, targets: Any, exact: nn.Module | None = None) -> torch.Tensor:
    return F.mse_loss((exact or network(torch.float64))(images.double()), rows_of(targets).double())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("images", [1, 2, 3, 4, 7])
def test_the_gradient_is_that_of_the_whole_batch(images: int, form: str) -> None:
    given = batch(images, form)
    module = fit([given], 2)
    torch.testing.assert_close(module.gradients[0].double(), truth(*given), rtol=1e-12, atol=1e-14)
    # Two images or more in a part, for batch norms.
    assert module.seen == {1: [1], 2: [2], 3: [3], 4: [2, 2], 7: [4, 3]}[images]
    assert module.train_loss == pytest.approx(float(loss_of(*given).detach()))


def test_more_parts_than_two() -> None:
    given = batch(7)
    module = fit([given], 3)
    assert module.seen == [3, 2, 2]
    torch.testing.assert_close(module.gradients[0].double(), truth(*given), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "targets",
    [
        torch.tensor(1.0), torch.randn(3, 2), {}, (), [], {"rows": torch.randn(4), "weight": torch.tensor(1.0)},
        "four", 4,
        {"rows": torch.randn(4), "more": {}}, tuple(torch.randn(4) for _ in range(4)),
    ],
    ids=lambda targets: type(targets).__name__,
)  # fmt: skip
def test_targets_that_are_not_plainly_a_row_for_each_image_stay_whole(targets: Any) -> None:
    images = torch.randn(4, 1, 4, 4)
    assert _parts(images, targets, 2) == [(images, targets, 1.0)]


@pytest.mark.parametrize("images", [5, 8])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_mixed_precision_and_clipping(precision: Any, images: int, clip: float) -> None:
    """No further from the truth than the whole batch is, and one step, clipped once."""
    given = batch(images)

    def trained(micro_batches: int) -> Rows:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if precision == "16-mixed" else None
        trainer = Trainer(
            max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, num_sanity_val_steps=0,
            enable_model_summary=False, gradient_clip_val=clip or None, accelerator="cpu",
            plugins=[MixedPrecision(precision, "cpu", scaler)],
        )  # fmt: skip
        return fit([given], micro_batches, trainer)

    whole, parts = trained(1), trained(2)
    wanted = truth(*given)
    if clip:
        wanted = wanted * (clip / wanted.norm())
    assert wanted.norm() > 0
    errors = [float((one.gradients[0].double() - wanted).norm() / wanted.norm()) for one in (whole, parts)]
    assert errors[0] < 0.02
    assert errors[1] < 2 * errors[0] + 1e-3
    assert parts.trainer.global_step == whole.trainer.global_step == 1


def test_steps_and_rates_are_those_of_whole_batches() -> None:
    batches = [batch(images, seed=seed) for seed, images in enumerate((6, 6, 6, 5, 1))]
    whole, parts = (fit(batches, micro_batches, epochs=3, gradient_clip=0.5) for micro_batches in (1, 2))
    assert parts.trainer.global_step == whole.trainer.global_step == 3 * 5
    assert parts.rates == whole.rates
    assert len(set(parts.rates)) > 3
    assert parts.seen[:9] == [3, 3, 3, 3, 3, 3, 3, 2, 3]  # a last batch of one image is left out
    for mine, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


class _Saved:
    """A tensor that backward needs, counted while it is kept."""

    alive = peak = 0

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        _Saved.alive += tensor.numel()
        _Saved.peak = max(_Saved.peak, _Saved.alive)

    def __del__(self) -> None:
        _Saved.alive -= self.tensor.numel()


def test_the_activations_of_one_part_are_alive_at_a_time() -> None:
    peaks = []
    for micro_batches in (1, 2, 4):
        _Saved.alive = _Saved.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(_Saved, lambda saved: saved.tensor):
            fit([batch(512)], micro_batches)
        peaks.append(_Saved.peak)
    assert peaks[1] < 0.55 * peaks[0]
    assert peaks[2] < 0.3 * peaks[0]


def test_a_resumed_training_in_parts_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    data: Any = load_data(DataSource("Digits", {"batch_size": 128}))
    recipe = Recipe(epochs=3, learning_rate=0.2)
    torch.manual_seed(0)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.Linear(16, 10))
    whole, broken, resumed = (copy.deepcopy(fresh) for _ in range(3))
    expected = train(whole, data, recipe, seed=1, micro_batches=2)
    stopped = train(
        broken, data, recipe, seed=1, micro_batches=2, checkpoints=tmp_path, on_epoch=lambda epoch, _: epoch == 2
    )
    assert stopped.stopped
    found = train(resumed, data, recipe, seed=1, micro_batches=2, checkpoints=tmp_path)
    assert (found.values, found.micro_batches) == (expected.values, 2)
    for mine, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
