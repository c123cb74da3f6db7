"""What a report shows, as plain frozen data: everything is computed here, the renderers only draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from invnas.architecture import INVOLUTIONS, Architecture
from invnas.experiment import Experiment
from invnas.measurement import Measurement, Trial
from invnas.pareto import Box, box, front, hypervolume_over_trials, knee


@dataclass(frozen=True)
class Part:
    """The spatial operators of one part of a network, such as its stem or its second stage.

    Attributes:
        name: What to call it, such as "stage 2".
        operators: The operators in their order.
    """

    name: str
    operators: tuple[Any, ...]

    @property
    def share(self) -> float:
        """Share of the operators that are involutions, 0 to 1."""
        return sum(isinstance(operator, INVOLUTIONS) for operator in self.operators) / len(self.operators)

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Kernel sizes of the involutions, each once, smallest first."""
        return tuple(sorted({o.kernel_size for o in self.operators if isinstance(o, INVOLUTIONS)}))


@dataclass(frozen=True)
class Point:
    """One trained architecture.

    Attributes:
        trial: The trial, complete.
        measurement: Its measurement.
        on_front: Whether it lies on the front of its own kind of search (or of the random baseline).
        test_top1: Share of test images classified right; None when it was not tested.
    """

    trial: Trial
    measurement: Measurement
    on_front: bool
    test_top1: float | None

    @property
    def number(self) -> int:
        """The number of the trial."""
        return self.trial.number

    @property
    def kind(self) -> str:
        """Which operators it has: convolution, involution, hybrid or other."""
        return self.trial.architecture.kind

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its spatial operators by part."""
        return parts_of(self.trial.architecture)

    def value(self, objective: str) -> float:
        """Return its number for an objective."""
        return self.measurement.values((objective,))[0]


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Attributes:
        name: What to call the run.
        created: When the report was made, UTC.
        experiment: The question.
        environment: Versions and hardware by name.
        points: The complete trials, by number.
        front: The front of the search, cheapest first.
        baseline_front: The front of the random baseline, cheapest first; empty without one.
        knee: The best compromise on the front.
        box: The range in which a hypervolume is a share.
        hypervolume: Share after each finished trial of the search.
        baseline_hypervolume: Share after each finished trial of the random baseline.
        failed: Trials that failed, by number.
        running: How many trials have not finished.
    """

    name: str
    created: str
    experiment: Experiment
    environment: Mapping[str, str]
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    baseline_front: tuple[Point, ...]
    knee: Point | None
    box: Box
    hypervolume: tuple[float, ...]
    baseline_hypervolume: tuple[float, ...]
    failed: tuple[Trial, ...]
    running: int

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives of the search."""
        return self.experiment.objectives

    @property
    def panels(self) -> tuple[tuple[str, str], ...]:
        """The pairs (x, y) of objectives to plot: the second and any third against the first, accuracy upwards."""
        first, *others = self.objectives
        return tuple((first, other) if other == "top1" else (other, first) for other in others)

    @property
    def backends(self) -> tuple[str, ...]:
        """The operator backends that ran, with their devices."""
        return tuple(
            sorted(
                {" on ".join(filter(None, (p.measurement.backend, p.measurement.device))) for p in self.points} - {""}
            )
        )

    def steps(self, pair: tuple[str, str], baseline: bool) -> tuple[Point, ...]:
        """Return the front of two objectives alone, for the stepped line of a panel."""
        by_number = {point.number: point for point in self.points if point.trial.baseline == baseline}
        trials = front([point.trial for point in by_number.values()], (pair[1], pair[0]))
        return tuple(by_number[trial.number] for trial in trials)


def collect(
    name: str,
    experiment: Experiment,
    trials: Sequence[Trial],
    environment: Mapping[str, str],
    test_top1: Mapping[int, float] | None = None,
    created: datetime | None = None,
) -> ReportData:
    """Compute what a report shows.

    Args:
        name: What to call the run.
        experiment: The question.
        trials: All trials of the run, those of the random baseline with them.
        environment: Versions and hardware by name, such as {"python": "3.11.7", "device": "cpu"}.
        test_top1: Share of test images classified right, by trial number, for the trials that were tested.
        created: When the report is made; now by default.

    Raises:
        BadInput: If a complete trial has no value for an objective.
    """
    objectives = experiment.objectives
    search = [trial for trial in trials if not trial.baseline]
    baseline = [trial for trial in trials if trial.baseline]
    search_front, baseline_front = front(search, objectives), front(baseline, objectives)
    points = _points(trials, {trial.number for trial in (*search_front, *baseline_front)}, test_top1 or {})
    caps = {"macs": experiment.max_macs, "parameters": experiment.max_parameters}
    # One box for both, so that search and baseline are comparable.
    shared = box(trials, objectives, caps)
    return ReportData(
        name=name,
        created=(created or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        experiment=experiment,
        environment=dict(environment),
        points=tuple(points.values()),
        front=tuple(points[trial.number] for trial in search_front),
        baseline_front=tuple(points[trial.number] for trial in baseline_front),
        knee=points[knee(search, objectives).number] if search_front else None,
        box=shared,
        hypervolume=tuple(hypervolume_over_trials(search, objectives, shared).tolist()),
        baseline_hypervolume=tuple(hypervolume_over_trials(baseline, objectives, shared).tolist()),
        failed=tuple(sorted((t for t in trials if t.state == "failed"), key=lambda trial: trial.number)),
        running=sum(trial.state == "running" for trial in trials),
    )


def _points(trials: Sequence[Trial], on_front: set[int], test_top1: Mapping[int, float]) -> dict[int, Point]:
    return {
        trial.number: Point(trial, trial.measurement, trial.number in on_front, test_top1.get(trial.number))
        for trial in sorted(trials, key=lambda trial: trial.number)
        if trial.state == "complete" and trial.measurement is not None
    }


def parts_of(architecture: Architecture) -> tuple[Part, ...]:
    """Return the spatial operators of a network by part: stem, stages, or the fields of a user's own value."""
    parts: dict[str, list[Any]] = {}
    for path, operator in architecture.operators:
        first, *rest = path.split(".")
        numbered = rest and rest[0].isdigit()
        name = f"{first.removesuffix('s')} {int(rest[0]) + 1}" if numbered else first
        parts.setdefault(name, []).append(operator)
    return tuple(Part(name, tuple(operators)) for name, operators in parts.items())
