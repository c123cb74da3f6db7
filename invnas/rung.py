"""What a training is worth before its end: validated at a rung, with statistics of the batch norms made for the moment.

The running statistics of a batch norm lag behind weights that still move fast; with those of a few hundred training
images, taken at once, early accuracies rank architectures much better. The training's own are put back: a training that
is measured on its way ends with the same weights as one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import RunningStage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from invnas.averaging import Average
from invnas.data.source import single_loader
from invnas.learner import Learner
from invnas.measurement import Measurement
from invnas.schedule import untouched_generators
from invnas.stopping import Rungs


class Judged(Callback):
    """Keeps training images of an epoch that is judged, and measures at its end.

    Args:
        rungs: The epochs.
        measured: Makes a measurement of values by name and the epochs trained.
        average: What is measured in the place of the weights that learn, if there is one.
    """

    def __init__(
        self,
        rungs: Rungs,
        measured: Callable[[Mapping[str, float], int], Measurement],
        average: Average | None = None,
    ) -> None:
        self._rungs, self._measured, self._average = rungs, measured, average or Average(0)
        self._images: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the images of a batch, as the training saw them."""
        kept = sum(map(len, self._images))
        if trainer.current_epoch + 1 in self._rungs.epochs and kept < self._rungs.images:
            self._images.append(batch[0])

    def measure(self, trainer: Trainer, module: Learner) -> Measurement | None:
        """Return what the network is worth after this epoch; None when it is no rung."""
        epoch = trainer.current_epoch + 1
        if epoch not in self._rungs.epochs:
            return None
        images, self._images = self._images, []
        before = module.values
        loader = single_loader(trainer.datamodule, "val_dataloader")  # type: ignore[attr-defined]
        precision, strategy = trainer.precision_plugin, trainer.strategy
        with (
            untouched_generators(),
            torch.no_grad(),
            precision.val_step_context(),
            _validating(trainer),
            self._average.within(module),
            _evaluating(module, images),
        ):
            for index, batch in enumerate(loader):
                module.validation_step(strategy.batch_to_device(batch), index)
            values = module.measured()
        module.values = before
        return self._measured(values, epoch)


@contextmanager
def _validating(trainer: Trainer) -> Iterator[None]:
    """Let a data module that augments on the device see that this is no training."""
    stage, trainer.state.stage = trainer.state.stage, RunningStage.VALIDATING
    try:
        yield
    finally:
        trainer.state.stage = stage


@contextmanager
def _evaluating(module: Learner, images: list[torch.Tensor]) -> Iterator[None]:
    """Hold the network in evaluation, with batch norms that know some images; then everything is as it was."""
    training = [part for part in module.modules() if part.training]
    # One that is not in training is frozen by its owner: it keeps what it has.
    norms = [norm for norm in training if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    kept = [({name: value.clone() for name, value in norm.named_buffers()}, norm.momentum) for norm in norms]
    module.eval()
    try:
        if images and norms:
            _recalibrate(module, norms, images)
        yield
    finally:
        for norm, (buffers, momentum) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for name, value in norm.named_buffers():
                value.copy_(buffers[name])
        for part in training:
            part.training = True


def _recalibrate(module: Learner, norms: list[_BatchNorm], images: list[torch.Tensor]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    largest = max(map(len, images))
    for batch in images:
        if len(batch) == 1 < largest:  # the last one of an epoch, which the training leaves out, too
            continue
        module(batch.to(module.device))
    nn.Module.eval(module)
