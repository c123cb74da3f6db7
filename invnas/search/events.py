"""What a search says while it runs, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from invnas.measurement import Trial


@dataclass(frozen=True)
class Rejected:
    """A proposal that was refused before anything was trained.

    Attributes:
        kind: "invalid" (breaks a rule), "cap" (too expensive) or "known" (already in the record).
        reason: One sentence.
    """

    kind: Literal["invalid", "cap", "known"]
    reason: str


@dataclass(frozen=True)
class Started:
    """A trial was handed to the engine; `resumed` when an earlier process had started it."""

    trial: Trial
    resumed: bool = False


@dataclass(frozen=True)
class Advanced:
    """A running trial has come so far.

    Attributes:
        trial: The trial.
        epoch: Epochs done; 0 when its training begins.
        of: Epochs planned.
        values: What is known after this epoch, by name.
        host: Name of the machine that trains.
        device: What it trains on.
    """

    trial: Trial
    epoch: int
    of: int
    values: Mapping[str, float]
    host: str = ""
    device: str = ""


@dataclass(frozen=True)
class Finished:
    """A trial has its measurement; `reused` when that was already in the record and nothing was trained."""

    trial: Trial
    reused: bool = False


@dataclass(frozen=True)
class Failed:
    """A trial ended without a measurement; its reason says why."""

    trial: Trial


@dataclass(frozen=True)
class Stopped:
    """A trial was ended early; it has the measurement of a part of its budget."""

    trial: Trial


Event = Rejected | Started | Advanced | Finished | Stopped | Failed
