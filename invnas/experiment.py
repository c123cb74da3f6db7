"""What to run, as frozen values: an experiment is one question with its data, recipe and budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

from invnas.caps import Caps
from invnas.errors import BadInput, shown
from invnas.latency.settings import Latency, check_reserved
from invnas.measurement import BASELINES, Phase
from invnas.objective import LATENCY, Objective, by_name
from invnas.recipe import Recipe as Recipe
from invnas.settings import COUNT, settle
from invnas.space import Space
from invnas.stopping import Rungs, rungs_of, tune_scheduler
from invnas.task import Task, load_task, objectives_of


@dataclass(frozen=True)
class DataSource:
    """Where the images come from: any LightningDataModule by its class path.

    Attributes:
        class_path: Dotted path of a LightningDataModule, such as invnas.data.Digits or my_package.MyData.
        init_args: Its arguments by name.

    >>> DataSource("invnas.data.Digits", {"batch_size": 32}).init_args["batch_size"]
    32
    """

    class_path: str = "invnas.data.HardDigits"
    init_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle(self, "data.")


#: Seeds there are: numpy takes 32 bits, and the random baseline has the next one.
SEEDS = 2**32 - 1

#: Settings that are younger than the first runs: written only where they are given.
LATER = ("init_from", "init_names")

#: Settings of an experiment that say where it runs: a run can go on elsewhere.
PLACED = ("engine", "workers", "reserve_cores", "address", "gpus_per_trial", "cpus_per_trial", "storage")


@dataclass(frozen=True)
class Experiment:
    """One question to a search: which space, on which images, with which budget.

    Attributes:
        space: Name of a space that comes with invnas (digits, hybrid_cifar, ...) or path of a Python file; in Python
            also a Space, a network value or a function.
        data: Where the images come from.
        recipe: How each candidate is trained.
        task: What is trained for: classification, or the class path of a task.
        objectives: Two or three of what the task measures (top1, top5, loss, balanced_accuracy, f1, auroc) and what a
            network costs (macs, parameters, activation_bytes, latency_ms).
        trials: Architectures to train.
        max_macs: Cap on multiply-adds of one image, such as 30M; nothing above it is trained.
        max_parameters: Cap on parameters, such as 1M; nothing above it is trained.
        max_latency_ms: Cap on the milliseconds of a forward pass; it is measured before training.
        latency: Where a latency is measured: who runs the network, on how many threads, for how many images, on which
            machine.
        sampler: Who proposes: known-cost, tpe, random, branch-uniform, stratified, evolution, or the class path
            of any Optuna sampler.
        sampler_args: Arguments of that sampler by name.
        warm_start: Folder of an earlier run on the same space, perhaps on other images, that known-cost learns from.
        seed: Seed of the proposals and of each training.
        workers: Trainings at a time, each in a process of its own when more than one; by default 1 on this machine, and
            as many as fit on a cluster.
        reserve_cores: Cores of this machine that trainings leave free, so that latencies are measured beside them; by
            default trainings are held meanwhile.
        stopper: Who ends trainings early: none, halving, or the class path of a scheduler of Ray Tune (engine ray).
        stopper_args: Arguments of that stopper by name.
        engine: Who trains: local (this machine) or ray (Ray Tune, on one machine or a cluster).
        address: Address of a Ray cluster, such as auto or 10.0.0.1:6379; by default Ray is started on this machine.
        gpus_per_trial: GPUs of each training under Ray, a part such as 0.25 too; by default 1 where there are any.
        cpus_per_trial: CPU cores of each training under Ray; by default 1.
        storage: Folder that all machines share, or URL such as s3://bucket/path, through which checkpoints and weights
            come back under Ray; by default the run folder, which all machines must then see.
        stop_when_converged: End the search when the best candidate is expected to add less than this share, such as
            0.01, to what the front covers; by default it ends after `trials`.
        converged_trials: Trials for which that must have been so.
        random_baseline: Also train as many uniformly random architectures, to compare with.
        branch_baseline: Also train as many that are drawn uniformly over the options of each choice: uniform draws are
            nearly always deep.
        baselines: Also train pure members of the space and well-known small networks, to compare the front with.
        init_from: Weights that each training starts from, where a part of its network has an equal there: a run
            (RUN:knee or RUN:trial=17 for another trial than its best), the folder of an export, or a file with a
            state_dict (safetensors, or of torch.save).
        init_names: How names in that file begin, and how they begin here, such as {"module.": ""}.

    >>> asked = Experiment(space="digits", trials=20, objectives=("top1", "parameters"), max_macs=1_000_000)
    >>> Experiment.from_dict(asked.to_dict()) == asked
    True
    """

    space: Any = "digits"
    data: DataSource = field(default_factory=DataSource)
    recipe: Recipe = field(default_factory=Recipe)
    task: str = "classification"
    objectives: tuple[str, ...] = ("top1", "macs")
    trials: int = 48
    max_macs: int | None = field(default=None, metadata=COUNT)
    max_parameters: int | None = field(default=None, metadata=COUNT)
    max_latency_ms: float | None = None
    latency: Latency = field(default_factory=Latency)
    sampler: str = "known-cost"
    sampler_args: dict[str, Any] = field(default_factory=dict)
    warm_start: str | None = None
    seed: int = 0
    workers: int | None = None
    reserve_cores: int = 0
    stopper: str = "none"
    stopper_args: dict[str, Any] = field(default_factory=dict)
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: float | None = None
    storage: str | None = None
    stop_when_converged: float | None = None
    converged_trials: int = 10
    random_baseline: bool = False
    branch_baseline: bool = False
    baselines: bool = False
    init_from: str | None = None
    init_names: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle(self)
        if isinstance(self.space, PurePath):
            object.__setattr__(self, "space", str(self.space))
        elif not isinstance(self.space, str | Space):
            Space(self.space)  # refused here, in the words of a space
        by_name(self.objectives, objectives_of(load_task(self.task)))
        for name in ("trials", "workers", "converged_trials"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise BadInput(f"`{name}` must be at least 1, but got {number}")
        if not 0 <= self.seed < SEEDS:
            raise BadInput(f"`seed` must lie in 0 to {SEEDS - 1}, but got {self.seed}")
        for name in ("max_macs", "max_parameters", "max_latency_ms"):
            cap = getattr(self, name)
            if cap is not None and not cap > 0:
                raise BadInput(f"`{name}` must be positive, but got {cap}")
        if self.stop_when_converged is not None and not 0 < self.stop_when_converged < 1:
            raise BadInput(f"`stop_when_converged` must lie between 0 and 1, but got {self.stop_when_converged:g}")
        self._check_start()
        self._check_engine()
        check_reserved(self.reserve_cores, self.latency, self.metered, self.engine)

    def _check_start(self) -> None:
        if self.init_names and self.init_from is None:
            raise BadInput("`init_names` is for the names in a file of weights: it needs `init_from`")
        for theirs, ours in self.init_names.items():
            if not isinstance(ours, str):
                raise BadInput(f"`init_names` must map text to text, but '{theirs}' becomes {shown(ours, 60)}")
        if self.warm_start is not None and self.sampler != "known-cost":
            raise BadInput(f"`warm_start` is for the sampler known-cost, but the sampler is {self.sampler}")

    def _check_engine(self) -> None:
        _ = self.rungs  # an unknown stopper is refused here
        for name, least in (("gpus_per_trial", 0.0), ("cpus_per_trial", 0.0)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise BadInput(f"`{name}` must not be negative, but got {given:g}")
        if self.gpus_per_trial is not None and self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise BadInput(
                f"`gpus_per_trial` must be a part of one GPU or a whole number of them, but got {self.gpus_per_trial:g}"
            )
        if self.engine != "ray":
            if self.tune_scheduler:
                raise BadInput(f"the stopper {self.tune_scheduler} is one of Ray Tune: it needs --engine ray")
            for name in ("address", "gpus_per_trial", "cpus_per_trial", "storage"):
                if getattr(self, name) is not None:
                    raise BadInput(f"`{name}` is for Ray: it needs --engine ray")

    @property
    def metered(self) -> bool:
        """Whether anything asks for a latency."""
        return LATENCY.name in self.objectives or self.max_latency_ms is not None

    @property
    def tune_scheduler(self) -> str | None:
        """The class path of the scheduler of Ray Tune that is its stopper; None where invnas judges, or nobody."""
        return tune_scheduler(self.stopper)

    @property
    def rungs(self) -> Rungs:
        """The epochs at which trainings are judged."""
        return rungs_of(self.stopper, self.stopper_args, self.recipe.epochs)

    @property
    def parallel(self) -> bool:
        """Whether several trainings run at a time, or may."""
        return self.workers != 1 if self.engine == "ray" else (self.workers or 1) > 1

    @property
    def drawn(self) -> tuple[Phase, ...]:
        """The random baselines that are asked for."""
        asked = {"random": self.random_baseline, "branch": self.branch_baseline}
        return tuple(phase for phase in BASELINES if asked[phase])

    @property
    def what(self) -> Task:
        """The task as a value."""
        return load_task(self.task)

    @property
    def axes(self) -> tuple[Objective, ...]:
        """The objectives as values."""
        found = by_name(self.objectives, objectives_of(self.what))
        return tuple(self.latency.axis if axis == LATENCY else axis for axis in found)

    @property
    def leading(self) -> Objective:
        """What is spoken of first, and who is best by: what the search is for, else what matters to the task."""
        return next((axis for axis in self.axes if axis.source == "learned"), self.what.objectives[0])

    @property
    def tested(self) -> tuple[str, ...]:
        """Names of what is measured once on the test images: what the task says, and what the search is for."""
        learned = (axis.name for axis in self.axes if axis.source == "learned")
        return tuple(dict.fromkeys((*self.what.tested, *learned)))

    @property
    def caps(self) -> Caps:
        """The caps as a value."""
        return Caps.of(macs=self.max_macs, parameters=self.max_parameters, latency_ms=self.max_latency_ms)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        space = self.space if isinstance(self.space, str) else "space"  # an object is written beside it as a file
        plain = {**asdict(replace(self, space=space)), "objectives": list(self.objectives)}
        return {name: value for name, value in plain.items() if name not in LATER or value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Experiment:
        """Rebuild from `to_dict`.

        Raises:
            BadInput: If a key is unknown or missing, or a value cannot be.
        """
        try:
            values = dict(data)
            values["data"] = DataSource(**values["data"])
            values["recipe"] = Recipe(**values["recipe"])
            values["latency"] = Latency(**values.get("latency", {}))
            values["objectives"] = tuple(values["objectives"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"these are not the settings of an experiment: {type(error).__name__}: {error}") from error
