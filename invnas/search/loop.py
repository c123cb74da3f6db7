"""The loop of a search: propose, reject, train, record, tell. It holds no state that a kill can lose."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import InvnasError
from invnas.measurement import Cost, Measurement, Trial
from invnas.search.events import Event, Failed, Finished, Started
from invnas.search.proposer import Proposer
from invnas.search.sampler import Sampler
from invnas.space import Space
from invnas.space_check import Caps, Price

#: So many first trials that all fail for one reason end a search: the next ones would as well.
SAME_FAILURES = 5
# Seconds after which an engine gives the loop a chance to be interrupted.
_WAIT = 1.0


class Engine(Protocol):
    """Who executes trials: in this process, in others, on other machines."""

    workers: int

    def submit(self, trial: Trial) -> None:
        """Take a trial; it continues from its checkpoint when it has one."""
        ...

    def wait(self, timeout: float) -> list[tuple[Trial, Measurement | str]]:
        """Return what finished, at the latest after `timeout` seconds; a str is the reason of a failure."""
        ...

    def close(self) -> None:
        """Stop everything that runs."""
        ...


class Record(Protocol):
    """What the loop needs of a run."""

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials of search and baseline together, by number."""
        ...

    def start(self, architecture: Architecture, decisions: Decisions, cost: Cost, baseline: bool) -> Trial:
        """Record a trial as running."""
        ...

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what came out."""
        ...

    def fail(self, trial: Trial, reason: str) -> Trial:
        """Record why nothing came out."""
        ...


@dataclass(frozen=True)
class SearchOutcome:
    """What one call of `search` did.

    Attributes:
        trained: Trials that were trained to the end.
        failed: Trials that ended without a measurement.
        reused: Baseline trials whose measurement the search had already.
        rejected: Proposals refused before training, by "invalid", "cap" and "known".
        ended: One sentence on why the search ended.
    """

    trained: int
    failed: int
    reused: int
    rejected: Mapping[str, int]
    ended: str


def search(
    space: Space,
    sampler: Sampler,
    price: Price,
    engine: Engine,
    record: Record,
    *,
    trials: int,
    objectives: tuple[str, ...],
    max_macs: int | None = None,
    max_parameters: int | None = None,
    baseline: bool = False,
    rng_seed: int = 0,
    on_event: Callable[[Event], None] = lambda event: None,
) -> SearchOutcome:
    """Train what the sampler proposes until the record holds `trials` finished trials of this phase.

    Trials found running in the record were interrupted: they are submitted again first. When anything stops the search
    (an interrupt too), the engine is closed and running trials stay running in the record.

    Args:
        space: Where to search.
        sampler: Who proposes.
        price: What an architecture costs.
        engine: Who trains.
        record: Where everything is written at once.
        trials: Complete and failed trials the record shall reach, counted over this phase.
        objectives: Names of the values the sampler is told.
        max_macs: Cap on multiply-adds of one image.
        max_parameters: Cap on parameters.
        baseline: Whether this phase is the random baseline.
        rng_seed: Seed of the proposals made in the sampler's place when it is stuck.
        on_event: Told of everything that happens.

    Raises:
        BadInput: If the space holds nothing that is valid and within the caps.
        InvnasError: If the first trials all failed for the same reason.
    """
    found = record.trials()
    mine = [trial for trial in found if trial.baseline == baseline]
    rng = random.Random(f"loop/{rng_seed}/{len(found)}")
    proposer = Proposer(space, sampler, price, Caps(max_macs, max_parameters), found, baseline, rng, on_event)
    run = _Search(
        proposer, sampler, engine, record, trials, objectives, baseline, on_event,
        interrupted=deque(trial for trial in mine if trial.state == "running"),
        done=sum(trial.state != "running" for trial in mine),
    )  # fmt: skip
    try:
        return run.to_the_end()
    except BaseException:
        engine.close()
        raise


@dataclass
class _Search:
    proposer: Proposer
    sampler: Sampler
    engine: Engine
    record: Record
    target: int
    objectives: tuple[str, ...]
    baseline: bool
    on_event: Callable[[Event], None]
    interrupted: deque[Trial]
    done: int
    flying: int = 0
    trained: int = 0
    reused: int = 0
    reasons: list[str] = field(default_factory=list)
    ended: str = ""

    def to_the_end(self) -> SearchOutcome:
        self._fill()
        while self.flying:
            for trial, outcome in self.engine.wait(_WAIT):
                self._collect(trial, outcome)
            self._fill()
        ended = self.ended or f"{self.done:,} trials are done"
        return SearchOutcome(self.trained, len(self.reasons), self.reused, dict(self.proposer.rejected), ended)

    def _fill(self) -> None:
        """Keep every worker of the engine busy."""
        while self.flying < self.engine.workers:
            if self.interrupted:
                self._launch(self.interrupted.popleft(), resumed=True)
            elif self.ended or self.done + self.flying >= self.target:
                return
            elif (proposal := self.proposer.next()) is not None:
                self._launch(
                    self.record.start(proposal.architecture, proposal.decisions, proposal.cost, self.baseline),
                    resumed=False,
                )
            else:
                self.ended = self.proposer.why_none()

    def _launch(self, trial: Trial, resumed: bool) -> None:
        self.on_event(Started(trial, resumed))
        known = self.proposer.measured.get(trial.architecture.fingerprint)
        if known is not None:
            self.reused += 1
            self._finish(trial, known, reused=True)
            return
        self.flying += 1
        self.engine.submit(trial)

    def _collect(self, trial: Trial, outcome: Measurement | str) -> None:
        self.flying -= 1
        reason = outcome if isinstance(outcome, str) else _unusable(outcome, self.objectives)
        if isinstance(outcome, Measurement) and not reason:
            self.trained += 1
            self._finish(trial, outcome, reused=False)
            return
        self.done += 1
        self.reasons.append(reason)
        failed = self.record.fail(trial, reason)
        self.sampler.tell(trial.decisions, None)
        self.on_event(Failed(failed))
        if not self.trained and len(self.reasons) == SAME_FAILURES and len(set(self.reasons)) == 1:
            raise InvnasError(f"the first {SAME_FAILURES} trials all failed for the same reason: {reason}")

    def _finish(self, trial: Trial, measurement: Measurement, reused: bool) -> None:
        self.done += 1
        finished = self.record.finish(trial, measurement)
        self.sampler.tell(trial.decisions, measurement.values(self.objectives))
        self.on_event(Finished(finished, reused))


def _unusable(measurement: Measurement, objectives: tuple[str, ...]) -> str:
    """Return why a measurement cannot be compared, or nothing."""
    for name in objectives:
        value = getattr(measurement, name)
        if value is None:
            return f"the objective {name} was not measured"
        if not math.isfinite(value):
            return f"the objective {name} came out as {value}"
    return ""
