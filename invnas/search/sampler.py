"""Who proposes: the contract of a sampler, what it may look at, and what it is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.measurement import Cost, Trial


@dataclass(frozen=True)
class Candidate:
    """An architecture that could be trained: resolved, checked, fingerprinted and priced once.

    Attributes:
        decisions: The path through the space that leads there.
        architecture: What it is.
        cost: Its exact price.
    """

    decisions: Decisions
    architecture: Architecture
    cost: Cost

    @property
    def fingerprint(self) -> str:
        """That of the architecture."""
        return self.architecture.fingerprint


@dataclass(frozen=True)
class Rejection:
    """Decisions that will not be trained.

    Attributes:
        decisions: What was proposed.
        kind: "invalid" (breaks a rule), "cap" (too expensive) or "known" (already in the record).
        reason: One sentence.
        candidate: What it would have been; None where nothing valid could be priced.
    """

    decisions: Decisions
    kind: Literal["invalid", "cap", "known"]
    reason: str
    candidate: Candidate | None = None


@dataclass(frozen=True)
class Context:
    """What a sampler may look at when it is asked.

    Attributes:
        number: How many trials of this search the record holds. With the seed it decides what is drawn, so that a
            search that was interrupted proposes what it would have proposed.
        pending: Trials that are running.
        caps: Largest cost allowed.
        candidates: Resolves, checks and prices many decisions at once, free of charge: each becomes a `Candidate`, or
            the `Rejection` it would meet. What was looked at is not looked at again.
    """

    number: int
    pending: Sequence[Trial] = ()
    caps: Caps = field(default_factory=Caps)
    candidates: Callable[[Sequence[Decisions]], list[Candidate | Rejection]] = lambda decisions: []


@dataclass(frozen=True)
class Told:
    """What became of decisions.

    Attributes:
        decisions: What was proposed, by this sampler or in its place.
        outcome: "measured", "stopped" (measured on a part of its budget), "failed" (in training), or why nothing was
            trained: "invalid", "cap", "known".
        trial: The finished trial; None when nothing was trained.
        reason: Why it failed or was rejected; empty otherwise.
    """

    decisions: Decisions
    outcome: Literal["measured", "stopped", "failed", "invalid", "cap", "known"]
    trial: Trial | None = None
    reason: str = ""


class Sampler(Protocol):
    """Proposes decisions and learns from what came out.

    What it proposes is a function of its seed, of `Context.number` and of the finished trials it was told, in their
    order: rejections may steer what it proposes for the same number, and nothing after.
    """

    @property
    def uniform(self) -> bool:
        """Whether it learns nothing, so that a rejected proposal is bad luck: it is asked again, not replaced."""
        ...

    def ask(self, context: Context) -> Decisions:
        """Return a proposal; it may be invalid or known."""
        ...

    def tell(self, told: Told) -> None:
        """Take what became of a proposal."""
        ...


class Draws:
    """Randomness of proposals: the same for the same seed and number, whatever was drawn for others."""

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._number: int | None = None
        self._rng = random.Random()

    def at(self, number: int) -> random.Random:
        """Return the generator of a proposal; it goes on while the number stays."""
        if number != self._number:
            # Seeded by text: hashing does not depend on the process.
            self._number, self._rng = number, random.Random(f"{self._seed}/{number}")
        return self._rng


def told_of(trial: Trial) -> Told:
    """Return what a sampler is told of a finished trial."""
    outcome: dict[str, Literal["measured", "stopped", "failed"]] = {"complete": "measured", "stopped": "stopped"}
    return Told(trial.decisions, outcome.get(trial.state, "failed"), trial, trial.reason)
