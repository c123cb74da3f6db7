"""The run folder: everything a search leaves behind, and all that is needed to continue, report and export it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.manifest import Manifest
from invnas.measurement import Cost, Measurement, Trial
from invnas.pareto import front
from invnas.search.journal import Journal, cut_torn_line
from invnas.search.pick import pick
from invnas.space import load_space


class Run:
    """A run folder. Reading needs no lock; writing needs `with run.locked()`.

    Attributes:
        folder: Where it lies.
        space: The space, loaded from the copy in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = Manifest.read(folder / "run.json")
        space = load_space(folder / "space.py")
        # The copy is called space.py whatever the user's file was called.
        self.space = replace(space, name=Path(self.experiment.space).stem) if space.name == "space" else space
        if not (folder / "journal.log").is_file():
            raise BadInput(f"the run {folder} has no journal.log: its record is lost")
        self._journal = self._read_journal()
        self._writing = False

    @classmethod
    def create(
        cls,
        folder: str | Path,
        experiment: Experiment,
        space_path: str | Path,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        environment: Mapping[str, Any],
        class_names: tuple[str, ...] | None = None,
        normalisation: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Run:
        """Make a new run folder.

        Args:
            folder: A path that does not exist yet, or an empty folder.
            experiment: What is asked.
            space_path: The file of the space; it is copied.
            input_shape: Channels, height, width of an image.
            classes: Number of classes.
            environment: Versions and hardware.
            class_names: Names of the classes in label order, when known.
            normalisation: Mean and standard deviation of each channel, when known.

        Raises:
            BadInput: If the folder holds a run already or something else, or cannot be written.
        """
        folder = Path(folder)
        space = load_space(space_path)
        if (folder / "run.json").exists():
            raise BadInput(f"{folder} holds a run already: resume it (invnas resume {folder}) or name another folder")
        if folder.is_dir() and any(folder.iterdir()):
            raise BadInput(f"{folder} is not empty and holds no run: name another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(space_path, folder / "space.py")
            Journal.create(folder / "journal.log", space, experiment.objectives)
            # Last: a folder with run.json is whole.
            made = Manifest(experiment, input_shape, classes, environment, class_names, normalisation)
            _write_json(folder / "run.json", made.to_dict())
        except OSError as error:
            raise BadInput(f"cannot write the run folder {folder}: {error.strerror or error}") from None
        return cls(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run folder; nothing in it is changed.

        Raises:
            BadInput: If it is no run folder, was made by a newer format, or is damaged.
        """
        folder = Path(folder)
        if not (folder / "run.json").is_file():
            why = "it has no run.json" if folder.is_dir() else "there is no such folder"
            raise BadInput(f"{folder} is not a run folder: {why}")
        return cls(folder)

    def _read_journal(self) -> Journal:
        return Journal(self.folder / "journal.log", self.space, self.experiment.objectives)

    @property
    def experiment(self) -> Experiment:
        """What was asked."""
        return self._manifest.experiment

    @property
    def manifest(self) -> Manifest:
        """What stands in run.json."""
        return self._manifest

    @contextmanager
    def locked(self) -> Iterator[Run]:
        """Hold the folder for writing; a kill of this process lets go of it.

        Raises:
            BadInput: If another process holds it.
        """
        try:
            file = (self.folder / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"cannot write the run folder {self.folder}: {error.strerror}") from None
        # A forked child must not keep the lock of a parent that was killed.
        os.register_at_fork(after_in_child=file.close)
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise BadInput(f"the run {self.folder} is in use by process {holder}: wait for it or stop it") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            cut_torn_line(self.folder / "journal.log")
            # Another process may have written since this one read.
            self._manifest, self._journal = Manifest.read(self.folder / "run.json"), self._read_journal()
            self._writing = True
            try:
                yield self
            finally:
                self._writing = False

    def _to_write(self) -> Journal:
        if not self._writing:
            raise RuntimeError("writing to a run needs its lock: use `with run.locked():`")
        return self._journal

    def trials(self, baseline: bool | None = None) -> tuple[Trial, ...]:
        """Return the trials by number: all, or those of the search (False) or of the random baseline (True) only."""
        return tuple(trial for trial in self._journal.trials() if baseline is None or trial.baseline == baseline)

    def start(self, architecture: Architecture, decisions: Decisions, cost: Cost, baseline: bool) -> Trial:
        """Record a trial as running."""
        return self._to_write().start(architecture, decisions, cost, baseline)

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what came out; its checkpoint is removed."""
        finished = self._to_write().finish(trial, measurement)
        shutil.rmtree(self.checkpoint_folder(trial.number), ignore_errors=True)
        return finished

    def fail(self, trial: Trial, reason: str) -> Trial:
        """Record why nothing came out; its checkpoint is removed."""
        failed = self._to_write().fail(trial, reason)
        shutil.rmtree(self.checkpoint_folder(trial.number), ignore_errors=True)
        return failed

    def extend(self, trials: int) -> None:
        """Set how many trials the search shall reach."""
        self._to_write()
        self._manifest = replace(self._manifest, experiment=replace(self.experiment, trials=trials))
        _write_json(self.folder / "run.json", self._manifest.to_dict())

    def front(self) -> tuple[Trial, ...]:
        """Return the trials of the search that no other one beats, cheapest first."""
        return front(self.trials(baseline=False), self.experiment.objectives)

    def pick(self, text: str) -> Trial:
        """Return the trial that a user's words name.

        Args:
            text: "knee", "best" (highest top1), "trial=17", "max-macs=20M" or "max-parameters=1M" (the best within).

        Raises:
            BadInput: If the words are unknown or name no complete trial.
        """
        return pick(self.trials(), text, self.experiment.objectives)

    def checkpoint_folder(self, number: int) -> Path:
        """Return where a running trial keeps its last checkpoint."""
        return self.folder / "checkpoints" / str(number)

    def weights_path(self, number: int) -> Path:
        """Return where the weights of a trial lie; a baseline trial that took over a measurement shares its weights."""
        trials = self.trials()
        of = next((trial.architecture.fingerprint for trial in trials if trial.number == number), None)
        same = (t.number for t in trials if t.state == "complete" and t.architecture.fingerprint == of)
        return self.folder / "weights" / f"{min(same, default=number)}.safetensors"

    def test_top1(self) -> dict[int, float]:
        """Return the test accuracy of the trials that were tested, by number."""
        path = self.folder / "test.json"
        if not path.exists():
            return {}
        try:
            return {int(number): float(top1) for number, top1 in json.loads(path.read_text(encoding="utf-8")).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} is malformed: {error}") from None

    def add_test_top1(self, measured: Mapping[int, float]) -> None:
        """Add test accuracies to those known."""
        together = {**self.test_top1(), **measured}
        _write_json(self.folder / "test.json", {str(number): together[number] for number in sorted(together)})


def _write_json(path: Path, data: Any) -> None:
    """Write a file that is whole or old after a kill at any moment."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
