"""The recipe's optimiser, and its rate at every step: linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import nn

from invnas.experiment import Recipe

# Attribute of a data module with the batches of an epoch: a pass over the images is paid once, not by every trial.
_COUNTED = "_invnas_batches"


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe; weight decay leaves out biases and norms."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": recipe.decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, recipe.rate, momentum=recipe.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, recipe.rate)


def rate_of(epoch_steps: int, epochs: int, warmup_epochs: float) -> Callable[[int], float]:
    """Return the share of the peak rate at each step of the optimiser, from 0.

    A warm-up of w steps rises as 1/(w+1), ..., w/(w+1); the peak follows, and a cosine that would be zero one step
    after the last. A warm-up as long as the training or longer ends at its last step, which alone has the peak.

    Args:
        epoch_steps: Steps of an epoch, at least 1.
        epochs: Epochs of the whole training.
        warmup_epochs: Epochs of warm-up, not always whole.
    """
    steps = epoch_steps * epochs
    warmup = min(int(warmup_epochs * epoch_steps), steps - 1)

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        # An epoch longer than the one that was counted must not let the cosine rise again.
        return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / (steps - warmup), 1.0)))

    return rate


def epoch_steps_of(trainer: Trainer) -> int:
    """Return the steps of the optimiser in an epoch, at least 1.

    The batches of a loader that does not say its length are counted in a pass over it before the first training of a
    process, so that its rate follows the same curve as that of a loader that does.
    """
    trainer.fit_loop.setup_data()
    batches = trainer.num_training_batches
    if math.isinf(batches):
        batches = _counted(trainer)
    return max(1, math.ceil(batches / trainer.accumulate_grad_batches))


def _counted(trainer: Trainer) -> int:
    source: Any = getattr(trainer, "datamodule", None)
    limit = trainer.limit_train_batches
    if source is None:
        return _length(trainer.train_dataloader, limit)
    if not hasattr(source, _COUNTED):
        # A loader of its own: the other one may be readable only once.
        setattr(source, _COUNTED, _length(source.train_dataloader(), limit))
    counted: int = getattr(source, _COUNTED)
    return counted


def _length(batches: Any, limit: Any) -> int:
    with untouched_generators():
        return sum(1 for _ in islice(batches, limit if isinstance(limit, int) else None))


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Leave the global generators as they were, so that counting or looking does not change what is trained."""
    mine, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(mine)
        np.random.set_state(arrays)


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, which a user's own data and layers draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
