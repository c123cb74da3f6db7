"""What to run, as frozen values: an experiment is one question with its data, recipe and budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from invnas.errors import BadInput
from invnas.measurement import check_objectives

_COUNT = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\d{1,2})?)\s*([kKmMgG]?)")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_count(text: str | int) -> int:
    """Return a count written as 30M, 1.5G, 200k or a plain number.

    >>> parse_count("1.5M")
    1500000
    """
    match = _COUNT.fullmatch(str(text).strip())
    if match is None:
        raise BadInput(f"'{text}' is not a count: write a number, or a number with k, M or G, such as 30M")
    return round(float(match[1]) * _SCALE[match[2].lower()])


@dataclass(frozen=True)
class DataSource:
    """Where the images come from: any LightningDataModule by its class path.

    Attributes:
        class_path: Dotted path of a LightningDataModule, such as invnas.data.Digits or my_package.MyData.
        init_args: Its arguments by name.
    """

    class_path: str = "invnas.data.HardDigits"
    init_args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How each candidate is trained.

    Attributes:
        epochs: Passes over the training images.
        optimizer: "sgd" (Nesterov) or "adamw".
        learning_rate: Peak rate, reached after the warm-up, then decayed to zero by a cosine.
        momentum: Momentum of SGD.
        weight_decay: Weight decay; not applied to biases and norms.
        warmup_epochs: Epochs of linear warm-up.
        label_smoothing: Share of each label spread over all classes.
        gradient_clip: Largest norm of the gradient (involution diverges without); 0 turns clipping off.
        precision: Lightning's precision, or "auto": bf16-mixed on a GPU, 32-true on a CPU.
        logger: Where each epoch's metrics go: "none", "csv" or "tensorboard".
        threads: Torch threads of each training on a CPU; 0 shares the cores among the workers.
    """

    epochs: int = 30
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    gradient_clip: float = 1.0
    precision: str = "auto"
    logger: Literal["none", "csv", "tensorboard"] = "none"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise BadInput(f"`recipe.epochs` must be at least 1, but got {self.epochs}")
        if self.optimizer not in ("sgd", "adamw"):
            raise BadInput(f"`recipe.optimizer` must be sgd or adamw, but got '{self.optimizer}'")
        if not self.learning_rate > 0:
            raise BadInput(f"`recipe.learning_rate` must be positive, but got {self.learning_rate}")
        if not 0 <= self.label_smoothing < 1:
            raise BadInput(f"`recipe.label_smoothing` must lie in [0, 1), but got {self.label_smoothing}")
        if not 0 <= self.momentum < 1:
            raise BadInput(f"`recipe.momentum` must lie in [0, 1), but got {self.momentum}")
        if min(self.gradient_clip, self.warmup_epochs, self.weight_decay, self.threads) < 0:
            raise BadInput("`recipe`: gradient_clip, warmup_epochs, weight_decay and threads must not be negative")


@dataclass(frozen=True)
class Experiment:
    """One question to a search: which space, on which images, with which budget.

    Attributes:
        space: Name of a space that comes with invnas (digits, hybrid_cifar, ...) or path of a Python file.
        data: Where the images come from.
        recipe: How each candidate is trained.
        objectives: Two or three of top1, macs, parameters, activation_bytes, latency_ms.
        trials: Architectures to train.
        max_macs: Cap on multiply-adds of one image, such as 30M; nothing above it is trained.
        max_parameters: Cap on parameters, such as 1M; nothing above it is trained.
        sampler: Who proposes: tpe, random, evolution, or the class path of any Optuna sampler.
        sampler_args: Arguments of that sampler by name.
        seed: Seed of the proposals and of each training.
        workers: Trainings at a time, each in a process of its own when more than one.
        random_baseline: Also train as many uniformly random architectures, to compare with.
    """

    space: str = "digits"
    data: DataSource = field(default_factory=DataSource)
    recipe: Recipe = field(default_factory=Recipe)
    objectives: tuple[str, ...] = ("top1", "macs")
    trials: int = 48
    max_macs: int | None = None
    max_parameters: int | None = None
    sampler: str = "tpe"
    sampler_args: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    workers: int = 1
    random_baseline: bool = False

    def __post_init__(self) -> None:
        check_objectives(self.objectives)
        for name in ("trials", "workers"):
            if getattr(self, name) < 1:
                raise BadInput(f"`{name}` must be at least 1, but got {getattr(self, name)}")
        for name in ("max_macs", "max_parameters"):
            cap = getattr(self, name)
            if cap is not None and cap < 1:
                raise BadInput(f"`{name}` must be positive, but got {cap}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "objectives": list(self.objectives)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Experiment:
        """Rebuild from `to_dict`.

        Raises:
            BadInput: If a key is unknown or missing, or a value cannot be.
        """
        try:
            values = dict(data)
            values["data"] = DataSource(**values["data"])
            values["recipe"] = Recipe(**values["recipe"])
            values["objectives"] = tuple(values["objectives"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"these are not the settings of an experiment: {type(error).__name__}: {error}") from error
