"""The exponential moving average of weights, which is validated, kept and exported instead of the last ones.

Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the decay rises as in
Tan and Le, "EfficientNet", 2019, so that a short training is not an average with its first weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn


class Average(Callback):
    """Averages parameters and floating-point buffers of the network after every step of the optimiser.

    The statistics of batch norms are averaged like weights: those of the last weights belong to another network, and
    averaged ones are of the same steps as the weights beside them. Counters are copied. `Learner.network` holds the
    weights that learn, and the average only while something is measured and after `settle`.

    Args:
        decay: Of the average; after n steps it is at most (1 + n) / (10 + n). 0: there is no average, nothing is done.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self._steps = decay, 0
        self._average: dict[str, torch.Tensor] = {}

    @property
    def state_key(self) -> str:
        """What a checkpoint calls it."""
        return "invnas.Average"

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"average": self._average, "steps": self._steps} if self.decay else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._average, self._steps = dict(state_dict["average"]), int(state_dict["steps"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the present weights, or lay those of a checkpoint where the network is."""
        if self.decay:
            now = _weights(pl_module)
            self._average = {name: self._average.get(name, one).to(one.device, copy=True) for name, one in now.items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Take a step into the average."""
        if not self.decay or trainer.global_step <= self._steps:  # a batch that was left out is no step
            return
        self._steps = trainer.global_step
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for name, one in _weights(pl_module).items():
                kept = self._average[name]
                kept.lerp_(one, 1 - decay) if kept.is_floating_point() else kept.copy_(one)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn with the weights that were learning."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._exchange(pl_module)

    @contextmanager
    def within(self, module: LightningModule) -> Iterator[None]:
        """Let the network of a module be the average."""
        self._exchange(module)
        try:
            yield
        finally:
            self._exchange(module)

    def settle(self, module: LightningModule) -> None:
        """Make the network of a module the average, for good."""
        with torch.no_grad():
            for name, one in _weights(module).items():
                if name in self._average:
                    one.copy_(self._average[name])

    def _exchange(self, module: LightningModule) -> None:
        with torch.no_grad():
            for name, one in _weights(module).items():
                if name in self._average:
                    learning = one.clone()
                    one.copy_(self._average[name])
                    self._average[name].copy_(learning)


def _weights(module: LightningModule) -> dict[str, torch.Tensor]:
    network: nn.Module = module.network  # type: ignore[assignment]
    return {name: one for name, one in network.state_dict().items() if isinstance(one, torch.Tensor)}
