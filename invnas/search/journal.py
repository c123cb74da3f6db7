"""The record of a run: Optuna studies in one append-only file, readable by plain Optuna.

The study "search" holds the trials of the search, the study "random" those of the baseline. Each trial carries under
its user attributes what makes it a `Trial`. The caller holds the lock of the run folder while writing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement, Trial
from invnas.search.optuna_terms import directions, parameters, quiet
from invnas.space import Space

if TYPE_CHECKING:
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

SEARCH, RANDOM = "search", "random"


class Journal:
    """The trials of a run on disk; every change is flushed before the call returns.

    Args:
        path: The file.
        space: The space of the run.
        objectives: Names of the values of a trial.

    Raises:
        BadInput: If a line of the file is damaged; the file is left as it is.
    """

    def __init__(self, path: Path, space: Space, objectives: tuple[str, ...]) -> None:
        self._path, self._space, self._objectives = path, space, objectives
        sound_length(path)
        self._storage = _open(path)
        self._ids: dict[int, int] = {}
        self._trials: dict[int, Trial] = {}
        self._studies = {
            study.study_name: self._storage.get_study_id_from_name(study.study_name)
            for study in self._storage.get_all_studies()
        }
        if SEARCH not in self._studies:
            raise BadInput(f"{path} is damaged: it holds no study named {SEARCH}")
        for name, study in self._studies.items():
            for frozen in self._storage.get_all_trials(study, deepcopy=False):
                trial = self._restore(frozen, name == RANDOM)
                self._trials[trial.number] = trial
                self._ids[trial.number] = self._storage.get_trial_id_from_study_id_trial_number(study, frozen.number)

    @classmethod
    def create(cls, path: Path, space: Space, objectives: tuple[str, ...]) -> Journal:
        """Write a new file with an empty study."""
        _add_study(_open(path), SEARCH, objectives)
        return cls(path, space, objectives)

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials of search and baseline together, by number."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    def start(self, architecture: Architecture, decisions: Decisions, cost: Cost, baseline: bool) -> Trial:
        """Record a trial as running, in one line."""
        import optuna

        number = len(self._trials)
        params, distributions = parameters(self._space, decisions)
        facts = {
            "number": number,
            "fingerprint": architecture.fingerprint,
            "architecture": architecture.to_dict(),
            "decisions": decisions,
            "cost": asdict(cost),
        }
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, params=params, distributions=distributions, user_attrs=facts
        )
        self._ids[number] = self._storage.create_new_trial(self._study(RANDOM if baseline else SEARCH), template)
        self._trials[number] = Trial(number, architecture, decisions, cost, baseline=baseline)
        return self._trials[number]

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what came out."""
        from optuna.trial import TrialState

        values = measurement.values(self._objectives)
        self._end(trial, "measurement", measurement.to_dict(), TrialState.COMPLETE, values)
        self._trials[trial.number] = replace(trial, state="complete", measurement=measurement)
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

    def _study(self, name: str) -> int:
        if name not in self._studies:
            self._studies[name] = _add_study(self._storage, name, self._objectives)
        return self._studies[name]

    def _restore(self, frozen: FrozenTrial, baseline: bool) -> Trial:
        facts: Mapping[str, Any] = frozen.user_attrs
        try:
            trial = Trial(
                number=facts["number"],
                architecture=Architecture.from_dict(facts["architecture"], self._space.types),
                decisions=facts["decisions"],
                cost=Cost(**facts["cost"]),
                baseline=baseline,
            )
            if frozen.state.name == "COMPLETE":
                return replace(trial, state="complete", measurement=Measurement.from_dict(facts["measurement"]))
            if frozen.state.name == "FAIL":
                return replace(trial, state="failed", reason=facts["reason"])
            return trial
        except (KeyError, TypeError, AttributeError, BadInput) as error:
            raise BadInput(f"{self._path} is damaged: trial {frozen.number} cannot be read ({error!r:.120})") from None


class _HeldByRun:
    """A lock that does nothing: the run folder is locked as a whole, and a stale file lock would cost half a minute."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _open(path: Path) -> JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lock: Any = _HeldByRun()
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (KeyError, TypeError, ValueError, AssertionError, IndexError) as error:
        raise BadInput(f"{path} is damaged: it holds lines Optuna did not write ({error!r:.120})") from None


def _add_study(storage: JournalStorage, name: str, objectives: tuple[str, ...]) -> int:
    import optuna

    with quiet():
        study = optuna.create_study(study_name=name, storage=storage, directions=directions(objectives))
        study.set_metric_names(list(objectives))
    return storage.get_study_id_from_name(name)


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
    except ValueError:
        return False
    return isinstance(log, dict) and "op_code" in log


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left unfinished."""
    sound = sound_length(path)
    if sound < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(sound)
            os.fsync(file.fileno())
