"""What crosses between who decides and who trains: a job goes out, its progress and its end come back.

Everything is plain data with JSON both ways, and a job holds all that a training needs: a worker may be a process, or a
process on another host that has never seen the run folder. Files go through a `Store`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from invnas.architecture import Architecture
from invnas.errors import BadInput, shown
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement
from invnas.space import load_space


@dataclass(frozen=True)
class SpaceSource:
    """The file of a space: who has it can rebuild architectures of a user's own types.

    Attributes:
        name: Name of the file, without its ending.
        text: What stands in it.
    """

    name: str
    text: str

    @property
    def types(self) -> Mapping[str, type]:
        """The user's own dataclasses by name; the same ones whenever they are asked for in a process."""
        return _types(self)


@lru_cache(maxsize=4)
def _types(source: SpaceSource) -> Mapping[str, type]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "space.py")
        path.write_text(source.text, encoding="utf-8")
        return load_space(path).types


@dataclass(frozen=True)
class Job:
    """One training, as it goes out to a worker.

    Attributes:
        number: The number of the trial.
        architecture: What to train.
        cost: Its price.
        experiment: Data, recipe, task and seed.
        facts: The images as the search found them.
        space: The file of the space.
        attempt: How often this trial was handed out before: an answer to an earlier attempt is not its own.
        micro_batches: Parts of a batch that are computed one after the other, because memory ran out before.
    """

    number: int
    architecture: Architecture
    cost: Cost
    experiment: Experiment
    facts: DataFacts
    space: SpaceSource
    attempt: int = 0
    micro_batches: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "number": self.number,
            "attempt": self.attempt,
            "micro_batches": self.micro_batches,
            "architecture": self.architecture.to_dict(),
            "cost": self.cost.to_dict(),
            "experiment": self.experiment.to_dict(),
            "facts": self.facts.to_dict(),
            "space": {"name": self.space.name, "text": self.space.text},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Rebuild from `to_dict`; the file of the space is executed."""
        space = SpaceSource(**data["space"])
        return cls(
            number=data["number"],
            architecture=Architecture.from_dict(data["architecture"], space.types),
            cost=Cost.from_dict(data["cost"]),
            experiment=Experiment.from_dict(data["experiment"]),
            facts=DataFacts.from_dict(data["facts"]),
            space=space,
            attempt=data["attempt"],
            micro_batches=data["micro_batches"],
        )


@dataclass(frozen=True)
class Failure:
    """A training ended without a measurement; the search goes on.

    Attributes:
        reason: Why, one sentence.
    """

    reason: str


@dataclass(frozen=True)
class Halt:
    """A training could not go on for a reason that is not its own, such as a full disk: the search must stop.

    The trial stays running in the record, and resume trains it.

    Attributes:
        reason: Why, one sentence.
    """

    reason: str


#: A measurement of fewer epochs than planned is that of a trial that was stopped.
Outcome = Measurement | Failure | Halt

_OUTCOMES: Mapping[str, type[Failure] | type[Halt]] = {"failure": Failure, "halt": Halt}


@dataclass(frozen=True)
class Progress:
    """A training has come so far.

    Attributes:
        number: The number of the trial.
        epoch: Epochs done; 0 when the training begins.
        of: Epochs planned.
        values: What is known after this epoch, by name: intermediate values of the objectives, the training loss.
        attempt: That of the job.
        rung: What was measured at an epoch that is judged; None at others. The training waits until it was told of,
            and ends there when `Engine.stop` was called meanwhile.
        host: Name of the machine that trains.
        device: What it trains on, such as "cpu" or "cuda:0".
    """

    number: int
    epoch: int
    of: int
    values: Mapping[str, float]
    attempt: int = 0
    rung: Measurement | None = None
    host: str = ""
    device: str = ""


@dataclass(frozen=True)
class Ended:
    """A training is over.

    Attributes:
        number: The number of the trial.
        outcome: What came out.
        attempt: That of the job.
    """

    number: int
    outcome: Outcome
    attempt: int = 0


Message = Progress | Ended


def to_dict(message: Message) -> dict[str, Any]:
    """Return a message as plain JSON data."""
    tag = {"number": message.number, "attempt": message.attempt}
    if isinstance(message, Progress):
        rung = None if message.rung is None else message.rung.to_dict()
        where = {"host": message.host, "device": message.device}
        come = {"epoch": message.epoch, "of": message.of, "values": dict(message.values)}
        return {"kind": "progress", **tag, **come, "rung": rung, **where}
    outcome = message.outcome
    if isinstance(outcome, Measurement):
        return {"kind": "measurement", **tag, "measurement": outcome.to_dict()}
    kind = next(name for name, kind in _OUTCOMES.items() if isinstance(outcome, kind))
    return {"kind": kind, **tag, "reason": outcome.reason}


def from_dict(data: Mapping[str, Any]) -> Message:
    """Rebuild a message from `to_dict`.

    Raises:
        BadInput: If it is no message.
    """
    try:
        number, attempt, kind = int(data["number"]), int(data["attempt"]), data["kind"]
        if kind == "progress":
            rung = None if data["rung"] is None else Measurement.from_dict(data["rung"])
            come = int(data["epoch"]), int(data["of"]), dict(data["values"])
            return Progress(number, *come, attempt, rung, str(data["host"]), str(data["device"]))
        if kind == "measurement":
            return Ended(number, Measurement.from_dict(data["measurement"]), attempt)
        return Ended(number, _OUTCOMES[kind](str(data["reason"])), attempt)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"this is no message of a worker: {shown(data, 80)} ({type(error).__name__}: {error})") from None


class Engine(Protocol):
    """Who executes jobs: in this process, in others, on other machines."""

    @property
    def workers(self) -> int:
        """Jobs it takes at a time."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job; it continues from its checkpoint when the store has one."""
        ...

    def stop(self, number: int) -> None:
        """End a training early: it comes back as ended, measured on the part of its budget that it had.

        May be called while `wait` tells of a message. A number that is not running is not heard.
        """
        ...

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        """Tell of each message as it arrives; return after the first ones, at the latest after `timeout` seconds.

        A training that has come to a rung goes on, or was stopped, when `tell` has returned.

        An engine that trains in this process returns when a training has ended, however long that takes.
        """
        ...

    def quiet(self) -> AbstractContextManager[None]:
        """Return a context in which nothing of this engine computes on this machine; trainings go on after it."""
        ...

    def close(self) -> None:
        """Stop everything that runs; trials continue from their checkpoints when they are submitted again."""
        ...


class Store(Protocol):
    """Where the files of trials are kept: a run folder, or something that reaches it from another host.

    Names are those of a run folder, such as `checkpoints/17/last.ckpt`.
    """

    def fetch(self, name: str, path: Path) -> bool:
        """Put a kept file at `path`; False when there is none of this name."""
        ...

    def keep(self, name: str, path: Path) -> None:
        """Keep the file at `path` under a name: after a kill at any moment it is the old one or the new one, whole.

        Raises:
            OSError: If it cannot be written.
        """
        ...
