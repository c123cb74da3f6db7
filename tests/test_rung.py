"""Measuring on the way: nothing of the training changes, and what is measured is what a hand would find."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from invnas.experiment import Recipe
from invnas.facts import DataFacts
from invnas.measurement import Measurement
from invnas.stopping import Rungs
from invnas.training import train

RECIPE = Recipe(epochs=4, learning_rate=0.1, threads=1)
FACTS = DataFacts((1, 4, 4), 3)
VALIDATED = 7


class Images(LightningDataModule):
    """49 images of 4 x 4 and three classes, in batches of 16: the last one holds one image. Their order is shuffled."""

    def __init__(self, batch: int = 16, shuffle: bool = True) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.labels = torch.arange(49) % 3
        self.images = torch.rand(49, 1, 4, 4, generator=draws) + 0.2 * self.labels[:, None, None, None]
        self._batch, self._shuffle = batch, shuffle

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(self.images, self.labels), self._batch, shuffle=self._shuffle)

    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(self.images[:14], self.labels[:14]), VALIDATED, shuffle=True)


def network(*middle: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 6, 3), *middle, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def frozen() -> nn.Module:
    norm = nn.BatchNorm2d(6)
    norm.running_mean.fill_(0.3)  # type: ignore[union-attr]
    return norm.eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "norm": lambda: network(nn.BatchNorm2d(6)),
    "two norms": lambda: network(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)),
    "dropout": lambda: network(nn.BatchNorm2d(6), nn.Dropout(0.3)),
    "momentum None": lambda: network(nn.BatchNorm2d(6, momentum=None)),
    "not affine": lambda: network(nn.BatchNorm2d(6, affine=False)),
    "no running statistics": lambda: network(nn.BatchNorm2d(6, track_running_stats=False)),
    "no norm": network,
    "frozen": lambda: network(frozen()),
    "instance norm": lambda: network(nn.InstanceNorm2d(6, track_running_stats=True)),
    "one value": lambda: network(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6)),
}


def trained(net: nn.Module, data: Any, folder: Path, rungs: Rungs = Rungs(), **options: Any) -> Any:  # noqa: B008
    """Return what a training comes to, bit by bit, and what was measured on its way."""
    told: list[Measurement] = []
    torch.manual_seed(7)
    measured = train(net, data, RECIPE, facts=FACTS, checkpoints=folder, rungs=rungs, on_rung=told.append, **options)
    kept = torch.load(folder / "last.ckpt", weights_only=True)
    state = {name: kept[name] for name in ("state_dict", "optimizer_states", "lr_schedulers")}
    return {**state, "values": measured.values, "draws": torch.get_rng_state()}, told


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("images", [0, 20, 1000])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_that_is_measured_is_that_which_is_not(name: str, images: int, tmp_path: Path) -> None:
    plain, nothing = trained(NETWORKS[name](), Images(), tmp_path / "plain")
    judged, told = trained(NETWORKS[name](), Images(), tmp_path / "judged", Rungs((1, 2, 3), images))
    assert equal(plain, judged)
    assert nothing == []
    assert [(one.epochs, one.planned_epochs) for one in told] == [(1, 4), (2, 4), (3, 4)]
    assert all(one.stopped and 0 <= one["top1"] <= 1 and one["loss"] > 0 for one in told)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_training_in_parts_and_with_batches_of_one_image(parts: int, tmp_path: Path) -> None:
    for batch in (1, 16):
        make = NETWORKS["norm"]
        plain, _ = trained(make(), Images(batch), tmp_path / f"plain{batch}", micro_batches=parts)
        rungs = Rungs((1, 3), 1000)
        judged, told = trained(make(), Images(batch), tmp_path / f"judged{batch}", rungs, micro_batches=parts)
        assert equal(plain, judged)
        assert len(told) == 2


def by_hand(net: Any, batches: list[torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return top-1 and loss of the network "two norms" in float64, its norms knowing some batches."""
    first, norm, _, second, norm2, *rest = copy.deepcopy(net).double()

    def normed(layer: Any, x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        shape = (1, -1, 1, 1)
        x = (x - mean.view(shape)) / (variance.view(shape) + layer.eps).sqrt()
        return x * layer.weight.view(shape) + layer.bias.view(shape)

    def through(layer: Any, many: list[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Normalise each batch by itself; return the mean of their means and of their unbiased variances, too."""
        flat = [x.transpose(0, 1).flatten(1) for x in many]
        own = [normed(layer, x, f.mean(1), f.var(1, correction=0)) for x, f in zip(many, flat, strict=True)]
        means, variances = (
            torch.stack([how(f) for f in flat]).mean(0) for how in (lambda f: f.mean(1), lambda f: f.var(1))
        )
        return own, means, variances

    with torch.no_grad():
        inner, *one = through(norm, [first(batch.double()) for batch in batches])
        _, *two = through(norm2, [second(x.relu()) for x in inner])
        scores = normed(norm2, second(normed(norm, first(images.double()), *one).relu()), *two)
        for layer in rest:
            scores = layer(scores)
    return float((scores.argmax(1) == labels).double().mean()), float(nn.functional.cross_entropy(scores, labels))


@pytest.mark.parametrize(("images", "batches"), [(1, 1), (16, 1), (17, 2), (48, 3), (49, 3)])
def test_what_is_measured_is_a_recalibration_by_hand(images: int, batches: int, tmp_path: Path) -> None:
    data, net = Images(shuffle=False), NETWORKS["two norms"]()
    seen = list(data.images.split(16))[:batches]
    told = []

    def on_rung(measured: Measurement) -> None:
        told.append(measured.epochs)
        top1, loss = by_hand(net, seen, data.images[:14], data.labels[:14])
        assert measured["top1"] == pytest.approx(top1, abs=1e-6)
        assert measured["loss"] == pytest.approx(loss, rel=1e-5)

    train(net, data, RECIPE, facts=FACTS, rungs=Rungs((1, 3), images), on_rung=on_rung)
    assert told == [1, 3]


def test_without_images_it_is_the_validation_of_the_training() -> None:
    told: dict[int, Any] = {}
    rungs, seen = Rungs((1, 2, 3), 0), {}
    recipe = Recipe(epochs=4, learning_rate=0.1, threads=1, logger="csv")

    def on_rung(measured: Measurement) -> None:
        told[measured.epochs] = dict(measured.values)

    def on_epoch(epoch: int, values: Any) -> bool:
        seen[epoch] = {name: value for name, value in values.items() if name != "train_loss"}
        return False

    train(NETWORKS["norm"](), Images(), recipe, facts=FACTS, seed=0, on_epoch=on_epoch)
    train(NETWORKS["norm"](), Images(), recipe, facts=FACTS, seed=0, rungs=rungs, on_rung=on_rung)
    assert told == {epoch: pytest.approx(seen[epoch]) for epoch in (1, 2, 3)}


def test_a_training_ends_at_the_rung_where_it_is_told_to(tmp_path: Path) -> None:
    for number, end in enumerate((1, 3)):
        measured = train(
            NETWORKS["norm"](), Images(), RECIPE, facts=FACTS, checkpoints=tmp_path / str(number),
            rungs=Rungs((1, 3), 16), on_rung=lambda found, end=end: found.epochs == end,
        )  # fmt: skip
        assert (measured.epochs, measured.planned_epochs, measured.stopped) == (end, 4, True)
        assert torch.load(tmp_path / str(number) / "last.ckpt", weights_only=True)["epoch"] == end - 1


def test_one_that_was_stopped_goes_on_to_where_a_whole_training_ends(tmp_path: Path) -> None:
    whole = train(NETWORKS["dropout"](), Images(), RECIPE, facts=FACTS, seed=3)
    again: dict[str, Any] = {"facts": FACTS, "seed": 3, "checkpoints": tmp_path}
    train(NETWORKS["dropout"](), Images(), RECIPE, rungs=Rungs((2,), 16), on_rung=lambda found: True, **again)
    assert train(NETWORKS["dropout"](), Images(), RECIPE, **again).values == whole.values


class Watched(Images):
    """Remembers which batches there were and in which stage each was brought to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[weakref.ref[torch.Tensor]] = []
        self.stages: set[tuple[int, bool]] = set()

    def train_dataloader(self) -> Any:
        loader, alive = super().train_dataloader(), self.alive

        class Watching:
            def __iter__(self) -> Iterator[Any]:
                for images, labels in loader:
                    alive.append(weakref.ref(images))
                    yield images, labels

            def __len__(self) -> int:
                return len(loader)

        return Watching()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        assert self.trainer is not None
        self.stages.add((len(batch[0]), self.trainer.training))
        return batch


def test_images_are_let_go() -> None:
    data, kept = Watched(), []

    def on_epoch(epoch: int, values: Any) -> None:
        kept.append(sum(one() is not None for one in data.alive))

    def on_rung(measured: Measurement) -> None:
        kept.append(sum(one() is not None for one in data.alive))

    rungs = Rungs((1, 3), 1000)
    train(NETWORKS["norm"](), data, RECIPE, facts=FACTS, rungs=rungs, on_rung=on_rung, on_epoch=on_epoch)
    assert len(data.alive) == 16
    assert max(kept) <= 2  # Lightning holds the last one, and one that it has fetched ahead


def test_a_data_module_that_augments_sees_that_this_is_validation() -> None:
    data = Watched()
    train(NETWORKS["norm"](), data, RECIPE, facts=FACTS, rungs=Rungs((1, 3), 16), on_rung=lambda found: None)
    assert data.stages == {(16, True), (1, True), (VALIDATED, False)}


def test_a_norm_that_its_owner_froze_keeps_what_it_has() -> None:
    told: dict[int, list[Any]] = {0: [], 1000: []}
    for images, values in told.items():
        judge: Callable[[Measurement], None] = lambda found, values=values: values.append(dict(found.values))  # noqa: E731
        train(NETWORKS["frozen"](), Images(), RECIPE, facts=FACTS, seed=0, rungs=Rungs((1, 3), images), on_rung=judge)
    assert told[0] == [pytest.approx(values) for values in told[1000]]
