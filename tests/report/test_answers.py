from __future__ import annotations

import math
from dataclasses import replace

import pytest
from report.conftest import make_trials

from invnas.belief import Belief, Estimate
from invnas.experiment import Experiment
from invnas.measurement import Cost, Trial
from invnas.objective import MACS
from invnas.report.answers import Chance, Comparison, chance, comparisons, sizes, wilson
from invnas.report.collect import Beyond, collect
from invnas.space import load_space
from invnas.tasks.classification import LOSS, TOP1


def belief_of(means: dict[str, float], deviation: float = 0.01) -> Belief:
    half = 1.96 * deviation
    of = {name: Estimate(mean, mean - half, mean + half, 2 * deviation) for name, mean in means.items()}
    return Belief((TOP1,), {"top1": of}, dict.fromkeys(means, 1))


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return [trial for trial in make_trials(load_space("digits"), 30) if trial.state == "complete"]


def by_kind(trials: list[Trial], hybrid: float, convolution: float) -> Belief:
    return belief_of(
        {t.architecture.fingerprint: hybrid if t.architecture.kind == "hybrid" else convolution for t in trials}
    )


def test_nothing_is_answered_where_nothing_is_believed(trials: list[Trial]) -> None:
    assert comparisons(Belief(), trials, TOP1, MACS) == ()
    assert comparisons(by_kind(trials, 0.8, 0.7), [], TOP1, MACS) == ()
    pure = [trial for trial in trials if trial.architecture.kind == "convolution"]
    assert comparisons(by_kind(trials, 0.8, 0.7), pure, TOP1, MACS) == (), "without a hybrid there is no question"


@pytest.mark.parametrize(
    ("hybrid", "verdict"),
    [(0.80, "beats the best"), (0.71, "does not beat the best"), (0.60, "does not beat the best")],
)
def test_the_question_is_answered_with_its_uncertainty(trials: list[Trial], hybrid: float, verdict: str) -> None:
    known = [trial for trial in trials if trial.architecture.kind in ("hybrid", "convolution")]
    against, none = comparisons(by_kind(known, hybrid, 0.70), known, TOP1, MACS)
    assert against.gain == pytest.approx(hybrid - 0.70)
    assert against.margin == pytest.approx(1.96 * 0.01 * math.sqrt(2))
    said = against.sentence(TOP1, MACS)
    assert verdict in said
    assert f"{100 * (hybrid - 0.7):+.1f} ± 2.8 points of top-1" in said
    assert ("cannot be told from none" in said) == (abs(hybrid - 0.7) < 0.02)
    assert (none.kind, none.pure) == ("involution", 0)
    assert none.sentence(TOP1, MACS).startswith("No pure involution was trained")


def test_costs_that_do_not_meet_are_not_compared(trials: list[Trial]) -> None:
    cheap, dear = ([t for t in trials if t.architecture.kind == kind][:2] for kind in ("convolution", "hybrid"))
    far = [replace(t, cost=t.cost.counted(10**12 + i, 1, 1)) for i, t in enumerate(dear)]
    found = comparisons(by_kind([*cheap, *far], 0.8, 0.7), [*cheap, *far], TOP1, MACS)[0]
    assert math.isnan(found.gain)
    assert "can be compared at equal FLOPs" in found.sentence(TOP1, MACS)


def test_the_best_within_a_cost_is_compared_and_less_is_better_where_it_is(trials: list[Trial]) -> None:
    one, two = [t for t in trials if t.architecture.kind == "hybrid"][:2]
    pure = next(t for t in trials if t.architecture.kind == "convolution")
    made = [replace(t, cost=t.cost.counted(macs, 1, 1)) for t, macs in ((one, 100), (two, 200), (pure, 200))]
    values = dict(zip((t.architecture.fingerprint for t in made), (0.2, 0.5, 0.3), strict=True))
    belief = belief_of(values)
    loss = Belief((LOSS,), {"loss": belief.estimates["top1"]}, belief.seeds)
    assert comparisons(belief, made, TOP1, MACS)[0].gain == pytest.approx(0.2)
    found = comparisons(loss, made, LOSS, MACS)[0]
    assert found.gain == pytest.approx(0.1), "the cheaper hybrid is within the cost and has less loss"
    assert "+0.1 ± 0.0277 of loss" in found.sentence(LOSS, MACS)


def test_one_of_each_is_one_of_each() -> None:
    said = Comparison("convolution", 1, 1, 100, 100, 0.1, 0.2).sentence(TOP1, MACS)
    assert "(1 hybrid and 1 pure convolution were trained)" in said


def test_how_many_trials_cannot_be_told_from_the_front(trials: list[Trial]) -> None:
    def at(trial: Trial, macs: int, top1: float) -> Trial:
        assert trial.measurement is not None
        measured = replace(trial.measurement, values={"top1": top1})
        return replace(trial, cost=trial.cost.counted(macs, 1, 1), measurement=measured)

    one, two, three, four = trials[:4]
    best, better = at(one, 100, 0.80), at(two, 300, 0.90)
    near, far = at(three, 200, 0.77), at(four, 400, 0.77)
    found = chance([best, better, near, far], [best, better], TOP1, [MACS], 287)
    assert found == Chance(287, 2, 1)
    said = found.sentence(TOP1)
    assert "1 of the 2 trials" in said
    assert said.endswith("1 can.")
    for unknown in (
        chance([best], [best], LOSS, [MACS], 287),
        chance([best], [best], TOP1, [MACS], None),
        chance([], [], TOP1, [MACS], 287),
        chance([best], [best], TOP1, [], 287),
    ):
        assert unknown is None


@pytest.mark.parametrize(("share", "number"), [(0.0, 1), (1.0, 1), (0.0, 300), (0.5, 10)])
def test_a_wilson_interval_holds_its_share_and_stays_within(share: float, number: int) -> None:
    low, high = wilson(share, number)
    assert -1e-12 <= low <= share <= high <= 1 + 1e-12


def test_sizes_of_the_splits() -> None:
    assert sizes({}, {}) == ""
    assert sizes({"train": 1151, "validation": 287}, {"test": "359 held out of them"}) == (
        "trained on 1,151, validated on 287, tested on 359 images"
    )
    assert sizes({}, {"train": "whatever", "test": "1,000 from elsewhere"}) == "tested on 1,000 images"


@pytest.mark.parametrize(
    ("objectives", "told"),
    [
        (("top1", "macs", "parameters"), True),
        (("top1", "loss", "macs"), True),
        (("parameters", "macs"), False),
        (("top1", "loss"), False),
    ],
)
def test_what_is_off_the_front_is_off_the_front_of_all_objectives(
    trials: list[Trial], objectives: tuple[str, ...], told: bool
) -> None:
    """It was that of the first two numbers: members of the front were counted as trials that are not on it."""
    asked = Experiment(objectives=objectives)
    trials = [replace(one, cost=Cost.counted(one.cost.macs, one.number * 7919 % 1009 + 1, 64)) for one in trials]
    found = collect("one", asked, trials, {}, beyond=Beyond(images=100_000))
    observed = {point.trial.number for point in found.observed_front}
    off = [trial for trial in trials if trial.state == "complete" and trial.number not in observed]
    if not told:
        assert found.chance is None
        return
    costs = [axis for axis in asked.axes if axis.source != "learned"]
    alike = 0
    for trial in off:
        within = [
            other.values([TOP1])[0]
            for other in trials
            if other.number in observed and all(other.values([c]) <= trial.values([c]) for c in costs)
        ]
        low, high = wilson(trial.values([TOP1])[0], 100_000)
        alike += not within or low <= max(within) <= high
    assert found.chance == Chance(100_000, len(off), alike)
