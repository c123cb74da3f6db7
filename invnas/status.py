"""What can be said of a run from outside while it searches: its record, and what its process last wrote."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from invnas.errors import BadInput
from invnas.lock import holder_of
from invnas.measurement import BASELINES, PHASES, Phase, State, Trial
from invnas.objective import Objective
from invnas.pareto import hypervolume, values_of
from invnas.retrained import Retrained
from invnas.run import Run
from invnas.search.board import Running, Standing, finish_words
from invnas.search.status_file import StatusFile

_STATES: tuple[State, ...] = ("complete", "stopped", "failed", "running")
#: Running trials and failures that a person is shown; JSON has all.
_SHOWN = 10


@dataclass(frozen=True)
class Course:
    """Where a retraining stands.

    Attributes:
        retrained: What is known of it.
        options: What differs from the search, by the names of options.
        said: The same in words.
        objective: The number that its seeds are told by.
        alive: Whether a process is at it.
    """

    retrained: Retrained
    options: Mapping[str, Any]
    said: str
    objective: Objective
    alive: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        found, name = self.retrained, self.objective.name
        mean, deviation = found.spread(name) if found.seeds else (None, None)
        return {
            "name": found.asked.name,
            "trial": found.asked.trial,
            "epochs": found.asked.recipe.epochs,
            "options": dict(self.options),
            f"test_{name}": {str(one.seed): one.test.get(name) for one in found.seeds},
            "mean": mean,
            "standard_deviation": deviation,
            "under_way": None if found.standing is None else {**asdict(found.standing), "alive": self.alive},
        }

    def words(self, now: float) -> str:
        """Return it in words."""
        found, at = self.retrained, self.retrained.standing
        done = f"{len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'} done"
        if found.seeds:
            mean, deviation = found.spread(self.objective.name)
            spread = "" if deviation is None else f" ± {self.objective.exact(deviation)}"
            done += f", test {self.objective.label} {self.objective.exact(mean)}{spread}"
        said = f"retrained trial {found.asked.trial}, {found.asked.recipe.epochs} epochs"
        said += f" ({self.said}): {done}" if self.said else f": {done}"
        if at is None:
            return said
        of = f" of 0 to {at.seeds - 1}" if at.seeds > 1 else ""
        said += f"; seed {at.seed}{of} at epoch {at.epoch} of {found.asked.recipe.epochs}"
        if not self.alive:
            return f"{said}, interrupted: give the same command again to go on"
        return said if at.finish is None else f"{said}, {finish_words(at.finish, now)}"


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes:
        run: Its folder.
        wanted: Finished trials that the search shall reach, and each random baseline that was asked for.
        search: Trials of the search by state.
        holder: The process that is at it, or "unknown"; None where none is.
        standing: What that process last wrote; None where there is none, or it has not written.
        running: The running trials, as far as is known; those of a run that nobody is at were interrupted.
        failures: Number and reason of the failed trials.
        front: Architectures on the front of the search, by what is believed of them.
        observed_front: Those on the front by what was measured.
        hypervolume: The share that the front covers of the box of the run, which no trial moves.
        believed: Whether there were enough trials to believe anything but what was measured.
        others: Trials by phase and state: of the random baselines that were asked for, of references and further seeds
            where there are any.
        waiting: How many running trials of a phase have not been begun by the process that is at it: references and
            further seeds are recorded before the first of them is trained.
        latency: What its latencies are latencies of, such as "onnxruntime, 1 thread"; empty where it has none.
        note: Why less is known than could be; empty otherwise.
        retrained: What was trained from scratch, and what is under way.
    """

    run: str
    wanted: int
    search: dict[State, int]
    holder: str | None
    standing: Standing | None
    running: tuple[Running, ...]
    failures: tuple[tuple[int, str], ...]
    front: int
    observed_front: int
    hypervolume: float
    believed: bool = False
    others: Mapping[Phase, dict[State, int]] = field(default_factory=dict)
    waiting: Mapping[Phase, int] = field(default_factory=dict)
    latency: str = ""
    note: str = ""
    retrained: tuple[Course, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        standing = self.standing
        process = None
        if self.holder is not None:
            number = int(self.holder) if self.holder.isdecimal() else None
            process = {"number": number, "host": None if standing is None else standing.host}
        finish = None if standing is None else standing.finish
        return {
            "run": self.run,
            "process": process,
            "phase": None if standing is None else standing.phase,
            "wanted": self.wanted,
            "trials": self.search,
            "random_baseline": self.others.get("random"),
            "branch_baseline": self.others.get("branch"),
            "references": self.others.get("reference"),
            "confirmation": self.others.get("confirm"),
            "running": [_plain(one) for one in self.running],
            "hosts": {} if standing is None else {host: list(found) for host, found in standing.places.items()},
            "gpus": 0 if standing is None else standing.gpus,
            "failures": [{"trial": number, "reason": reason} for number, reason in self.failures],
            "front": self.front,
            "observed_front": self.observed_front,
            "hypervolume": self.hypervolume,
            "trials_per_hour": None if standing is None else standing.trials_per_hour,
            "epochs_per_hour": None if standing is None else standing.epochs_per_hour,
            "finish": None if finish is None else datetime.fromtimestamp(finish, UTC).isoformat(timespec="seconds"),
            "seconds_left": None if finish is None else round(max(finish - time.time(), 0.0), 1),
            "latency": self.latency or None,
            "note": self.note,
            "retrained": [one.to_dict() for one in self.retrained],
        }

    def lines(self) -> Iterator[str]:
        """Yield it in words, for a person; nothing in them commands a terminal."""
        for line in self._lines():
            yield "".join(letter if letter.isprintable() else " " for letter in line)

    def _lines(self) -> Iterator[str]:
        standing, now = self.standing, time.time()
        yield f"{self.run}: {self._who()}"
        for phase, states, wanted in self._phases:
            waiting = self.waiting.get(phase, 0)
            told: list[tuple[str, int]] = [*states.items(), ("waiting", waiting)]
            shown = [(state, number - waiting * (state == "running")) for state, number in told]
            counted = ", ".join(f"{number} {state}" for state, number in shown if number)
            yield f"{PHASES[phase]}: {_finished(states)} of {wanted} trials done{f' ({counted})' if counted else ''}"
        plural = "" if self.front == 1 else "s"
        measured = f" ({self.observed_front} as measured)" if self.believed else ""
        yield f"front: {self.front} architecture{plural}{measured}, hypervolume {self.hypervolume:.3f}"
        if self.latency:
            yield f"latency: {self.latency}"
        if standing is not None and standing.pace:
            yield standing.pace
        if standing is not None and standing.finish is not None:
            yield f"{standing.phase}: {finish_words(standing.finish, now)}"
        interrupted = "" if self.holder is not None else "interrupted: "
        yield from _first(f"{interrupted}{one.words}" for one in self.running)
        yield from _first(f"trial {number} failed: {reason}" for number, reason in reversed(self.failures))
        yield from _first(one.words(now) for one in self.retrained)
        if self.note:
            yield f"note: {self.note}"

    @property
    def _phases(self) -> Iterator[tuple[Phase, dict[State, int], int]]:
        """The phases with their trials by state and how many there shall be."""
        yield "search", self.search, self.wanted
        for phase, states in self.others.items():
            yield phase, states, self.wanted if phase in BASELINES else sum(states.values())

    def _who(self) -> str:
        if self.holder is None:
            over = all(_finished(states) >= wanted for _, states, wanted in self._phases)
            return "done" if over else f"nobody is at it; continue with: invnas resume {self.run}"
        where = "" if self.standing is None else f" on {self.standing.host}"
        return f"process {self.holder}{where} is at it"


def _plain(one: Running) -> dict[str, Any]:
    found = asdict(one)
    del found["first"]
    # A diverging loss is no JSON.
    found["values"] = {name: value if isfinite(value) else None for name, value in one.values.items()}
    return found


def _finished(states: dict[State, int]) -> int:
    return sum(number for state, number in states.items() if state != "running")


def _first(lines: Iterator[str]) -> Iterator[str]:
    found = list(lines)
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield f"and {len(found) - _SHOWN} more (--json has all)"


def _states(trials: tuple[Trial, ...]) -> dict[State, int]:
    counted = Counter(trial.state for trial in trials)
    return {state: counted[state] for state in _STATES}


def status_of(run: Run) -> Status:
    """Return where a run stands. Nothing is locked and nothing written.

    Args:
        run: The run as it was opened or refreshed last; it need not be trusted.
    """
    holder, said, note = holder_of(run.folder), None, ""
    try:
        said = StatusFile.read(run.folder)
    except BadInput as error:
        note = f"{error}; this is what the journal says"
    alive = said if said is not None and str(said.process) == holder else None
    retrained, unread = _retrained(run, holder)
    note = note or unread
    if holder is not None and alive is None and not note and not any(one.alive for one in retrained):
        note = "the process has not said how far its trials are: this is what the journal says"
    trials, experiment = run.trials(), run.experiment
    if run.ended is not None and not note:
        note = f"the search was ended, {run.ended[1]}"
    known = {one.trial: one for one in (said.running if said is not None else ())}
    ahead = [trial for trial in trials if trial.state == "running" and trial.phase in ("reference", "confirm")]
    waiting = [] if alive is None else [trial for trial in ahead if trial.number not in known]
    running = [trial for trial in trials if trial.state == "running" and trial not in waiting]
    front, axes, belief = run.front(), experiment.axes, run.belief
    told = {*experiment.drawn, *(trial.phase for trial in trials if trial.phase in ("reference", "confirm"))}
    covered = hypervolume(values_of(belief.of(front), axes), axes, run.box)
    return Status(
        run=str(run.folder),
        wanted=experiment.trials,
        search=_states(run.trials("search")),
        holder=holder,
        standing=alive,
        running=tuple(known.get(trial.number, Running(trial.number)) for trial in running),
        failures=tuple((trial.number, trial.reason) for trial in trials if trial.state == "failed"),
        front=len(front),
        observed_front=len(run.front(observed=True)),
        hypervolume=covered,
        believed=belief.known,
        others={phase: _states(run.trials(phase)) for phase in PHASES if phase in told},
        waiting=Counter(trial.phase for trial in waiting),
        latency=experiment.latency.words if experiment.metered else "",
        note=note,
        retrained=retrained,
    )


def _retrained(run: Run, holder: str | None) -> tuple[tuple[Course, ...], str]:
    """Return where retrainings stand, and why that is not known."""
    experiment = run.experiment
    objective = experiment.leading
    try:
        found = run.retrained()
    except BadInput as error:
        return (), str(error)
    return tuple(
        Course(
            one,
            one.asked.differs(experiment),
            one.asked.words(experiment),
            objective,
            one.standing is not None and str(one.standing.process) == holder,
        )
        for one in found
    ), ""
