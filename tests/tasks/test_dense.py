"""A task of a user's own, one value for each pixel, from the search to the export: nothing in invnas knows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from invnas.commands import run_search
from invnas.errors import BadInput
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.export import load_model
from invnas.facts import DataFacts
from invnas.head import FeatureMap
from invnas.learner import Learner
from invnas.objective import Objective
from invnas.results import export_model, retrain, write_report
from invnas.run import Run

SPACE = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Stage

spatial = Choice(Convolution(kernel_size=3), Involution(kernel_size=3, group_channels=4))
block = Bottleneck(spatial, expansion=2)
space = HybridNet(PlainStem(8, kernel_size=3, stride=1, pool=False), [Stage(8, [block]), Stage(16, [block], stride=2)])
"""


class _Fused(nn.Module):
    """The last map, scaled to the first one, and both of them as one score for each pixel."""

    def __init__(self, first: FeatureMap, last: FeatureMap, size: tuple[int, int]) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(first.channels, 1, 1), nn.Conv2d(last.channels, 1, 1)
        self.size = size

    def forward(self, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return F.interpolate(self.fine(first), self.size) + F.interpolate(self.coarse(last), self.size)


@dataclass(frozen=True)
class PixelScores:
    @property
    def given(self) -> Mapping[str, Any]:
        return {}

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        return 0, len(maps) - 1

    def build(self, maps: Sequence[FeatureMap], input_shape: tuple[int, int, int]) -> nn.Module:
        return _Fused(*maps, input_shape[1:])

    def problem(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> str | None:
        wanted = (1, *input_shape[1:])
        return None if output_shape == wanted else f"the network must return {wanted}, but returns {output_shape}"


class Pixels(Learner):
    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        self.counts = [0.0, 0.0]

    def training_loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets)

    def measure(self, outputs: torch.Tensor, targets: Any) -> None:
        found, wanted = outputs > 0, targets > 0.5
        self.counts = [self.counts[0] + float((found & wanted).sum()), self.counts[1] + float((found | wanted).sum())]

    def measured(self) -> dict[str, float]:
        both, any_of = self.counts
        self.counts = [0.0, 0.0]
        return {"iou": both / max(any_of, 1.0)}


@dataclass(frozen=True)
class Foreground:
    name: str = "foreground"
    objectives: tuple[Objective, ...] = (
        Objective("iou", "IoU", "Intersection over union", "maximize", "share", False, 0.0, 1.0, source="learned"),
    )
    tested: tuple[str, ...] = ("iou",)

    def head(self, facts: DataFacts) -> PixelScores:
        return PixelScores()

    def module(self, network: nn.Module, facts: DataFacts, recipe: Recipe) -> Pixels:
        return Pixels(network, recipe)

    def check_targets(self, facts: DataFacts) -> Callable[[Any, int, bool], None]:
        def check(targets: Any, images: int, training: bool) -> None:
            if tuple(targets.shape) != (images, 1, *facts.input_shape[1:]):
                raise BadInput(f"the targets must be a map for each image, but have the shape {tuple(targets.shape)}")

        return check

    def output(self, facts: DataFacts) -> str:
        return "a score for each pixel, above 0 in the foreground"

    def describe(self, facts: DataFacts) -> Mapping[str, str]:
        return {"foreground": "what is bright"}


class Bright(LightningDataModule):
    """Noise; what is brighter than its half is foreground."""

    classes = 2

    def _loader(self, seed: int, shuffle: bool = False) -> Any:
        images = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(images, (images > 0.5).float()), 8, shuffle=shuffle)

    def train_dataloader(self) -> Any:
        return self._loader(0, shuffle=True)

    def val_dataloader(self) -> Any:
        return self._loader(1)

    def test_dataloader(self) -> Any:
        return self._loader(2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("dense")
    (folder / "space.py").write_text(SPACE)
    experiment = Experiment(
        space=str(folder / "space.py"),
        data=DataSource(f"{__name__}.Bright"),
        task=f"{__name__}.Foreground",
        objectives=("iou", "macs"),
        recipe=Recipe(epochs=4, learning_rate=0.5),
        trials=2,
    )
    return run_search(experiment, folder / "run", quiet=True)


def test_it_is_searched(run: Run) -> None:
    trials = run.trials()
    assert [trial.state for trial in trials] == ["complete", "complete"]
    assert len({trial.architecture.fingerprint for trial in trials}) == 2
    for trial in trials:
        assert trial.measurement is not None
        assert set(trial.measurement.values) == {"iou"}
        assert trial.measurement.iou > 0.5  # everything is foreground has 0.5
    assert run.pick("best").measurement.iou == max(trial.measurement.iou for trial in trials)  # type: ignore[union-attr]


def test_it_is_reported_and_retrained(run: Run) -> None:
    notes: list[str] = []
    page = write_report(run, note=notes.append).read_text()
    assert notes == []
    assert "Intersection over union" in page
    assert "what is bright" in page
    assert "top-1" not in page
    assert "takes for what" not in page
    assert set(next(iter(run.tested().values()))) == {"iou"}
    assert len(retrain(run, "best", epochs=1, seeds=2, quiet=True)["test_iou"]) == 2


def test_it_is_exported_and_loaded(run: Run, tmp_path: Path) -> None:
    folder = export_model(run, "best", ["safetensors", "pt2"], tmp_path / "model")
    card = (folder / "README.md").read_text()
    assert "a score for each pixel" in card
    assert "class" not in card
    images = torch.rand(2, 1, 8, 8)
    assert load_model(folder, trust=True)(images).shape == (2, 1, 8, 8)
    with pytest.raises(BadInput, match=r"and the task '.*Foreground' does not say what makes these of its numbers"):
        export_model(run, "best", ["onnx"], tmp_path / "photo", with_preprocessing=True)
    assert not (tmp_path / "photo").exists()
