"""Trainings from scratch as they stand in a run: what came out, how far they are, and where they lie.

`retrain/` in a run folder has a folder for each, called by its name:

    retraining.json        what it is, and the images as they were found
    seed0.json             what the training with this seed reached; the last file of it to appear
    seed0.safetensors      its weights
    seed0/last.ckpt        while it trains
    logs/seed0/            CSV or TensorBoard, when asked for
    standing.json          how far it is; nothing is restored from it
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from invnas.errors import BadInput
from invnas.facts import DataFacts
from invnas.files import read_as, write_text
from invnas.objective import Objective
from invnas.retraining import Retraining

#: The folder of all retrainings in a run folder.
FOLDER = "retrain"


@dataclass(frozen=True)
class Seed:
    """What the training with one seed reached.

    Attributes:
        seed: The seed.
        test: Numbers on the test images by the names of objectives; measured once.
        validation: The same on the validation images; empty where they were trained on.
        ended: When it ended, seconds since 1970.
    """

    seed: int
    test: Mapping[str, float]
    validation: Mapping[str, float] = field(default_factory=dict)
    ended: float = 0.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Seed:
        """Rebuild from plain data; raises as `Retraining.from_dict`."""
        test, validation = ({str(k): float(v) for k, v in data[part].items()} for part in ("test", "validation"))
        return cls(int(data["seed"]), test, validation, float(data["ended"]))


@dataclass(frozen=True)
class Standing:
    """How far a retraining is.

    Attributes:
        process: Who trains.
        seeds: How many seeds were asked for.
        seed: The one that trains.
        epoch: Its epochs that are done.
        finish: When all will be done, seconds since 1970; None where that is not known yet.
    """

    process: int
    seeds: int
    seed: int
    epoch: int
    finish: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standing:
        """Rebuild from plain data; raises as `Retraining.from_dict`."""
        numbers = {name: int(data[name]) for name in ("process", "seeds", "seed", "epoch")}
        return cls(**numbers, finish=None if data["finish"] is None else float(data["finish"]))


@dataclass(frozen=True)
class Retrained:
    """A retraining as it stands in a run folder.

    Attributes:
        asked: What it is.
        facts: The images, as they were found.
        seeds: The seeds that are done, by number.
        standing: How far it is; None where it has what it was asked for.
    """

    asked: Retraining
    facts: DataFacts
    seeds: tuple[Seed, ...] = ()
    standing: Standing | None = None

    @property
    def trained_on(self) -> str:
        """Which images it trains on, and how many where that is known."""
        parts = ("train", "validation") if self.asked.all_data else ("train",)
        counts = [self.facts.counts.get(part) for part in parts]
        number = "" if None in counts else f" ({sum(count or 0 for count in counts):,})"
        return {1: "the training images", 2: "the training and the validation images"}[len(parts)] + number

    @property
    def ended(self) -> float:
        """When its last seed ended."""
        return max((one.ended for one in self.seeds), default=0.0)

    def best(self, objective: Objective) -> Seed:
        """Return the best seed by the validation images, the first one where those were trained on."""
        known = [one for one in self.seeds if objective.name in one.validation]
        return max(known, key=lambda one: objective.sign * one.validation[objective.name]) if known else self.seeds[0]

    def spread(self, name: str) -> tuple[float, float | None]:
        """Return mean and standard deviation of a number on the test images over the seeds; None for that of one."""
        return spread([one.test[name] for one in self.seeds if name in one.test])


def spread(values: list[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation; that of one value is None, since one says nothing of others."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Place:
    """Where a retraining lies.

    Attributes:
        folder: Its own folder.
    """

    folder: Path

    @classmethod
    def of(cls, run: Path, asked: Retraining) -> Place:
        """Return the place of a retraining in a run folder."""
        return cls(run / FOLDER / asked.name)

    def weights(self, seed: int) -> Path:
        """Return the file of the weights of a seed."""
        return self.folder / f"seed{seed}.safetensors"

    def checkpoints(self, seed: int) -> Path:
        """Return the folder of the checkpoint of a seed."""
        return self.folder / f"seed{seed}"

    def logs(self, seed: int) -> Path:
        """Return the folder of the logs of a seed."""
        return self.folder / "logs" / f"seed{seed}"

    def begin(self, asked: Retraining, facts: DataFacts) -> None:
        """Write what it is, unless it is there.

        Raises:
            BadInput: If it was begun with other images.
        """
        if (self.folder / "retraining.json").is_file():
            if changed := self.read().facts.changed(facts):
                raise BadInput(
                    f"the images of {asked.data.class_path} are not those the retraining {asked.name} was begun with: "
                    f"{changed}; give it its images back, or remove {self.folder}"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "retraining.json", {**asked.to_dict(), "facts": facts.to_dict()})

    def stand(self, standing: Standing | None) -> None:
        """Write how far it is; None: it has what it was asked for."""
        path = self.folder / "standing.json"
        if standing is None:
            path.unlink(missing_ok=True)
        else:
            write_text(path, json.dumps(asdict(standing)), durable=False)

    def standing(self) -> Standing | None:
        """Return how far it is; None where it has what it was asked for."""
        path = self.folder / "standing.json"
        return read_as(path, Standing.from_dict) if path.is_file() else None

    def finish(self, seed: int, test: Mapping[str, float], validation: Mapping[str, float]) -> Seed:
        """Write what a seed reached."""
        found = Seed(seed, dict(test), dict(validation), time.time())
        _write(self.folder / f"seed{seed}.json", asdict(found))
        return found

    def seed(self, seed: int) -> Seed | None:
        """Return what a seed reached; None where it is not done."""
        path = self.folder / f"seed{seed}.json"
        return read_as(path, Seed.from_dict) if path.is_file() else None

    def read(self) -> Retrained:
        """Return all that is known of it.

        Raises:
            BadInput: If a file is damaged.
        """
        asked, facts = read_as(self.folder / "retraining.json", _asked)
        numbers = sorted(int(path.stem[4:]) for path in self.folder.glob("seed*.json") if path.stem[4:].isdecimal())
        seeds = tuple(found for number in numbers if (found := self.seed(number)) is not None)
        return Retrained(asked, facts, seeds, self.standing())


def read_all(run: Path) -> tuple[Retrained, ...]:
    """Return the retrainings in a run folder, by trial, epochs and name.

    Raises:
        BadInput: If a file of one is damaged.
    """
    found = [Place(path.parent).read() for path in (run / FOLDER).glob("*/retraining.json")]
    return tuple(sorted(found, key=lambda one: (one.asked.trial, one.asked.recipe.epochs, one.asked.name)))


def _asked(data: Any) -> tuple[Retraining, DataFacts]:
    return Retraining.from_dict(data), DataFacts.from_dict(data["facts"])


def _write(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=2))
