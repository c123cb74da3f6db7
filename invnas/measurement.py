"""What was found out about an architecture, with the unit in each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import BadInput, nearest

MAC_CONVENTION = (
    "FLOPs are multiply-adds (MACs) of one image: convolutions, linear layers, matrix products and the "
    "local multiply-add of involution; batch norm, activations, pooling and bias additions are not counted"
)

#: What `macs` counts, by name, one sentence each.
CONVENTIONS: Mapping[str, str] = {
    "macs": MAC_CONVENTION,
    "published": (
        "FLOPs are those of the involution paper for one image: multiply-adds of convolutions (with their bias "
        "additions), kernel generation and the local multiply-add of involution, 2 per element of a batch norm, 1 per "
        "output of a ReLU, 1 per input of a pooling; the final linear layer and additions of maps are not counted"
    ),
}

#: Every objective by name, and which way is better.
OBJECTIVES: Mapping[str, str] = {
    "top1": "maximize",
    "macs": "minimize",
    "parameters": "minimize",
    "activation_bytes": "minimize",
    "latency_ms": "minimize",
}


@dataclass(frozen=True)
class Cost:
    """The exact price of a network for one image, independent of the backend that runs it.

    Attributes:
        macs: Multiply-adds of one forward pass; other conventions count differently (see `CONVENTIONS`).
        parameters: Trainable numbers.
        activation_bytes: Peak bytes of feature maps alive at once in inference, float32, without the weights.
    """

    macs: int
    parameters: int
    activation_bytes: int


@dataclass(frozen=True)
class Segment:
    """A stretch of a network with its price.

    Attributes:
        name: "stem", "stage 1", ..., "head"; "network" for a whole network of the user's own.
        cost: Its price for one image.
        shape: Channels, height and width that leave it; the classes of the head.
    """

    name: str
    cost: Cost
    shape: tuple[int, ...]


def total(prices: Sequence[Cost]) -> Cost:
    """Return the price of running one after the other: sums, and the largest peak."""
    return Cost(
        sum(price.macs for price in prices),
        sum(price.parameters for price in prices),
        max((price.activation_bytes for price in prices), default=0),
    )


@dataclass(frozen=True)
class Measurement:
    """One trained architecture: what it costs and what it reached on the validation images.

    Attributes:
        top1: Share of validation images classified right, 0 to 1.
        loss: Mean cross-entropy on the validation images, nats.
        macs: Multiply-adds of one image.
        parameters: Trainable numbers.
        activation_bytes: Peak bytes of feature maps for one image, float32.
        top5: Share of images whose class is among the five likeliest; None with fewer than six classes.
        latency_ms: Median milliseconds of a forward pass of one image; None when not measured.
        epochs: Epochs trained.
        train_seconds: Wall seconds of training and validation.
        backend: The involution backend that ran, such as "shift".
        device: What it ran on, such as "cpu" or "cuda (NVIDIA H200)".
    """

    top1: float
    loss: float
    macs: int
    parameters: int
    activation_bytes: int
    top5: float | None = None
    latency_ms: float | None = None
    epochs: int = 0
    train_seconds: float = 0.0
    backend: str = ""
    device: str = ""

    def values(self, objectives: tuple[str, ...]) -> tuple[float, ...]:
        """Return the numbers of the named objectives, in their order."""
        return tuple(float(getattr(self, name)) for name in objectives)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Rebuild from `to_dict`; fields of a newer invnas are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True)
class Trial:
    """One training of a run: what was proposed, what it cost, what came out.

    Attributes:
        number: Its place in the run, from 0; the random baseline goes on counting in the same run.
        architecture: What was trained.
        decisions: The path through the space that leads there.
        cost: Its price, known before the training.
        state: "running" until told; a run that was killed is found with running trials.
        measurement: What came out; None unless complete.
        reason: Why it failed, one sentence; empty unless failed.
        baseline: Whether it belongs to the random baseline instead of the search.
    """

    number: int
    architecture: Architecture
    decisions: Decisions
    cost: Cost
    state: Literal["running", "complete", "failed"] = "running"
    measurement: Measurement | None = None
    reason: str = ""
    baseline: bool = False


def check_objectives(objectives: tuple[str, ...]) -> None:
    """Raise BadInput unless these are two or three different objectives that exist."""
    for name in objectives:
        if name not in OBJECTIVES:
            raise BadInput(f"unknown objective '{name}'; {nearest(name, OBJECTIVES)}")
    if len(set(objectives)) != len(objectives) or len(objectives) not in (2, 3):
        raise BadInput(
            f"`objectives` must name two or three different objectives, but got {', '.join(objectives) or 'none'}"
        )
