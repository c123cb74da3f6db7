"""Training one network: a LightningModule, the recipe's optimiser and schedule, and the measurement that comes out."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from invnas.errors import BadInput, MissingExtra, TrialFailed
from invnas.experiment import Recipe
from invnas.measurement import Cost, Measurement
from invnas.ops import backend_of

#: A mean training loss of so many times that of guessing counts as divergence.
DIVERGED = 4.0


class Classifier(LightningModule):
    """A network with its loss, metrics, optimiser and schedule.

    Args:
        network: (B, C, H, W) -> (B, classes).
        classes: Number of classes.
        recipe: How to train it.
    """

    def __init__(self, network: nn.Module, classes: int, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe, self.classes = network, recipe, classes
        tops = {"top1": 1, "top5": 5} if classes > 5 else {"top1": 1}
        self.metrics = MetricCollection(
            {
                name: MulticlassAccuracy(classes, top_k=k, average="micro", validate_args=False)
                for name, k in tops.items()
            },
            compute_groups=False,
        )
        self.loss = MeanMetric(nan_strategy="disable")
        self.train_loss = MeanMetric(nan_strategy="disable")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        scores: torch.Tensor = self.network(images)
        return scores

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        scores = self(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)
        if loss.device.type == "cpu" and not torch.isfinite(loss):  # asking a GPU at every step would stall it
            raise TrialFailed(f"the training loss became {loss.item()} in epoch {self.current_epoch + 1}")
        self.train_loss.update(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Stop a training that diverged."""
        loss = float(self.train_loss.compute())
        self.train_loss.reset()
        self.log("train_loss", loss)
        guessing = math.log(self.classes)
        if not math.isfinite(loss) or loss > DIVERGED * guessing:
            epoch = self.current_epoch + 1
            raise TrialFailed(
                f"diverged: the training loss is {loss:.3g} in epoch {epoch}, guessing has {guessing:.3g}"
            )

    def validation_step(self, batch: Any, _: int) -> None:
        """Add a batch to the metrics."""
        images, labels = batch
        scores = self(images.contiguous(memory_format=torch.channels_last))
        self.metrics.update(scores, labels)
        self.loss.update(F.cross_entropy(scores, labels, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the epoch."""
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        loss = float(self.loss.compute())
        self.metrics.reset()
        self.loss.reset()
        if not math.isfinite(loss):
            raise TrialFailed(f"the validation loss became {loss} in epoch {self.current_epoch + 1}")
        self.log_dict({**values, "loss": loss})

    test_step, on_test_epoch_end = validation_step, on_validation_epoch_end

    def configure_optimizers(self) -> Any:
        """Return the optimiser with linear warm-up, then a cosine to zero, stepped at every batch."""
        recipe = self.recipe
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},  # biases and norms
        ]
        groups = [group for group in groups if group["params"]]
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "sgd":
            nesterov = recipe.momentum > 0
            optimizer = torch.optim.SGD(groups, recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov)
        else:
            optimizer = torch.optim.AdamW(groups, recipe.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = min(int(recipe.warmup_epochs * steps / recipe.epochs), steps - 1)

        def scale(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Checkpoint(Callback):
    """Writes last.ckpt after every epoch, whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        """Save and swap."""
        fresh = self.path.with_suffix(".new")
        trainer.save_checkpoint(fresh)
        os.replace(fresh, self.path)


def device_name() -> str:
    """Return what trainings run on here: "cpu", or "cuda" with the name of the GPU."""
    return f"cuda ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else "cpu"


def _logger(recipe: Recipe, folder: Path | None) -> Logger | bool:
    if folder is None or recipe.logger == "none":
        return False
    if recipe.logger == "csv":
        return CSVLogger(folder.parent, name=folder.name, version="")
    try:
        return TensorBoardLogger(folder.parent, name=folder.name, version="")
    except ModuleNotFoundError:
        raise MissingExtra("tensorboard", "tensorboard") from None


def make_trainer(recipe: Recipe, *, checkpoints: Path | None = None, logs: Path | None = None) -> Trainer:
    """Return a Lightning trainer without what a search of many small trainings does not need."""
    precision: Any = recipe.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    try:
        return Trainer(
            max_epochs=recipe.epochs,
            devices=1,
            precision=precision,
            gradient_clip_val=recipe.gradient_clip or None,
            callbacks=[_Checkpoint(checkpoints)] if checkpoints else [],
            logger=_logger(recipe, logs),
            # Without a logger nobody sees the epochs between: validation is paid once, at the end.
            check_val_every_n_epoch=recipe.epochs if recipe.logger == "none" else 1,
            log_every_n_steps=10**9,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],
        )
    except ValueError as error:
        raise BadInput(f"`recipe.precision` is '{recipe.precision}': {error}") from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says to every one of hundreds of trainings."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    except SystemExit as exit:
        # Lightning turns Ctrl-C into an exit of the process; the search has more to say first.
        raise KeyboardInterrupt from exit
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def train(
    network: nn.Module,
    data: LightningDataModule,
    recipe: Recipe,
    *,
    cost: Cost,
    classes: int,
    checkpoints: Path | None = None,
    logs: Path | None = None,
) -> Measurement:
    """Train a network from its present weights, or from its last checkpoint, and measure it on the validation images.

    Args:
        network: (B, C, H, W) -> (B, classes); trained in place.
        data: Set-up training and validation images.
        recipe: How.
        cost: What the network costs.
        classes: Number of classes.
        checkpoints: Folder of `last.ckpt`, written after every epoch and continued from when it is there.
        logs: Folder of CSV or TensorBoard logs, when the recipe asks for a logger.

    Raises:
        TrialFailed: If the loss is not finite, or diverges.
    """
    start = time.perf_counter()
    module = Classifier(network, classes, recipe)
    if checkpoints is not None:
        checkpoints.mkdir(parents=True, exist_ok=True)
    last = checkpoints / "last.ckpt" if checkpoints else None
    with quiet_lightning():
        trainer = make_trainer(recipe, checkpoints=checkpoints, logs=logs)
        resume_from = last if last is not None and last.is_file() else None
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=False if resume_from else None)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if "top1" not in metrics:  # killed between the last checkpoint and its validation
            metrics = dict(trainer.validate(module, datamodule=data, verbose=False)[0])
    return Measurement(
        top1=metrics["top1"],
        top5=metrics.get("top5"),
        loss=metrics["loss"],
        macs=cost.macs,
        parameters=cost.parameters,
        activation_bytes=cost.activation_bytes,
        epochs=recipe.epochs,
        train_seconds=time.perf_counter() - start,
        backend=backend_of(trainer.strategy.root_device),  # the module itself is back on the CPU by now
        device=device_name(),
    )


def test_top1(network: nn.Module, data: LightningDataModule, recipe: Recipe, classes: int) -> float:
    """Return the share of test images classified right; call it once, for what is reported."""
    module = Classifier(network, classes, recipe)
    with quiet_lightning():
        metrics = make_trainer(recipe).test(module, datamodule=data, verbose=False)[0]
    return float(metrics["top1"])


test_top1.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name
