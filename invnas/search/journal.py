"""The record of a run: Optuna studies in one append-only file, readable by plain Optuna.

Each phase of a run is a study: "search" holds the trials of the search, "random" and "branch" those of its random
baselines. A trial carries under its user attributes what makes it a `Trial`. The caller holds the lock of the run
folder while writing.
"""

from __future__ import annotations

import gc
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.architecture import Architecture
from invnas.errors import BadInput
from invnas.inert import inert_types
from invnas.measurement import PHASES, Cost, Measurement, Phase, Trial
from invnas.objective import Objective
from invnas.search.optuna_terms import directions, parameters, quiet
from invnas.space import Space

if TYPE_CHECKING:
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

SEARCH: Phase = "search"


class Journal:
    """The trials of a run on disk; every change is flushed before the call returns.

    Args:
        path: The file.
        space: The space of the run; None where its file shall not be executed: own types are inert then.
        objectives: The values of a trial.

    Raises:
        BadInput: If a line of the file is damaged; the file is left as it is.
    """

    def __init__(self, path: Path, space: Space | None, objectives: Sequence[Objective]) -> None:
        self._path, self._space, self._objectives = path, space, objectives
        seen = _stamp(path)
        # A torn line is cut off by who writes next: until then this is not what the file holds.
        self._seen = seen if sound_length(path) == seen[0] else None
        self._ids: dict[int, int] = {}
        self._trials: dict[int, Trial] = {}
        self._studies: dict[str, int] = {}
        with _uncollected():
            self._storage = _open(path)
            self.refresh()
        if SEARCH not in self._studies:
            raise BadInput(f"{path} is damaged: it holds no study named {SEARCH}")

    def refresh(self) -> None:
        """Read what another process has written since; trials that had ended are not read again.

        Raises:
            BadInput: If it is damaged.
        """
        try:
            self._read()
        except (KeyError, TypeError, ValueError, AssertionError, IndexError) as error:
            raise BadInput(f"{self._path} is damaged: it holds lines Optuna did not write ({error!r:.120})") from None

    def _read(self) -> None:
        self._studies = {
            study.study_name: self._storage.get_study_id_from_name(study.study_name)
            for study in self._storage.get_all_studies()
        }
        for name, study in self._studies.items():
            for frozen in self._storage.get_all_trials(study, deepcopy=False):
                known = self._trials.get(frozen.user_attrs.get("number", -1))
                if known is not None and known.state != "running":
                    continue
                trial = self._restore(frozen, _phase(name))
                self._trials[trial.number] = trial
                self._ids[trial.number] = self._storage.get_trial_id_from_study_id_trial_number(study, frozen.number)

    @classmethod
    def create(cls, path: Path, space: Space, objectives: Sequence[Objective]) -> Journal:
        """Write a new file with an empty study."""
        _add_study(_open(path), SEARCH, objectives)
        return cls(path, space, objectives)

    @property
    def current(self) -> bool:
        """Whether the file is as this journal has read or written it."""
        return self._seen == _stamp(self._path)

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials of all phases together, by number."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    def start(self, trial: Trial) -> Trial:
        """Record a trial as running, in one line, and return it with its number."""
        import optuna

        trial = replace(trial, number=len(self._trials))
        assert self._space is not None
        # What is of no space has no parameters.
        params, distributions = parameters(self._space, trial.decisions) if trial.decisions else ({}, {})
        facts = {
            "number": trial.number,
            "fingerprint": trial.architecture.fingerprint,
            "architecture": trial.architecture.to_dict(),
            "decisions": trial.decisions,
            "cost": trial.cost.to_dict(),
        }
        for name, fact in (("continues", trial.continues), ("seed", trial.seed)):
            if fact is not None:
                facts[name] = fact
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=params, distributions=distributions, user_attrs=facts
        )
        self._ids[trial.number] = self._storage.create_new_trial(self._study(trial.phase), template)
        self._seen = _stamp(self._path)
        self._trials[trial.number] = trial
        return trial

    def report(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what a running trial has reached at a rung; what was known of this rung is replaced."""
        before = [rung for rung in trial.rungs if rung.epochs < measurement.epochs]
        further = replace(trial, rungs=(*before, measurement))
        self._storage.set_trial_user_attr(self._ids[trial.number], "rungs", [rung.to_dict() for rung in further.rungs])
        self._seen = _stamp(self._path)
        self._trials[trial.number] = further
        return further

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what came out."""
        from optuna.trial import TrialState

        complete = replace(trial, state="complete", measurement=measurement)
        self._end(trial, "measurement", measurement.to_dict(), TrialState.COMPLETE, complete.values(self._objectives))
        self._trials[trial.number] = complete
        return self._trials[trial.number]

    def stop(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what a part of the budget brought: Optuna calls such a trial pruned."""
        from optuna.trial import TrialState

        self._end(trial, "measurement", measurement.to_dict(), TrialState.PRUNED, None)
        self._trials[trial.number] = replace(trial, state="stopped", measurement=measurement)
        return self._trials[trial.number]

    def fail(self, trial: Trial, reason: str) -> Trial:
        """Record why nothing came out."""
        from optuna.trial import TrialState

        self._end(trial, "reason", reason, TrialState.FAIL, None)
        self._trials[trial.number] = replace(trial, state="failed", reason=reason)
        return self._trials[trial.number]

    def _end(self, trial: Trial, key: str, fact: Any, state: Any, values: tuple[float, ...] | None) -> None:
        # The state last: killed in between, the trial is still running and is run again.
        self._storage.set_trial_user_attr(self._ids[trial.number], key, fact)
        self._storage.set_trial_state_values(self._ids[trial.number], state, values)
        self._seen = _stamp(self._path)

    def _study(self, name: str) -> int:
        if name not in self._studies:
            self._studies[name] = _add_study(self._storage, name, self._objectives)
        return self._studies[name]

    def _restore(self, frozen: FrozenTrial, phase: Phase) -> Trial:
        facts: Mapping[str, Any] = frozen.user_attrs
        space = self._space
        try:
            plain = facts["architecture"]
            architecture = Architecture.from_dict(plain, inert_types(plain) if space is None else space.types)
            vars(architecture)["fingerprint"] = _sound(facts["fingerprint"])  # else computed anew for each
            trial = Trial(
                number=facts["number"],
                architecture=architecture,
                decisions=facts["decisions"],
                cost=Cost.from_dict(facts["cost"]),
                phase=phase,
                rungs=tuple(Measurement.from_dict(rung) for rung in facts.get("rungs", ())),
                continues=facts.get("continues"),
                seed=facts.get("seed"),
            )
            if frozen.state.name == "COMPLETE":
                return replace(trial, state="complete", measurement=Measurement.from_dict(facts["measurement"]))
            if frozen.state.name == "PRUNED":
                return replace(trial, state="stopped", measurement=Measurement.from_dict(facts["measurement"]))
            if frozen.state.name == "FAIL":
                return replace(trial, state="failed", reason=facts["reason"])
            return trial
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, BadInput) as error:
            raise BadInput(f"{self._path} is damaged: trial {frozen.number} cannot be read ({error!r:.120})") from None


class _HeldByRun:
    """A lock that does nothing: the run folder is locked as a whole, and a stale file lock would cost half a minute."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Do without the search for garbage while a million objects are made that all stay: a third of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _phase(study: str) -> Phase:
    for phase in PHASES:
        if phase == study:
            return phase
    raise ValueError(f"no study is named {study!r:.40}")


def _sound(fingerprint: Any) -> str:
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{16}", fingerprint):
        raise ValueError(f"{fingerprint!r:.40} is no fingerprint")
    return fingerprint


def _open(path: Path) -> JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, _storage

    # Each trial names the same few dozen distributions: read once each, they take neither time nor memory.
    if (read := getattr(_storage, "json_to_distribution", None)) is not None and not hasattr(read, "cache_info"):
        vars(_storage)["json_to_distribution"] = lru_cache(maxsize=1024)(read)
    lock: Any = _HeldByRun()
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (KeyError, TypeError, ValueError, AssertionError, IndexError) as error:
        raise BadInput(f"{path} is damaged: it holds lines Optuna did not write ({error!r:.120})") from None


def _add_study(storage: JournalStorage, name: str, objectives: Sequence[Objective]) -> int:
    import optuna

    with quiet():
        study = optuna.create_study(study_name=name, storage=storage, directions=directions(objectives))
        study.set_metric_names([objective.name for objective in objectives])
    return storage.get_study_id_from_name(name)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file does."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def sound_length(path: Path) -> int:
    """Return how many bytes of a journal are whole lines; less than its size after a kill in the middle of a write.

    Raises:
        BadInput: If a line before the last one is damaged, with its number.
    """
    content = path.read_bytes()
    *lines, tail = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not _is_log(line):
            if number == len(lines) and not tail:
                return len(content) - len(line) - 1
            raise BadInput(f"line {number} of {path} is damaged: {line[:40]!r}; nothing was changed, restore the file")
    return len(content) - len(tail)


def _is_log(line: bytes) -> bool:
    try:
        log = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(log, dict) and "op_code" in log


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left unfinished."""
    sound = sound_length(path)
    if sound < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(sound)
            os.fsync(file.fileno())
