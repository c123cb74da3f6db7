"""Learning curves of architectures, each trained once: what a training is worth after every epoch, seen in three ways.

`plain` validates with the batch norms as the training has them, `recalibrated` with statistics of 512 training images
taken at once (what a rung sees), `averaged` so too, with the mean of the weights over the epoch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.swa_utils import AveragedModel

from invnas.architecture import Architecture
from invnas.engine.images import open_data
from invnas.experiment import Experiment
from invnas.learner import Learner
from invnas.measurement import Measurement
from invnas.nn import build
from invnas.rung import Judged
from invnas.stopping import Rungs
from invnas.training import make_trainer, quiet_lightning

IMAGES = 512
#: Top-1 after each epoch, by the way it was seen.
Curve = dict[str, list[float]]
#: Told of an epoch, from 1, with what is known; True ends the training.
Heard = Callable[[int, Curve], bool]


class Watch(Callback):
    """Measures after every epoch; the training goes on as if it were not looked at."""

    def __init__(self, epochs: int, heard: Heard, averaged: bool) -> None:
        every = tuple(range(1, epochs + 1))

        def measured(values: Any, epoch: int) -> Measurement:
            return Measurement(dict(values), epoch, epochs)

        self.seen = {
            "plain": Judged(Rungs(every, 0), measured),
            "recalibrated": Judged(Rungs(every, IMAGES), measured),
        }
        if averaged:
            self.seen["averaged"] = Judged(Rungs(every, IMAGES), measured)
        self.curve: Curve = {name: [] for name in self.seen}
        self.heard = heard
        self.mean: AveragedModel | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new mean of the weights."""
        self.mean = AveragedModel(pl_module.network)  # type: ignore[arg-type]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *about: Any) -> None:
        """Add the weights to their mean."""
        assert self.mean is not None
        self.mean.update_parameters(pl_module.network)  # type: ignore[arg-type]
        for judged in self.seen.values():
            judged.on_train_batch_end(trainer, pl_module, *about)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure in each way."""
        assert isinstance(pl_module, Learner)
        assert self.mean is not None
        for name, judged in self.seen.items():
            weights = copy.deepcopy(pl_module.network.state_dict())
            if name == "averaged":
                pl_module.network.load_state_dict(self.mean.module.state_dict())
            found = judged.measure(trainer, pl_module)
            pl_module.network.load_state_dict(weights)
            assert found is not None
            self.curve[name].append(round(found["top1"], 6))
        if self.heard(trainer.current_epoch + 1, self.curve):
            trainer.should_stop = True


def trained(architecture: Architecture, experiment: Experiment, heard: Heard, averaged: bool = True) -> Curve:
    """Train as the engine would and return the curve, up to where `heard` ended it."""
    data, facts = open_data(experiment.data)
    torch.manual_seed(experiment.seed)
    network = build(architecture, facts.input_shape, experiment.what.head(facts))
    module = experiment.what.module(network, facts, experiment.recipe)
    module.seed = experiment.seed
    data.order_seed = experiment.seed  # type: ignore[attr-defined]
    watch = Watch(experiment.recipe.epochs, heard, averaged)
    with quiet_lightning():
        make_trainer(experiment.recipe, [watch]).fit(module, datamodule=data)
    return watch.curve


class Curves:
    """Curves in a folder, by fingerprint; one that was ended early is trained again where more of it is wanted."""

    def __init__(self, folder: Path, experiment: Experiment, averaged: bool = False) -> None:
        self.folder, self.experiment, self.averaged = folder, experiment, averaged
        folder.mkdir(parents=True, exist_ok=True)

    def follow(self, architecture: Architecture, heard: Heard) -> Curve:
        """Tell of every epoch until `heard` ends it, from the folder where it knows enough."""
        path = self.folder / f"{architecture.fingerprint}.json"
        known: Curve = json.loads(path.read_text()) if path.is_file() else {}
        for epoch in range(1, len(known.get("plain", ())) + 1):
            part = {name: values[:epoch] for name, values in known.items()}
            if heard(epoch, part) or epoch == self.experiment.recipe.epochs:
                return part
        told = len(known.get("plain", ()))
        unheard: Heard = lambda epoch, part: epoch > told and heard(epoch, part)  # noqa: E731
        curve = trained(architecture, self.experiment, unheard, self.averaged)
        path.write_text(json.dumps(curve))
        return curve
