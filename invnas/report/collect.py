"""What a report shows, as plain frozen data: everything is computed here, the renderers only draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from invnas.belief import Belief, Estimate, Outlook
from invnas.confusion import Confusion
from invnas.experiment import Experiment
from invnas.fixed_box import Ends, fixed_box, unfixed
from invnas.measurement import BASELINES, PHASES, Measurement, Phase, State, Trial
from invnas.objective import MACS, Objective
from invnas.pareto import (
    Box,
    epochs_over_trials,
    front,
    hypervolume,
    hypervolume_over_trials,
    knee,
    values_of,
)
from invnas.rates import RateSearch
from invnas.report.answers import Chance, Comparison, chance, comparisons
from invnas.report.point import Point
from invnas.report.references import believed_from, luck_of, seeds_of
from invnas.retrained import Retrained
from invnas.task import Legend

#: Complete trials that a page holds beside the fronts: each brings a drawing of 10 kB. The tables hold all.
SAMPLE = 200


@dataclass(frozen=True)
class Beyond:
    """What is known of a run beside its trials.

    Attributes:
        outlook: What decisions do along the front, and what should be trained next.
        prior: Shares of involution by part of a network, of draws uniform over architectures, and of draws uniform over
            the options of each choice.
        retrained: What `retrain` found, as `Run.retrained` has it.
        sizes: How many images trained, validated and tested, in words.
        images: Validation images; None where nobody counted them.
        ended: Why the search ended before it had its trials; empty where it did not.
        ends: Where the space ends, worst and best by the name of a cost.
        classes: Names of the classes, in the order of their labels; empty where they have none.
        rates: How the learning rate was found; None where it was given.
        pictures: What members of the front find in test images, as PNG files, by trial number, where there are any.
        legend: What these pictures show.
        confusions: What members of the front took for what on the test images, by trial number, where that is known.
    """

    outlook: Outlook = field(default_factory=Outlook)
    prior: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    retrained: Sequence[Retrained] = ()
    sizes: str = ""
    images: int | None = None
    ended: str = ""
    ends: Ends = field(default_factory=dict)
    classes: Sequence[str] = ()
    rates: RateSearch | None = None
    pictures: Mapping[int, bytes] = field(default_factory=dict)
    legend: Legend = field(default_factory=lambda: Legend(""))
    confusions: Mapping[int, Confusion] = field(default_factory=dict)

    def class_name(self, number: int) -> str:
        """Return what a class is called: its number where it has no name."""
        return self.classes[number] if number < len(self.classes) else str(number)


@dataclass(frozen=True)
class Course:
    """What a search or a random baseline has come to.

    Attributes:
        phase: Which.
        front: Its front as believed, cheapest first.
        hypervolume: Share of the box after each finished trial, as measured: no later trial changes it.
        covered: Share of the box that the front covers, as believed.
        epochs: Epochs spent in all after each finished trial; a baseline as if it had trained what was taken over.
    """

    phase: Phase
    front: tuple[Point, ...]
    hypervolume: tuple[float, ...]
    covered: float
    epochs: tuple[int, ...]

    @property
    def name(self) -> str:
        """What to call it."""
        return PHASES[self.phase]


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Attributes:
        name: What to call the run.
        created: When the report was made, UTC.
        experiment: The question.
        environment: Versions and hardware by name.
        points: The complete trials, by number.
        search: What the search has come to.
        observed_front: That of what was measured.
        baselines: The random baselines that have trials.
        knee: The best compromise on the front.
        box: The range in which a hypervolume is a share; no trial moves it.
        stopped: Trials that were stopped early, by number.
        continued: The trials that go on with stopped ones, by the number of the stopped one.
        references: Reference architectures, by number; on no front.
        seeds: What each architecture measured with each of its seeds along the first learned objective, by fingerprint.
        luck: Standard deviation of that between trainings of one architecture; None if unknown.
        failed: Trials that failed, by number.
        running: How many trials have not finished.
        belief: What is believed of the architectures.
        comparisons: Hybrids against pure networks.
        chance: How much of the observed front is chance; None where that cannot be counted.
        beyond: What is known beside the trials.
    """

    name: str
    created: str
    experiment: Experiment
    environment: Mapping[str, str]
    points: tuple[Point, ...]
    search: Course
    baselines: tuple[Course, ...]
    knee: Point | None
    box: Box
    stopped: tuple[Trial, ...]
    continued: Mapping[int, Trial]
    references: tuple[Point, ...]
    seeds: Mapping[str, tuple[float, ...]]
    luck: float | None
    failed: tuple[Trial, ...]
    running: int
    observed_front: tuple[Point, ...] = ()
    belief: Belief = field(default_factory=Belief)
    comparisons: tuple[Comparison, ...] = ()
    chance: Chance | None = None
    beyond: Beyond = field(default_factory=lambda: Beyond())

    @property
    def front(self) -> tuple[Point, ...]:
        """The front of the search, cheapest first, by what is believed."""
        return self.search.front

    @cached_property
    def shown(self) -> tuple[Point, ...]:
        """The points that the page draws: the fronts, and of the others so many, evenly by number."""
        others = [point for point in self.points if not point.on_front]
        if len(others) <= SAMPLE:
            return self.points
        sample = {others[i * len(others) // SAMPLE].number for i in range(SAMPLE)}
        return tuple(point for point in self.points if point.on_front or point.number in sample)

    @cached_property
    def drawn(self) -> tuple[Point, ...]:
        """Everything that stands in a panel: the complete trials, and the references."""
        return (*self.points, *self.references)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the search."""
        return self.experiment.axes

    @property
    def unfixed(self) -> tuple[Objective, ...]:
        """The axes of the box of which another run has other ends."""
        return unfixed(self.objectives, self.experiment.caps, self.beyond.ends)

    @property
    def learned(self) -> tuple[Objective, ...]:
        """What training finds, the one that matters first."""
        return self.experiment.what.objectives

    @property
    def headline(self) -> tuple[Objective, Objective]:
        """The two numbers that describe a point in few words: the first learned one, the first cost of the search."""
        costs = [axis for axis in self.objectives if axis.source != "learned"]
        return self.experiment.leading, costs[0] if costs else MACS

    @property
    def panels(self) -> tuple[tuple[Objective, Objective], ...]:
        """The pairs (x, y) to plot: the second and any third objective against the first, what is learned upwards."""
        first, *others = self.objectives
        return tuple((first, other) if other.source == "learned" else (other, first) for other in others)

    @property
    def curves(self) -> tuple[Course, ...]:
        """Those of which a curve can be drawn, the search last."""
        return tuple(course for course in (*self.baselines, self.search) if course.hypervolume)

    @property
    def epochs_known(self) -> bool:
        """Whether any epoch was counted: not where recorded measurements stand for trainings."""
        return any(course.epochs[-1] > 0 for course in self.curves)

    @property
    def backends(self) -> tuple[str, ...]:
        """The operator backends that ran, with their devices."""
        return tuple(
            sorted(
                {" on ".join(filter(None, (p.measurement.backend, p.measurement.device))) for p in self.points} - {""}
            )
        )

    def steps(self, pair: tuple[Objective, Objective], phase: Phase, observed: bool = False) -> tuple[Point, ...]:
        """Return the front of two objectives alone, for the stepped line of a panel."""
        by_number = {point.number: point for point in self.points if point.trial.phase == phase}
        belief = Belief() if observed else self.belief
        trials = belief.front([point.trial for point in by_number.values()], (pair[1], pair[0]))
        return tuple(by_number[trial.number] for trial in trials)


def collect(
    name: str,
    experiment: Experiment,
    trials: Sequence[Trial],
    environment: Mapping[str, str],
    tested: Mapping[int, Mapping[str, float]] | None = None,
    created: datetime | None = None,
    *,
    belief: Belief | None = None,
    beyond: Beyond | None = None,
) -> ReportData:
    """Compute what a report shows.

    Args:
        name: What to call the run.
        experiment: The question.
        trials: All trials of the run; those of the search, its random baselines and its references are shown.
        environment: Versions and hardware by name, such as {"python": "3.11.7", "device": "cpu"}.
        tested: What was measured on the test images, by trial number and name.
        created: When the report is made; now by default.
        belief: What is believed of the architectures; by default what was measured.
        beyond: What is known of the run beside its trials.

    Raises:
        BadInput: If a complete trial has no value for an objective.
    """
    objectives, belief, beyond = experiment.axes, belief or Belief(), beyond or Beyond()
    seeds = seeds_of(trials, experiment.leading)
    compared = [trial for trial in trials if trial.phase == "reference"]
    trials = [trial for trial in trials if trial.phase == "search" or trial.baseline]
    of: dict[Phase, list[Trial]] = {phase: [t for t in trials if t.phase == phase] for phase in ("search", *BASELINES)}
    search = of["search"]
    fronts = {phase: belief.front(some, objectives) for phase, some in of.items()}
    everything = _points([*trials, *compared], tested or {}, belief, seeds, experiment.leading)
    members = {trial.number for some in fronts.values() for trial in some}
    points = {
        trial.number: replace(point, on_front=trial.number in members)
        for trial in trials
        if (point := everything.get(trial.number))
    }
    observed = front(search, objectives)
    # One box for all, so that search and baseline, runs and moments are comparable.
    shared = fixed_box(search, objectives, experiment.caps, beyond.ends)

    def course(phase: Phase) -> Course:
        found = fronts[phase]
        return Course(
            phase,
            tuple(points[trial.number] for trial in found),
            tuple(hypervolume_over_trials(of[phase], objectives, shared).tolist()),
            hypervolume(values_of(belief.of(found), objectives), objectives, shared),
            tuple(epochs_over_trials(of[phase]).tolist()),
        )

    made = ReportData(
        name=name,
        created=(created or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        experiment=experiment,
        environment=dict(environment),
        points=tuple(points.values()),
        search=course("search"),
        baselines=tuple(course(phase) for phase in BASELINES if of[phase]),
        observed_front=tuple(points[trial.number] for trial in observed),
        knee=points[knee(belief.of(search), objectives).number] if fronts["search"] else None,
        box=shared,
        stopped=_in_state("stopped", trials),
        continued={trial.continues: trial for trial in trials if trial.continues is not None},
        references=tuple(everything[trial.number] for trial in compared if trial.number in everything),
        seeds=seeds,
        luck=luck_of(seeds),
        failed=_in_state("failed", (*trials, *compared)),
        running=sum(trial.state == "running" for trial in (*trials, *compared)),
        belief=belief,
        beyond=beyond,
    )
    learned, cost = made.headline
    ended = [trial for trial in search if trial.state == "complete"]
    costs = [axis for axis in objectives if axis.source != "learned"] if learned in objectives else []
    found = chance(ended, observed, learned, costs, beyond.images)
    answered = comparisons(belief, [*ended, *(point.trial for point in made.references)], learned, cost)
    return replace(made, comparisons=answered, chance=found)


def _in_state(state: State, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    return tuple(sorted((trial for trial in trials if trial.state == state), key=lambda trial: trial.number))


def _points(
    trials: Sequence[Trial],
    tested: Mapping[int, Mapping[str, float]],
    belief: Belief,
    seeds: Mapping[str, tuple[float, ...]],
    learned: Objective,
) -> dict[int, Point]:
    """Return the complete trials by number, none of them on a front."""

    def believed(trial: Trial) -> dict[str, Estimate]:
        found = {axis.name: belief.estimate(trial, axis.name) for axis in belief.objectives}
        if not trial.decisions:  # of no space: its own seeds alone tell of it
            found[learned.name] = believed_from(seeds.get(trial.architecture.fingerprint, ()), belief, learned)
        return {name: one for name, one in found.items() if one is not None}

    def point(trial: Trial, measurement: Measurement) -> Point:
        number = len(seeds.get(trial.architecture.fingerprint, ())) or 1
        return Point(trial, measurement, False, tested.get(trial.number, {}), believed(trial), number)

    return {
        trial.number: point(trial, trial.measurement)
        for trial in sorted(trials, key=lambda trial: trial.number)
        if trial.state == "complete" and trial.measurement is not None
    }
