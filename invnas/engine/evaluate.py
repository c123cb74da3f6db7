"""One trial, in this process: build, train, measure, keep the weights."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from invnas.architecture import Architecture
from invnas.cost import latency_ms
from invnas.data import DataFacts, describe, load_data
from invnas.errors import InvnasError
from invnas.experiment import DataSource, Experiment
from invnas.measurement import Cost, Measurement
from invnas.nn import build
from invnas.training import train
from invnas.weights import save_weights


@lru_cache(maxsize=2)
def _open(source: str) -> tuple[LightningDataModule, DataFacts]:
    data = load_data(DataSource(**json.loads(source)))
    return data, describe(data)


def open_data(source: DataSource) -> tuple[LightningDataModule, DataFacts]:
    """Return the set-up images and their facts; a process opens the same source once."""
    return _open(json.dumps({"class_path": source.class_path, "init_args": source.init_args}))


def reason_of(error: Exception) -> str:
    """Return why a trial failed, as one sentence."""
    text = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or isinstance(error, MemoryError):
        return f"out of memory: {text}" if text else "out of memory"
    return text if isinstance(error, InvnasError) else f"{type(error).__name__}: {text}"


def evaluate(
    architecture: Architecture, cost: Cost, experiment: Experiment, *, checkpoints: Path, weights: Path, logs: Path
) -> Measurement:
    """Train an architecture as an experiment says, from its last checkpoint when there is one.

    Args:
        architecture: What to train.
        cost: Its price.
        experiment: Data, recipe, seed and objectives.
        checkpoints: Folder of the checkpoint.
        weights: File the trained weights are written to.
        logs: Folder of the recipe's logger.

    Raises:
        Exception: Whatever ends a trial; `reason_of` makes a sentence of it.
    """
    data, facts = open_data(experiment.data)
    torch.manual_seed(experiment.seed)
    network = build(architecture, facts.input_shape, facts.classes)
    measured = train(
        network, data, experiment.recipe, cost=cost, classes=facts.classes, checkpoints=checkpoints, logs=logs
    )
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, weights)
    if "latency_ms" not in experiment.objectives:
        return measured
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Measurement(**{**measured.to_dict(), "latency_ms": latency_ms(network, facts.input_shape, device=device)})


def outcome_of(
    trial: dict[str, Any], architecture: Architecture, experiment: Experiment, folder: Path
) -> dict[str, Any]:
    """Evaluate a trial of a run folder and return plain JSON data: its measurement, or the reason of its failure."""
    name = str(trial["number"])
    try:
        measured = evaluate(
            architecture,
            Cost(**trial["cost"]),
            experiment,
            checkpoints=folder / "checkpoints" / name,
            weights=folder / "weights" / f"{name}.safetensors",
            logs=folder / "logs" / name,
        )
    except Exception as error:  # whatever a user's own code raises ends this trial, not the search
        return {"number": trial["number"], "reason": reason_of(error)}
    return {"number": trial["number"], "measurement": measured.to_dict()}
