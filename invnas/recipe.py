"""How each candidate is trained, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from invnas.errors import BadInput, nearest, shown
from invnas.settings import settle

#: The loss that is no class path.
CROSS_ENTROPY = "cross_entropy"

#: Peak rate and weight decay of each optimiser where none are given.
_USUAL: Mapping[str, tuple[float, float]] = {"sgd": (0.1, 1e-4), "adamw": (2e-3, 0.05)}

#: The rate that a run finds by itself.
AUTO: Literal["auto"] = "auto"

#: Far above, a Beta of two equal alphas is one number, one half.
_LARGEST_ALPHA = 1000


@dataclass(frozen=True)
class Recipe:
    """How each candidate is trained.

    Attributes:
        epochs: Passes over the training images.
        optimizer: "sgd" (Nesterov) or "adamw".
        learning_rate: Peak rate, reached after the warm-up, then decayed to zero by a cosine; by default 0.1 for sgd,
            0.002 for adamw; "auto" finds it once for a run, by a range test on three architectures of its space.
        momentum: Momentum of SGD.
        weight_decay: Weight decay; not applied to biases and norms; by default 0.0001 for sgd, 0.05 for adamw.
        warmup_epochs: Epochs of linear warm-up.
        label_smoothing: Share of each label spread over all classes.
        class_weights: How much an image of a class counts in the training loss: "none", "balanced" (classes count
            alike, whatever their size), or a weight for each class by name or index; 1 for those not named.
        sampling: Which training images an epoch has: "shuffled" (each once) or "balanced" (as many in all, each class
            equally often).
        loss: What is minimised: "cross_entropy" or the class path of a loss, such as torch.nn.MultiMarginLoss.
        loss_args: Arguments of that loss by name.
        mixup: Alpha of the Beta from which the share of a second image in each training image is drawn; 0 is off.
        cutmix: The same for a rectangle of a second image; with both, each batch draws one of them; 0 is off.
        ema: Decay of the exponential moving average of the weights that is validated, kept and exported, such as 0.999;
            0 is off.
        gradient_clip: Largest norm of the gradient (involution diverges without); 0 turns clipping off.
        precision: Lightning's precision, or "auto": bf16-mixed on a GPU, 32-true on a CPU.
        logger: Where each epoch's metrics go: "none", "csv" or "tensorboard".
        threads: Torch threads of each training on a CPU; 0 shares the cores among the workers.
        max_minutes: A training that takes longer fails; None has no limit.

    >>> Recipe(epochs=5, optimizer="adamw").epochs
    5
    """

    epochs: int = 30
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float | Literal["auto"] | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    class_weights: dict[str, Any] | str = "none"
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    loss: str = CROSS_ENTROPY
    loss_args: dict[str, Any] = field(default_factory=dict)
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    gradient_clip: float = 1.0
    precision: str = "auto"
    logger: Literal["none", "csv", "tensorboard"] = "none"
    threads: int = 0
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, Mapping):  # an index may be written as a number
            object.__setattr__(self, "class_weights", {str(key): one for key, one in self.class_weights.items()})
        settle(self, "recipe.")
        self._check_loss()
        if self.epochs < 1:
            raise BadInput(f"`recipe.epochs` must be at least 1, but got {self.epochs}")
        if not self.rate > 0:
            raise BadInput(f"`recipe.learning_rate` must be positive, but got {self.learning_rate}")
        if not 0 <= self.label_smoothing < 1:
            raise BadInput(f"`recipe.label_smoothing` must lie in [0, 1), but got {self.label_smoothing}")
        if not 0 <= self.momentum < 1:
            raise BadInput(f"`recipe.momentum` must lie in [0, 1), but got {self.momentum}")
        if min(self.gradient_clip, self.warmup_epochs, self.decay, self.threads) < 0:
            raise BadInput("`recipe`: gradient_clip, warmup_epochs, weight_decay and threads must not be negative")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise BadInput(f"`recipe.max_minutes` must be positive, but got {self.max_minutes}")

    def _check_loss(self) -> None:
        weights = self.class_weights
        if isinstance(weights, str):
            if weights not in ("none", "balanced"):
                raise BadInput(
                    f"`recipe.class_weights` must be none, balanced or a mapping of classes to weights, but got "
                    f"'{weights:.60}'; {nearest(weights, ('none', 'balanced'))}"
                )
        else:
            for name, weight in weights.items():
                if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
                    raise BadInput(f"`recipe.class_weights.{name}` must be a number from 0, but got {shown(weight)}")
            if not any(weights.values()):
                raise BadInput("`recipe.class_weights` must give some class a weight above 0")
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) <= _LARGEST_ALPHA:
                raise BadInput(f"`recipe.{name}` must lie in [0, {_LARGEST_ALPHA}], but got {getattr(self, name):g}")
        if not 0 <= self.ema < 1:
            raise BadInput(f"`recipe.ema` must lie in [0, 1), such as 0.999, but got {self.ema:g}")
        if self.loss_args and self.loss == CROSS_ENTROPY:
            raise BadInput("`recipe.loss_args` are those of a loss that `recipe.loss` names by its class path")

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed, so that labels become shares of classes."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def rate(self) -> float:
        """The peak rate: `learning_rate`, or that of the optimiser, also as long as auto has found none."""
        given = self.learning_rate
        return given if isinstance(given, float) else _USUAL[self.optimizer][0]

    @property
    def decay(self) -> float:
        """The weight decay: `weight_decay`, or that of the optimiser."""
        return _USUAL[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    def resolved(self) -> Recipe:
        """Return the same recipe with every default as a number; a rate that has to be found stays "auto"."""
        rate = AUTO if self.learning_rate == AUTO else self.rate
        return replace(self, learning_rate=rate, weight_decay=self.decay)
