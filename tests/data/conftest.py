from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the network


class Watcher(LightningModule):
    """A linear network that remembers a digest of every training batch by epoch."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(int(np.prod(shape)), classes)
        self.seen: dict[int, list[float]] = {}
        self.validated = 0

    def training_step(self, batch: Any) -> torch.Tensor:
        images, labels = batch
        weights = torch.arange(1, len(images) + 1, dtype=images.dtype)
        self.seen.setdefault(self.current_epoch, []).append(float((images.mean((1, 2, 3)) * weights).sum()))
        return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def validation_step(self, batch: Any) -> None:
        self.validated += len(batch[0])

    def test_step(self, batch: Any) -> None:
        self.validated += len(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def watcher() -> type[Watcher]:
    return Watcher


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    def make(epochs: int = 1, **more: Any) -> Trainer:
        # Lightning 2.6 asks torch 2.13 about a class of its pytree that is on the way out.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        quiet["enable_checkpointing"] = False
        quiet["accelerator"] = "cpu"
        return Trainer(max_epochs=epochs, default_root_dir=tmp_path, num_sanity_val_steps=0, **(quiet | more))

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write <root>/<split>/<class>/*.png of odd sizes; the modes take turns."""

    def make(
        splits: tuple[str, ...] = ("train",), classes: int = 2, each: int = 6, modes: tuple[str, ...] = ("RGB",)
    ) -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / "images"
        for split in splits:
            for label in range(classes):
                folder = root / split / f"class{label}"
                folder.mkdir(parents=True)
                for number in range(each):
                    size = int(rng.integers(5, 40)), int(rng.integers(5, 40)), 3
                    image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
                    image.convert(modes[number % len(modes)]).save(folder / f"{number}.png")
        return root

    return make
