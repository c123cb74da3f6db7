"""What was found out about an architecture, with the unit in each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import BadInput, shown
from invnas.objective import Objective

MAC_CONVENTION = (
    "FLOPs are multiply-adds (MACs) of one image: convolutions, linear layers, matrix products, the local multiply-add "
    "of involution, and all other products that end in a sum; batch norm, activations, gates, pooling and bias "
    "additions are not counted"
)

#: The name of the interquartile range of a latency in a cost.
SPREAD = "latency_spread_ms"

#: What `macs` counts, by name, one sentence each.
CONVENTIONS: Mapping[str, str] = {
    "macs": MAC_CONVENTION,
    "published": (
        "FLOPs are those of the involution paper for one image: multiply-adds of convolutions (with their bias "
        "additions), kernel generation and the local multiply-add of involution, 2 per element of a batch norm, 1 per "
        "output of a ReLU, 1 per input of a pooling; the final linear layer of a classifier, additions of maps, RoI "
        "align and the ReLU of a region proposal network are not counted"
    ),
    "published-segmentation": (
        "FLOPs are those of the involution paper's table of segmentation for one image: as by `published`, but of the "
        "batch norms only those of kernel generators and after the involution of a stem (its counter passed over "
        "synchronised ones), and 1 per output of a doubling in the head"
    ),
}


@dataclass(frozen=True)
class Cost:
    """The price of a network for one image, by name: what was counted exactly, and what was metered beside it.

    Attributes:
        values: "macs" (multiply-adds of one forward pass; other conventions count differently, see `CONVENTIONS`),
            "parameters" (trainable numbers), "activation_bytes" (peak bytes of feature maps alive at once in inference,
            float32, without the weights), and where it was measured "latency_ms" with its interquartile range
            "latency_spread_ms".

    >>> price = Cost.counted(macs=1_200_000, parameters=30_000, activation_bytes=65_536)
    >>> price.macs, price["parameters"], "latency_ms" in price
    (1200000, 30000, False)
    """

    values: Mapping[str, float]

    @classmethod
    def counted(cls, macs: int, parameters: int, activation_bytes: int) -> Cost:
        """Return a price of what is counted, independent of the backend that runs the network."""
        return cls({"macs": macs, "parameters": parameters, "activation_bytes": activation_bytes})

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return int(self.values["macs"])

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return int(self.values["parameters"])

    @property
    def activation_bytes(self) -> int:
        """Peak bytes of feature maps."""
        return int(self.values["activation_bytes"])

    @property
    def modelled(self) -> frozenset[str]:
        """The names of what says something of the network; the spread of a latency says something of the clock."""
        return frozenset(self.values) - {SPREAD}

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON data."""
        return dict(self.values)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cost:
        """Rebuild from `to_dict`; a TypeError says that a value is no number."""
        for name, value in data.items():
            if not isinstance(value, int | float):
                raise TypeError(f"the cost `{name}` is {shown(value)}")
        return cls(dict(data))


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
    return Cost.counted(
        sum(price.macs for price in prices),
        sum(price.parameters for price in prices),
        max((price.activation_bytes for price in prices), default=0),
    )


@dataclass(frozen=True)
class Measurement:
    """What training an architecture found; what it costs stands in its `Cost`.

    A value is read by its name, `measurement["top1"]`, or as an attribute, `measurement.top1`.

    Attributes:
        values: Numbers by the names of the objectives of the task, on the validation images.
        epochs: Epochs trained.
        planned_epochs: Epochs a full training has: more than `epochs` where it was stopped early.
        train_seconds: Wall seconds of training and validation.
        backend: The involution backend that ran, such as "shift".
        device: What it ran on, such as "cpu" or "cuda (NVIDIA H200)".
        host: Name of the machine.
        micro_batches: Parts of a batch that were computed one after the other: more than 1 where memory ran out.
        by_class: The first objective of the task for each class of the data, to three digits; None for a class without
            images, empty where the task has no classes or the training did not come to its end.
        inherited: Share of its parameters that were taken from the weights the search starts from; None without any.

    >>> found = Measurement({"top1": 0.75, "loss": 0.9}, epochs=8, planned_epochs=8)
    >>> found.top1, found["loss"]
    (0.75, 0.9)
    """

    values: Mapping[str, float]
    epochs: int = 0
    planned_epochs: int = 0
    train_seconds: float = 0.0
    backend: str = ""
    device: str = ""
    host: str = ""
    micro_batches: int = 1
    by_class: tuple[float | None, ...] = ()
    inherited: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether the training was ended early, by who trains or by who decides."""
        return self.epochs < self.planned_epochs

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __getattr__(self, name: str) -> float:
        # Only what is no field comes here; copies and pickles ask for private names before there are any fields.
        if name.startswith("_") or name == "values" or name not in self.values:
            raise AttributeError(f"this measurement has no '{name}'")
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)} | {"values": dict(self.values)}
        later = {"by_class": list(plain.pop("by_class")) or None, "inherited": plain.pop("inherited")}
        return plain | {name: value for name, value in later.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Rebuild from `to_dict`; fields of a newer invnas are ignored."""
        known = {field.name for field in fields(cls)}
        found = {key: value for key, value in data.items() if key in known}
        return cls(**{**found, "by_class": tuple(found.get("by_class", ()))})


State = Literal["running", "complete", "stopped", "failed"]
#: What a trial is there for: found by the search, drawn for a random baseline (uniformly over architectures, or over
#: the options of each choice), a further seed of what was measured before, or an architecture to compare with.
Phase = Literal["search", "random", "branch", "confirm", "reference"]
PHASES: Mapping[Phase, str] = {
    "search": "search",
    "random": "random baseline",
    "branch": "branch-uniform baseline",
    "confirm": "confirmation",
    "reference": "reference",
}

#: Phases of draws that nobody chose, with the sampler that draws them.
BASELINES: Mapping[Phase, str] = {"random": "random", "branch": "branch-uniform"}


@dataclass(frozen=True, repr=False)
class Trial:
    """One training of a run: what was proposed, what it cost, what came out.

    Attributes:
        number: Its place in the run, from 0; the baselines go on counting in the same run.
        architecture: What was trained.
        decisions: The path through the space that leads there.
        cost: Its price, known before the training.
        state: "running" until told (a run that was killed is found with running trials), "complete", "stopped"
            (trained to a part of its budget: never on a front), or "failed".
        measurement: What came out; None unless complete or stopped.
        reason: Why it failed, one sentence; empty unless failed.
        phase: What it is there for.
        rungs: What was measured at the epochs where it was judged, by rising epochs.
        continues: The stopped trial whose training this one goes on with; None for one of its own.
        seed: The seed it is trained with; None for that of the experiment.

    >>> from invnas import Architecture, Convolution
    >>> one, price = Architecture(Convolution()), Cost.counted(macs=10, parameters=2, activation_bytes=4)
    >>> trial = Trial(0, one, {}, price, "complete", Measurement({"top1": 0.5}))
    >>> trial.value("top1"), trial.value("macs"), trial.value("latency_ms")
    (0.5, 10, None)
    """

    number: int
    architecture: Architecture
    decisions: Decisions
    cost: Cost
    state: State = "running"
    measurement: Measurement | None = None
    reason: str = ""
    phase: Phase = "search"
    rungs: tuple[Measurement, ...] = ()
    continues: int | None = None
    seed: int | None = None

    def __repr__(self) -> str:
        numbers = {**(self.measurement.values if self.measurement else {}), **self.cost.values}
        found = ", ".join(f"{name} {value:.6g}" for name, value in numbers.items())
        return f"Trial({self.number}, {self.state}, {self.architecture.kind}: {self.reason or found})"

    @property
    def baseline(self) -> bool:
        """Whether it belongs to a random baseline."""
        return self.phase in BASELINES

    def value(self, name: str) -> float | None:
        """Return a number of this trial by its name, from its cost or its measurement; None when it has none."""
        if name in self.cost:
            return self.cost[name]
        return self.measurement[name] if self.measurement is not None and name in self.measurement else None

    def values(self, objectives: Sequence[Objective]) -> tuple[float, ...]:
        """Return the numbers of some objectives, in their order.

        Raises:
            BadInput: If one was not measured.
        """
        found = []
        for objective in objectives:
            value = self.value(objective.name)
            if value is None:
                raise BadInput(f"trial {self.number} has no value of `{objective.name}`: it was not measured")
            found.append(float(value))
        return tuple(found)
