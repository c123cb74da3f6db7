"""What a search says while it runs, as frozen values."""

from __future__ import annotations

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
class Finished:
    """A trial has its measurement; `reused` when that was already in the record and nothing was trained."""

    trial: Trial
    reused: bool = False


@dataclass(frozen=True)
class Failed:
    """A trial ended without a measurement; its reason says why."""

    trial: Trial


Event = Rejected | Started | Finished | Failed
