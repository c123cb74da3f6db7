"""The run folder: everything a search leaves behind, and all that is needed to continue, report and export it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.architecture import Architecture
from invnas.belief import Belief
from invnas.choice import Decisions
from invnas.confusion import Confusion
from invnas.errors import BadInput, unwritable
from invnas.experiment import SEEDS, Experiment
from invnas.facts import DataFacts
from invnas.files import read_as, read_json, write_text
from invnas.fixed_box import fixed_box
from invnas.frame import trials_frame
from invnas.lock import holding
from invnas.manifest import Manifest
from invnas.measurement import Cost, Measurement, Phase, Trial
from invnas.messages import Job, SpaceSource
from invnas.pareto import Box, front
from invnas.plain_table import as_html
from invnas.rates import RateSearch
from invnas.report.front_table import front_table
from invnas.retrained import Retrained, read_all
from invnas.search.believe import believe
from invnas.search.halving import promising
from invnas.search.journal import Journal, cut_torn_line
from invnas.search.observations import Earlier
from invnas.search.pick import pick
from invnas.settings import path_of
from invnas.space import Space, load_space
from invnas.store import PRETRAINED, FolderStore, checkpoint_of, confusion_of, weights_of
from invnas.task import TASKS
from invnas.trials import Trials

if TYPE_CHECKING:
    from pandas import DataFrame


class Run:
    """A run folder. Reading needs no lock; writing needs `with run.locked()`.

    Attributes:
        folder: Where it lies.
        trusted: Whether its files may be executed.

    Example, after that of `run_search`:
        >>> from invnas import Run
        >>> run = Run.open("runs/example")
        >>> run
        Run(runs/example: 2 complete)
        >>> [trial.number for trial in run.trials()]
        [0, 1]
        >>> run.pick("best").measurement.top1 == max(trial.measurement.top1 for trial in run.trials())
        True
    """

    def __repr__(self) -> str:
        return f"Run({self.folder}: {self._counted()})"

    def _repr_html_(self) -> str:
        axes, measured = self.experiment.axes, self.experiment.what.objectives
        front = front_table(self.front(), axes, self.belief, self.tested(), measured)
        asked = f"{self.experiment.space}, {' against '.join(axis.label for axis in axes)}"
        return as_html(f"{self.folder}: {self._counted()}", *front, [f"The front, cheapest first ({asked})."])

    def _counted(self) -> str:
        states = Counter(trial.state for trial in self.trials())
        return ", ".join(f"{number} {state}" for state, number in states.items()) or "no trials"

    def __init__(self, folder: Path, trust: bool = True) -> None:
        self.folder, self.trusted = folder, trust
        if not trust:
            _refuse_own_task(folder / "run.json")
        self._manifest = Manifest.read(folder / "run.json")
        self._space = self._load_space() if trust else None
        if not (folder / "journal.log").is_file():
            raise BadInput(f"the run {folder} has no journal.log: its record is lost")
        self._journal = self._read_journal()
        self._writing = False
        self._belief: tuple[int, Belief] | None = None

    def _load_space(self) -> Space:
        path = self.folder / "space.py"
        if not path.is_file():
            raise BadInput(
                f"the run {self.folder} has no space.py: it can be shown (invnas report {self.folder} --trust no), and "
                "nothing else"
            )
        space = load_space(path)
        # The copy is called space.py whatever the user's file was called.
        space = replace(space, name=Path(self.experiment.space).stem) if space.name == "space" else space
        self._source = SpaceSource(space.name, path.read_text(encoding="utf-8"))
        return space

    @property
    def space(self) -> Space:
        """The space, loaded from the copy in the folder.

        Raises:
            BadInput: If the run was opened without trust.
        """
        if self._space is None:
            raise BadInput(
                f"the run {self.folder} was opened without trust: it is only read, none of its files is executed"
            )
        return self._space

    @property
    def space_text(self) -> str:
        """The text of its space.py; raises as `space` does."""
        _ = self.space
        return self._source.text

    @classmethod
    def create(
        cls,
        folder: str | Path,
        experiment: Experiment,
        space_path: str | Path,
        *,
        facts: DataFacts,
        environment: Mapping[str, Any],
        earlier: Sequence[Earlier] = (),
        pretrained: Callable[[Path], None] | None = None,
    ) -> Run:
        """Make a new run folder.

        Args:
            folder: A path that does not exist yet, or an empty folder.
            experiment: What is asked.
            space_path: The file of the space; it is copied.
            facts: The images.
            environment: Versions and hardware.
            earlier: What the sampler knows of earlier runs; it is kept, since those may go.
            pretrained: Writes the weights that trainings start from to a path; they are kept, since their file may go.

        Raises:
            BadInput: If the folder holds a run already or something else, or cannot be written.
            DiskFailed: If the disk is full.
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
            Journal.create(folder / "journal.log", space, experiment.axes)
            if earlier:
                _write_json(folder / "earlier.json", [one.to_dict() for one in earlier])
            if pretrained is not None:
                pretrained(folder / PRETRAINED)
            # Last: a folder with run.json is whole.
            _write_json(folder / "run.json", Manifest(experiment, facts, environment).to_dict())
        except OSError as error:
            raise unwritable(f"cannot write the run folder {folder}", error) from None
        return cls(folder)

    @classmethod
    def open(cls, folder: str | Path, *, trust: bool = True) -> Run:
        """Open a run folder; nothing in it is changed. A run folder is code: its space.py is executed.

        Args:
            folder: The folder.
            trust: False for the run of a stranger: run.json and journal.log alone are read, values of own types are
                inert, and what needs more (resume, export, retrain) is refused.

        Raises:
            BadInput: If it is no run folder, was made by a newer format, or is damaged.
        """
        folder = path_of(folder, "run")
        if not (folder / "run.json").is_file():
            why = "it has no run.json" if folder.is_dir() else "there is no such folder"
            raise BadInput(f"{folder} is not a run folder: {why}")
        return cls(folder, trust)

    def _read_journal(self) -> Journal:
        return Journal(self.folder / "journal.log", self._space, self.experiment.axes)

    @property
    def experiment(self) -> Experiment:
        """What was asked."""
        return self._manifest.experiment

    @property
    def earlier(self) -> list[Earlier]:
        """What the sampler was given of earlier runs.

        Raises:
            BadInput: If it is damaged.
        """
        path = self.folder / "earlier.json"
        if not path.is_file():
            return []
        try:
            return [Earlier(**one) for one in read_json(path)]
        except (ValueError, TypeError) as error:
            raise BadInput(f"{path} is damaged ({error}): without it the search would go on otherwise") from None

    @property
    def manifest(self) -> Manifest:
        """What stands in run.json."""
        return self._manifest

    @contextmanager
    def locked(self) -> Iterator[Run]:
        """Hold the folder for writing; a kill of this process lets go of it.

        Raises:
            BadInput: If another process holds it, or it cannot be written.
        """
        _ = self.space  # without trust nothing is written
        with holding(self.folder):
            # Another process may have written since this one read.
            self._manifest = Manifest.read(self.folder / "run.json")
            if not self._journal.current:
                cut_torn_line(self.folder / "journal.log")
                self._journal = self._read_journal()
            self._writing = True
            try:
                yield self
            finally:
                self._writing = False

    def refresh(self) -> None:
        """Read what another process has written since.

        Raises:
            BadInput: If it is damaged.
        """
        self._manifest = Manifest.read(self.folder / "run.json")
        self._journal.refresh()

    def _to_write(self) -> Journal:
        if not self._writing:
            raise RuntimeError("writing to a run needs its lock: use `with run.locked():`")
        return self._journal

    def trials(self, *phases: Phase) -> Trials:
        """Return the trials by number: all, or those of some phases, such as "search" and "random"."""
        found = (trial for trial in self._journal.trials() if not phases or trial.phase in phases)
        return Trials(found, self.experiment.axes)

    def start(
        self,
        architecture: Architecture,
        decisions: Decisions,
        cost: Cost,
        phase: Phase = "search",
        *,
        continues: int | None = None,
        seed: int | None = None,
    ) -> Trial:
        """Record a trial as running.

        Args:
            architecture: What is trained.
            decisions: The path through the space that leads there; empty for what is not of the space.
            cost: Its price.
            phase: What it is there for.
            continues: The stopped trial whose training it goes on with.
            seed: The seed it is trained with; None for that of the experiment.
        """
        return self._to_write().start(
            Trial(-1, architecture, decisions, cost, phase=phase, continues=continues, seed=seed)
        )

    def report(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what a running trial has reached at a rung."""
        return self._to_write().report(trial, measurement)

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what came out; its checkpoint is removed."""
        finished = self._to_write().finish(trial, measurement)
        shutil.rmtree(self.checkpoint_folder(trial.number), ignore_errors=True)
        return finished

    def stop(self, trial: Trial, measurement: Measurement) -> Trial:
        """Record what a part of the budget brought; its checkpoint stays, so that it can be trained to the end."""
        return self._to_write().stop(trial, measurement)

    def fail(self, trial: Trial, reason: str) -> Trial:
        """Record why nothing came out; its checkpoint is removed."""
        failed = self._to_write().fail(trial, reason)
        shutil.rmtree(self.checkpoint_folder(trial.number), ignore_errors=True)
        return failed

    def job(self, trial: Trial) -> Job:
        """Return what an engine needs to train a trial; one that continues another begins with its checkpoint."""
        facts, source = self._manifest.facts, self._source
        if trial.continues is not None and not (self.folder / checkpoint_of(trial.number)).is_file():
            FolderStore(self.folder).fetch(checkpoint_of(trial.continues), self.folder / checkpoint_of(trial.number))
        experiment = self.experiment
        if trial.phase != "search" or trial.continues is not None:  # trained to the end whatever it is worth on its way
            experiment = replace(experiment, stopper="none", stopper_args={})
        if trial.seed is not None:
            experiment = replace(experiment, seed=trial.seed)
        return Job(trial.number, trial.architecture, trial.cost, experiment, facts, source)

    def promote(self, number: int) -> None:
        """Record so many of the most promising stopped trials as running again, each as a trial that continues it.

        Raises:
            BadInput: If fewer were stopped.
        """
        stopped = promising(self.trials("search"), self.experiment.axes)
        if len(stopped) < number:
            raise BadInput(
                f"`promote` must be at most the stopped trials that were not continued, {len(stopped)} in "
                f"{self.folder}, but got {number}"
            )
        for trial in stopped[:number]:
            self.start(trial.architecture, trial.decisions, trial.cost, continues=trial.number)
            self.extend(self.experiment.trials + 1)

    def confirm(self, seeds: int) -> tuple[Trial, ...]:
        """Record trainings with further seeds as running, so that members of the front and references have so many.

        Returns:
            The members.

        Raises:
            BadInput: If no trial is complete.
        """
        members = self.front()
        if not members:
            raise BadInput(f"no trial of {self.folder} is complete, so there is no front to confirm")
        compared = [trial for trial in self.trials("reference") if trial.state == "complete"]
        for trial in {trial.architecture.fingerprint: trial for trial in (*compared, *members)}.values():
            mine = [t for t in self.trials("confirm") if t.architecture.fingerprint == trial.architecture.fingerprint]
            tried = {t.seed for t in mine}
            missing = seeds - sum(t.state != "failed" for t in mine)
            further = ((self.experiment.seed + step) % SEEDS for step in count(1))
            for seed in islice((seed for seed in further if seed not in tried), max(missing, 0)):
                self.start(trial.architecture, trial.decisions, trial.cost, "confirm", seed=seed)
        return members

    def extend(self, trials: int) -> None:
        """Set how many trials the search shall reach."""
        self.place(replace(self.experiment, trials=trials))

    def end(self, reason: str) -> None:
        """Record that the search has ended for a reason before it had its trials: it is done with those it has."""
        done = sum(trial.state != "running" for trial in self.trials("search"))
        _write_json(self.folder / "ended.json", {"trials": done, "reason": reason})
        self.extend(done)

    @property
    def ended(self) -> tuple[int, str] | None:
        """After how many finished trials the search was ended last, and why; None where it was not.

        Raises:
            BadInput: If the file is damaged.
        """
        path = self.folder / "ended.json"
        return read_as(path, lambda found: (int(found["trials"]), str(found["reason"]))) if path.is_file() else None

    @property
    def box(self) -> Box:
        """The range in which the hypervolume of this run is a share; no trial moves it."""
        return fixed_box(self.trials("search"), self.experiment.axes, self.experiment.caps, self._manifest.ends)

    def bound(self, ends: Mapping[str, tuple[float, float]]) -> None:
        """Record where the space ends: worst and best by the name of a cost."""
        self._manifest = replace(self._manifest, ends=dict(ends))
        self.place(self.experiment)

    def place(self, experiment: Experiment) -> None:
        """Write the settings of the experiment anew: it goes on elsewhere, or further."""
        self._to_write()
        self._manifest = replace(self._manifest, experiment=experiment)
        _write_json(self.folder / "run.json", self._manifest.to_dict())

    def trials_frame(self) -> DataFrame:
        """Return the trials as a pandas DataFrame, one row a trial, by number.

        Raises:
            MissingExtra: If pandas is not installed.
        """
        return trials_frame(self.trials())

    @property
    def belief(self) -> Belief:
        """What is believed of the architectures when the luck of single trainings is taken out; kept until one ends."""
        trials = self.trials()
        ended = sum(trial.state != "running" for trial in trials)
        if self._belief is None or self._belief[0] != ended:
            self._belief = ended, believe(trials, self.experiment.axes)
        return self._belief[1]

    def front(self, *, observed: bool = False) -> Trials:
        """Return the trials of the search that no other one is believed to beat, cheapest first.

        Args:
            observed: Compare what was measured, the luck of single trainings included.
        """
        trials, axes = self.trials("search"), self.experiment.axes
        return Trials(front(trials, axes) if observed else self.belief.front(trials, axes), axes)

    def pick(self, text: str) -> Trial:
        """Return the trial that a user's words name, by what is believed of the trials.

        Args:
            text: "knee", "best" (by the learned objective), "trial=17", "max-macs=20M" or "max-parameters=1M" (the
                best within).

        Raises:
            BadInput: If the words are unknown or name no complete trial.
        """
        found = pick(self.belief.of(self.trials()), str(text), self.experiment.axes)
        return next(trial for trial in self.trials() if trial.number == found.number)

    def checkpoint_folder(self, number: int) -> Path:
        """Return where a running trial keeps its last checkpoint."""
        return (self.folder / checkpoint_of(number)).parent

    def weights_path(self, number: int) -> Path:
        """Return where the weights of a trial lie; a baseline trial that took over a measurement shares its weights."""
        trials = self.trials()
        of = next(((t.architecture.fingerprint, t.seed) for t in trials if t.number == number), None)
        same = (t.number for t in trials if t.state == "complete" and (t.architecture.fingerprint, t.seed) == of)
        return self.folder / weights_of(min(same, default=number))

    def tested(self) -> dict[int, dict[str, float]]:
        """Return what was measured on the test images, by number of the trial and name of the objective."""
        path = self.folder / "test.json"
        return read_as(path, _tested) if path.exists() else {}

    def confusion(self, number: int) -> Confusion | None:
        """Return what a trial took for what on the test images.

        None where it was not tested, the task tells no classes apart, or an older version tested it.
        """
        path = self.folder / confusion_of(number)
        return read_as(path, Confusion.from_dict) if path.exists() else None

    def keep_confusion(self, number: int, found: Confusion) -> None:
        """Record what a trial took for what on the test images."""
        path = self.folder / confusion_of(number)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(found.to_dict(), separators=(",", ":")))

    def rates(self) -> RateSearch | None:
        """Return how the learning rate was found; None where it was given."""
        path = self.folder / "learning_rate.json"
        return read_as(path, RateSearch.from_dict) if path.exists() else None

    def keep_rates(self, found: RateSearch) -> None:
        """Record how the learning rate was found."""
        _write_json(self.folder / "learning_rate.json", found.to_dict())

    def retrained(self) -> tuple[Retrained, ...]:
        """Return what was trained from scratch, and what is under way, by trial, epochs and name.

        Raises:
            BadInput: If a file of it is damaged.
        """
        return read_all(self.folder)

    def add_tested(self, measured: Mapping[int, Mapping[str, float]]) -> None:
        """Add what was measured on the test images to what is known."""
        together = {**self.tested(), **measured}
        _write_json(self.folder / "test.json", {str(number): dict(together[number]) for number in sorted(together)})


def _tested(data: Any) -> dict[int, dict[str, float]]:
    return {int(number): {str(name): float(value) for name, value in found.items()} for number, found in data.items()}


def _refuse_own_task(path: Path) -> None:
    """Raise BadInput if a run has a task that would have to be imported."""
    data = read_json(path)
    asked = data.get("experiment") if isinstance(data, dict) else None
    task = asked.get("task") if isinstance(asked, dict) else None
    if task is not None and task not in tuple(TASKS):
        raise BadInput(
            f"the run {path.parent} has the task '{task!s:.60}', which is code of its own: it needs trust to be read "
            "(status with --trust, report without --trust no)"
        )


def _write_json(path: Path, data: Any) -> None:
    """Write a file that is whole or old after a kill at any moment."""
    write_text(path, json.dumps(data, indent=2))
