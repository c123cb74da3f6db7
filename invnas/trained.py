"""From a trial of a run to its network, and to the images it is tested on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invnas.errors import BadInput
from invnas.measurement import Trial
from invnas.run import Run

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule
    from torch import nn


def build_network(run: Run, trial: Trial) -> nn.Module:
    """Return the network of a trial, untrained."""
    from invnas.nn import build

    facts = run.manifest.facts
    return build(trial.architecture, facts.input_shape, run.experiment.what.head(facts))


def trained_network(run: Run, trial: Trial, weights: Path | None = None) -> nn.Module:
    """Return the network of a finished trial with its trained weights, or others, in evaluation mode."""
    from invnas.weights import load_weights

    network = build_network(run, trial).eval()
    load_weights(network, run.weights_path(trial.number) if weights is None else weights)
    return network


def need_test_images(data: LightningDataModule, path: str) -> None:
    """Raise BadInput unless a data module has test images.

    Args:
        data: The module.
        path: Its class path.
    """
    from lightning.pytorch import LightningDataModule

    if type(data).test_dataloader is LightningDataModule.test_dataloader:
        raise BadInput(f"{path} has no test_dataloader to measure on")
