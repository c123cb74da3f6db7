"""The loop of a search: propose, reject, train, record, tell. It holds no state that a kill can lose."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import DiskFailed, InvnasError
from invnas.measurement import Cost, Measurement, Phase, Trial
from invnas.messages import Engine, Failure, Halt, Job, Message, Outcome, Progress
from invnas.objective import Objective
from invnas.search.convergence import Convergence
from invnas.search.events import Advanced, Event, Failed, Finished, Started, Stopped
from invnas.search.halving import Stopper
from invnas.search.proposer import Meter, Proposer
from invnas.search.sampler import Sampler, told_of
from invnas.space import Space
from invnas.space_check import Price

#: So many first trials that all fail for one reason end a search: the next ones would as well.
SAME_FAILURES = 5
# Seconds after which an engine gives the loop a chance to be interrupted.
_WAIT = 1.0


class Record(Protocol):
    """What the loop needs of a run."""

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials of all phases together, by number."""
        ...

    def start(self, architecture: Architecture, decisions: Decisions, cost: Cost, phase: Phase) -> Trial:
        """Record a trial as running."""
        ...

    def job(self, trial: Trial) -> Job:
        """Return what an engine needs to train a trial."""
        ...

    def report(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what a running trial has reached at a rung."""
        ...

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what came out."""
        ...

    def stop(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what a part of the budget brought."""
        ...

    def fail(self, trial: Trial, reason: str) -> Trial:
        """Record why nothing came out."""
        ...


@dataclass(frozen=True)
class SearchOutcome:
    """What one call of `search` did.

    Attributes:
        trained: Trials that were trained to the end.
        stopped: Trials that were ended early, measured on a part of their budget.
        failed: Trials that ended without a measurement.
        reused: Baseline trials whose measurement the search had already.
        rejected: Proposals refused before training, by "invalid", "cap" and "known".
        ended: One sentence on why the search ended.
    """

    trained: int
    stopped: int
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
    objectives: Sequence[Objective],
    caps: Caps | None = None,
    phase: Phase = "search",
    rng_seed: int = 0,
    stopper: Stopper | None = None,
    meter: Meter | None = None,
    convergence: Convergence | None = None,
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
        trials: Complete, stopped and failed trials the record shall reach, counted over this phase.
        objectives: The values the sampler is told.
        caps: Largest cost allowed.
        phase: What the trials are there for.
        rng_seed: Seed of the proposals made in the sampler's place when it is stuck.
        stopper: Who ends trainings early at their rungs; what it stops is recorded as stopped.
        meter: Adds what has to be measured to the cost of a candidate that is to be trained.
        convergence: Judges after each trial whether another one is worth it.
        on_event: Told of everything that happens.

    Raises:
        BadInput: If the space holds nothing that is valid and within the caps.
        DiskFailed: If a worker could not go on for a reason that is not a trial's; no trial is blamed.
        InvnasError: If the first trials all failed for the same reason.
    """
    found = record.trials()
    mine = [trial for trial in found if trial.phase == phase]
    proposer = Proposer(space, sampler, price, caps or Caps(), found, phase, rng_seed, on_event, meter)
    run = _Search(
        proposer, sampler, engine, record, trials, objectives, phase, on_event, stopper, convergence,
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
    objectives: Sequence[Objective]
    phase: Phase
    on_event: Callable[[Event], None]
    stopper: Stopper | None
    convergence: Convergence | None
    interrupted: deque[Trial]
    done: int
    flying: dict[int, Trial] = field(default_factory=dict)
    halted: str = ""
    trained: int = 0
    stopped: int = 0
    reused: int = 0
    reasons: list[str] = field(default_factory=list)
    ended: str = ""

    def to_the_end(self) -> SearchOutcome:
        self._fill()
        while self.flying:
            self.engine.wait(_WAIT, self._hear)
            if self.halted:
                raise DiskFailed(self.halted)
            self._fill()
        ended = self.ended or f"{self.done:,} trials are done"
        return SearchOutcome(
            self.trained, self.stopped, len(self.reasons), self.reused, dict(self.proposer.rejected), ended
        )

    def _fill(self) -> None:
        """Keep every worker of the engine busy."""
        while len(self.flying) < self.engine.workers:
            if self.interrupted:
                self._launch(self.interrupted.popleft(), resumed=True)
            elif self.ended or self.done + len(self.flying) >= self.target:
                return
            elif self.convergence is not None and self.convergence(self.record.trials()):
                self.ended = self.convergence.reason
            elif (proposal := self.proposer.next(tuple(self.flying.values()))) is not None:
                one = proposal.candidate
                started = self.record.start(one.architecture, one.decisions, one.cost, self.phase)
                self._launch(started, resumed=False)
            else:
                self.ended = self.proposer.why_none()

    def _launch(self, trial: Trial, resumed: bool) -> None:
        self.on_event(Started(trial, resumed))
        if resumed and trial.rungs and self._ends(trial):  # judged before, but killed before it was recorded
            self._stop(trial, trial.rungs[-1])
            return
        known = self.proposer.measured.get(trial.architecture.fingerprint)
        if known is not None:
            self.reused += 1
            self._finish(trial, known, reused=True)
            return
        self.flying[trial.number] = trial
        self.engine.submit(self.record.job(trial))

    def _hear(self, message: Message) -> None:
        trial = self.flying.get(message.number)
        if trial is None:
            return
        if isinstance(message, Progress):
            self._advance(trial, message)
            return
        del self.flying[message.number]
        self._collect(trial, message.outcome)

    def _advance(self, trial: Trial, message: Progress) -> None:
        if message.rung is not None:
            trial = self.flying[trial.number] = self.record.report(trial, message.rung)
            if self._ends(trial):
                self.engine.stop(trial.number)
        where = message.host, message.device
        self.on_event(Advanced(trial, message.epoch, message.of, message.values, *where))

    def _ends(self, trial: Trial) -> bool:
        """Tell whether a trial ends at its last rung; one that continues a stopped one is trained to its end."""
        return self.stopper is not None and trial.continues is None and self.stopper.judge(trial)

    def _collect(self, trial: Trial, outcome: Outcome) -> None:
        if isinstance(outcome, Halt):
            self.halted = outcome.reason
        elif isinstance(outcome, Failure):
            self._fail(trial, outcome.reason)
        elif outcome.stopped:
            self._stop(trial, outcome)
        elif reason := _unusable(replace(trial, measurement=outcome), self.objectives):
            self._fail(trial, reason)
        else:
            self.trained += 1
            self._finish(trial, outcome, reused=False)

    def _stop(self, trial: Trial, measurement: Measurement) -> None:
        self.done += 1
        self.stopped += 1
        stopped = self.record.stop(trial, measurement)
        self.sampler.tell(told_of(stopped))
        self.on_event(Stopped(stopped))

    def _fail(self, trial: Trial, reason: str) -> None:
        self.done += 1
        self.reasons.append(reason)
        failed = self.record.fail(trial, reason)
        self.sampler.tell(told_of(failed))
        self.on_event(Failed(failed))
        if not self.trained and len(self.reasons) == SAME_FAILURES and len(set(self.reasons)) == 1:
            raise InvnasError(f"the first {SAME_FAILURES} trials all failed for the same reason: {reason}")

    def _finish(self, trial: Trial, measurement: Measurement, reused: bool) -> None:
        self.done += 1
        finished = self.record.finish(trial, measurement)
        self.sampler.tell(told_of(finished))
        self.on_event(Finished(finished, reused))


def _unusable(trial: Trial, objectives: Sequence[Objective]) -> str:
    """Return why a measurement cannot be compared, or nothing."""
    for objective in objectives:
        value = trial.value(objective.name)
        if value is None:
            return f"the objective {objective.name} was not measured"
        if not math.isfinite(value):
            return f"the objective {objective.name} came out as {value}"
    return ""
