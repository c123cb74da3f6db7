"""The LightningModule that every task shares: it steps, seeds and watches; a task says its loss and metrics."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torchmetrics import MeanMetric

from invnas.data.split import seed_of
from invnas.errors import TrialFailed
from invnas.experiment import Recipe
from invnas.schedule import epoch_steps_of, optimizer_of, rate_of, seed_generators

#: A mean training loss of so many times that of guessing counts as divergence.
DIVERGED = 4.0


class Learner(LightningModule):
    """A network that learns; a task makes a subclass with the three methods `training_loss`, `measure`, `measured`.

    Batches are pairs (images, targets): images (B, C, H, W), targets whatever the three methods understand.

    Args:
        network: From images to what the head makes of them.
        recipe: How to train it.
        guessing: Training loss of a guess; `DIVERGED` times as much ends the training. None has no such rule.

    Attributes:
        values: What the last validation or test found, by name.
        by_class: What it found of each class, as `class_values` says.
        confused: What the last test took for what, as `class_confusion` says.
        train_loss: Mean loss of the last epoch; None before.
        seed: Seed of the global generators, from which a user's own loader, augmentation and layers draw; with the
            epoch it decides what they draw, in a resumed training too. None leaves them alone.
        first_epoch: Epoch at which the training goes on, from 0.
        micro_batches: Parts of a batch that are computed one after the other, for less memory: their gradients are
            added to that of the whole batch, batch norms see a part at a time.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, guessing: float | None = None) -> None:
        super().__init__()
        self.network, self.recipe, self.guessing = network, recipe, guessing
        self.values: dict[str, float] = {}
        self.by_class: tuple[float | None, ...] = ()
        self.confused: Mapping[tuple[int, int], int] = {}
        self.train_loss: float | None = None
        self.seed: int | None = None
        self.first_epoch = 0
        self.micro_batches = 1
        self._parts: deque[tuple[torch.Tensor, Any, float]] = deque()
        self._loss = torch.zeros(())
        self._losses = MeanMetric(nan_strategy="disable")
        self._largest = 0

    def prepared(self, images: torch.Tensor, targets: Any, batch: int) -> tuple[torch.Tensor, Any]:
        """Return a training batch as it is learned from, before it is divided; by default as the loader gives it.

        Args:
            images: (B, C, H, W).
            targets: Those of the batch.
            batch: Number of the batch in its epoch, from 0.
        """
        return images, targets

    def loss_of(self, images: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the loss of images; what a task overrides whose losses do not come from outputs alone."""
        return self.training_loss(self(images), targets)

    def training_loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the loss of a batch, a scalar."""
        raise NotImplementedError

    def measure(self, outputs: torch.Tensor, targets: Any) -> None:
        """Add a batch of validation or test images to the metrics."""
        raise NotImplementedError

    def measured(self) -> dict[str, float]:
        """Return the task's objectives by name over the batches since the last call."""
        raise NotImplementedError

    def class_values(self) -> tuple[float | None, ...]:
        """Return the first objective for each class, over the batches that `measured` has last looked at.

        None stands for a class without images; a task without classes returns nothing, as here.
        """
        return ()

    def class_confusion(self) -> Mapping[tuple[int, int], int]:
        """Return how many of each class (first) were taken for each (second), over the batches as for `class_values`.

        Pairs that did not occur may be left out; a task that tells no classes apart returns nothing, as here.
        """
        return {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the network makes of images."""
        # Nothing is copied where they are so already.
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        outputs: torch.Tensor = self.network(images)
        return outputs

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor | None:
        """Return the loss of a batch, or of its first part."""
        images, targets = batch
        self._largest = max(self._largest, len(images))
        if len(images) == 1 < self._largest:  # the last one of an epoch: batch norm cannot normalise one value
            return None
        images, targets = self.prepared(images, targets, batch_idx)
        self._parts, self._loss = (
            deque(_parts(images, targets, self.micro_batches)),
            torch.zeros((), device=self.device),
        )
        return self._next_loss()

    def _next_loss(self) -> torch.Tensor:
        images, targets, share = self._parts.popleft()
        loss = self.loss_of(images, targets)
        if loss.device.type == "cpu" and not torch.isfinite(loss):  # asking a GPU at every step would stall it
            raise TrialFailed(f"the training loss became {loss.item()} in epoch {self.current_epoch + 1}")
        loss = loss if share == 1.0 else loss * share
        self._loss = self._loss + loss.detach()
        if not self._parts:  # summed here: this metric takes no weights without a look at its values
            self._losses.update(self._loss)
        return loss

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the gradient of a loss, then those of the other parts of the batch; only one part is in memory."""
        loss.backward(*args, **kwargs)
        del loss
        precision = self.trainer.precision_plugin
        while self._parts:
            with precision.train_step_context():
                part = self._next_loss()
            precision.pre_backward(part, self).backward(*args, **kwargs)

    def on_train_epoch_start(self) -> None:
        """Forget the last validation, and decide what this epoch draws."""
        self.values = {}
        if self.current_epoch > self.first_epoch:  # Lightning has made the first iterator before
            self._seed_epoch(self.current_epoch)

    def on_train_epoch_end(self) -> None:
        """Stop a training that diverged."""
        epoch = self.current_epoch + 1
        if not self._losses.update_called:
            raise TrialFailed(f"the training loader gave no batch in epoch {epoch}")
        self.train_loss = loss = float(self._losses.compute())
        self._losses.reset()
        self.log("train_loss", loss)
        if not math.isfinite(loss) or (self.guessing is not None and loss > DIVERGED * self.guessing):
            guess = "" if self.guessing is None else f", guessing has {self.guessing:.3g}"
            raise TrialFailed(f"diverged: the training loss is {loss:.3g} in epoch {epoch}{guess}")

    def validation_step(self, batch: Any, _: int) -> None:
        """Add a batch to the metrics."""
        images, targets = batch
        self.measure(self(images), targets)

    def on_validation_epoch_end(self) -> None:
        """Take the metrics of the epoch."""
        self.values, self.by_class = self.measured(), self.class_values()
        for name, value in self.values.items():
            if not math.isfinite(value):
                epoch = min(self.current_epoch + 1, self.recipe.epochs)
                raise TrialFailed(f"the validation {name} became {value} in epoch {epoch}")
        self.log_dict(self.values)

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Take the metrics, finite or not."""
        self.values, self.confused = self.measured(), self.class_confusion()

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimiser with its rate, stepped at every step of the optimiser."""
        optimizer = optimizer_of(self.network, self.recipe)
        self._seed_epoch(self.first_epoch)
        rate = rate_of(epoch_steps_of(self.trainer), self.recipe.epochs, self.recipe.warmup_epochs)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _seed_epoch(self, epoch: int) -> None:
        if self.seed is not None:
            seed_generators(seed_of(self.seed, epoch))


def _parts(images: torch.Tensor, targets: Any, number: int) -> list[tuple[torch.Tensor, Any, float]]:
    """Return a batch in parts of two images or more, each with its share; whole where the targets cannot be split."""
    number = min(number, len(images) // 2)
    split = _split(targets, len(images), number) if number > 1 else None
    if split is None:
        return [(images, targets, 1.0)]
    pairs = zip(images.tensor_split(number), split, strict=True)
    return [(part, wanted, len(part) / len(images)) for part, wanted in pairs]


def _split(targets: Any, images: int, number: int) -> list[Any] | None:
    """Return the targets of each part; None where it is not plain which of them belong to which image.

    A tensor has a row for each image. A dict holds what can be split; so does a tuple or list, unless it is one entry
    for each image itself.
    """
    if targets is None:
        return [None] * number
    if isinstance(targets, torch.Tensor):
        return list(targets.tensor_split(number)) if targets.shape[:1] == (images,) else None
    if isinstance(targets, dict):
        fields = _fields(targets.values(), images, number)
        return fields and [dict(zip(targets, values, strict=True)) for values in fields]
    if not isinstance(targets, list | tuple):
        return None
    fields = _fields(targets, images, number)
    if hasattr(targets, "_make"):  # a named tuple
        return fields and [targets._make(values) for values in fields]
    if len(targets) != images:
        return fields and [type(targets)(values) for values in fields]
    if fields is not None:  # as many fields as images
        return None
    return [targets[part[0] : part[-1] + 1] for part in torch.arange(images).tensor_split(number)]


def _fields(values: Iterable[Any], images: int, number: int) -> list[Any] | None:
    found = [_split(value, images, number) for value in values]
    rows = [parts for parts in found if parts is not None]
    return list(zip(*rows, strict=True)) if rows and len(rows) == len(found) else None
