"""InvBench: hybrids of convolution and involution on hard digits, each really trained, as tables that come with invnas.

`invbench.md` beside this file is the card: how it was made, its noise, its columns, its licence.
"""

from __future__ import annotations

import csv
import gzip
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from invnas.architecture import Architecture
from invnas.bench.replay import Answer
from invnas.errors import BadInput, nearest
from invnas.measurement import Cost, Measurement
from invnas.space import Space, load_space

#: The two tables; a training refers to its architecture by fingerprint.
ARCHITECTURES, TRAININGS = "invbench_architectures.csv.gz", "invbench_trainings.csv.gz"
_COSTS = ("macs", "parameters", "activation_bytes", "latency_ms")
_VALUES = ("top1", "loss")


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        architecture: What was trained.
        seed: Of its initial weights and its order; the images are always the same.
        epochs: Its budget: the rate falls to zero over so many epochs.
        measurement: What came out: "top1" and "loss" on the validation images, `train_seconds` of CPU.
        rungs: What it was worth on its way, by the epoch; only where the budget was the whole one.
    """

    architecture: Architecture
    seed: int
    epochs: int
    measurement: Measurement
    rungs: Mapping[int, Measurement]


@dataclass(frozen=True)
class Noise:
    """How far a number of one training says something of its architecture.

    Attributes:
        between: Standard deviation between architectures, without what `within` adds to it.
        within: Standard deviation between the seeds of an architecture.
        architectures: How many had several seeds.
    """

    between: float
    within: float
    architectures: int

    @property
    def ratio(self) -> float:
        """Signal to noise; infinite where seeds differ in nothing."""
        return self.between / self.within if self.within else math.inf


@dataclass(frozen=True)
class InvBench:
    """What was measured.

    Attributes:
        costs: What each architecture costs: macs, parameters, activation_bytes, and latency_ms where it was measured.
        trainings: Every training, those of an architecture one after the other.
    """

    costs: Mapping[Architecture, Cost]
    trainings: tuple[Training, ...]

    @cached_property
    def space(self) -> Space:
        """The space the architectures are of."""
        return load_space("invbench")

    @cached_property
    def epochs(self) -> int:
        """The whole budget."""
        return max(training.epochs for training in self.trainings)

    def answers(
        self, seed: int | Sequence[int] = 0, epochs: int | None = None, *, rung: int | None = None
    ) -> dict[Architecture, Answer]:
        """Return cost and measurement of every architecture that was so trained, for `replay`.

        Args:
            seed: Of the training; of several the mean, of those architectures that were trained with each.
            epochs: The budget of the training; the whole one by default.
            rung: What was measured after this epoch of the training instead of at its end.

        Raises:
            BadInput: If nothing was so trained.

        >>> bench = load()
        >>> seen, others = bench.answers(seed=0), bench.answers(seed=(1, 2))
        >>> set(others) <= set(seen)
        True
        """
        seeds = (seed,) if isinstance(seed, int) else tuple(dict.fromkeys(seed))
        budget = self.epochs if epochs is None else epochs
        found: dict[Architecture, list[Measurement]] = {}
        for training in self.trainings:
            if training.seed in seeds and training.epochs == budget:
                measured = training.measurement if rung is None else training.rungs.get(rung)
                if measured is not None:
                    found.setdefault(training.architecture, []).append(measured)
        answers = {one: (self.costs[one], _mean(many)) for one, many in found.items() if len(many) == len(seeds)}
        if not answers:
            raise BadInput(self._why_none(seeds, budget, rung))
        return answers

    def noise(self, name: str = "top1", epochs: int | None = None) -> Noise:
        """Return how large the noise of a number is, from the architectures that were trained with several seeds.

        Raises:
            BadInput: If it was not measured, or fewer than two architectures were so trained.
        """
        if name not in _VALUES:
            raise BadInput(f"InvBench measured no '{name}'; {nearest(name, _VALUES)}")
        found: dict[Architecture, list[float]] = {}
        for training in self.trainings:
            if training.epochs == (self.epochs if epochs is None else epochs):
                found.setdefault(training.architecture, []).append(training.measurement[name])
        several = [values for values in found.values() if len(values) > 1]
        if len(several) < 2:
            raise BadInput(
                f"{len(several)} architectures were trained with several seeds, but noise needs at least two"
            )
        within = statistics.fmean(statistics.variance(values) for values in several)
        seen = statistics.variance([values[0] for values in several])
        return Noise(math.sqrt(max(seen - within, 0.0)), math.sqrt(within), len(several))

    def _why_none(self, seeds: Sequence[int], epochs: int, rung: int | None) -> str:
        budgets = sorted({training.epochs for training in self.trainings})
        if epochs not in budgets:
            return f"InvBench has no trainings of {epochs} epochs; {nearest(str(epochs), map(str, budgets))}"
        rungs = sorted({at for training in self.trainings if training.epochs == epochs for at in training.rungs})
        if rung is not None and rung not in rungs:
            return f"InvBench measured nothing after {rung} of {epochs} epochs; {nearest(str(rung), map(str, rungs))}"
        known = sorted({training.seed for training in self.trainings})
        return f"no architecture of InvBench was trained with the seeds {seeds}; valid: {', '.join(map(str, known))}"


def _mean(many: Sequence[Measurement]) -> Measurement:
    if len(many) == 1:
        return many[0]
    values = {name: statistics.fmean(one[name] for one in many) for name in _VALUES}
    seconds = statistics.fmean(one.train_seconds for one in many)
    return Measurement(values, many[0].epochs, many[0].planned_epochs, seconds, many[0].backend)


@lru_cache(maxsize=1)
def load() -> InvBench:
    """Return InvBench, as it comes with invnas.

    >>> bench = load()
    >>> from invnas.bench import replay
    >>> len(replay(bench.space, bench.answers(seed=0), "evolution", trials=25))
    25
    """
    return read(Path(__file__).parent)


def read(folder: Path) -> InvBench:
    """Return InvBench from the folder of its two tables."""
    architectures, costs = {}, {}
    for row in table(folder / ARCHITECTURES):
        one = architectures[row["fingerprint"]] = Architecture.from_json(row["architecture"])
        costs[one] = Cost({name: _number(row[name]) for name in _COSTS if row[name]})
    trainings = [_training(row, architectures[row["fingerprint"]]) for row in table(folder / TRAININGS)]
    return InvBench(costs, tuple(trainings))


def table(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table as text."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _training(row: Mapping[str, str], architecture: Architecture) -> Training:
    epochs, seconds = int(row["epochs"]), float(row["cpu_seconds"])

    def measured(at: int, end: str) -> Measurement:
        # Planned as it came out: a result, not a trial that was stopped.
        values = {name: float(row[name + end]) for name in _VALUES}
        return Measurement(values, at, at, seconds * at / epochs, row["backend"])

    told = [name.partition("_")[2] for name, text in row.items() if name.startswith("top1_") and text]
    rungs = {int(at): measured(int(at), f"_{at}") for at in told}
    return Training(architecture, int(row["seed"]), epochs, measured(epochs, ""), rungs)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)
