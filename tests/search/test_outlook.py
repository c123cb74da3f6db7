from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from invnas.belief import Belief
from invnas.caps import Caps
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement, Trial
from invnas.metering import prices_of
from invnas.objective import LATENCY, MACS
from invnas.search.believe import believe
from invnas.search.outlook import Candidates, influences
from invnas.space import Space, load_space
from invnas.tasks.classification import TOP1
from search.cheap import SMALL_VALID, go, make_run, price

AXES = (TOP1, MACS)
FACTS = DataFacts((1, 8, 8), 10, {"train": 100, "validation": 100, "test": 100})


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("digits")


@pytest.fixture(scope="module")
def trials(space: Space) -> list[Trial]:
    """Return trials in which an involution in stage 2 is worth a lot and nothing else but multiply-adds anything."""
    rng, found = random.Random(1), dict[str, Trial]()
    while len(found) < 40:
        decisions, architecture = space.sample(rng)
        cost = price(architecture)
        late = [type(o).__name__ for path, o in architecture.operators if path.startswith("stages.1")]
        top1 = 0.5 + 0.05 * math.log(cost.macs / 1e5) + 0.15 * late.count("Involution") / len(late)
        measured = Measurement({"top1": top1 + rng.gauss(0, 0.005)})
        trial = Trial(len(found), architecture, decisions, cost, "complete", measured)
        found.setdefault(architecture.fingerprint, trial)
    return list(found.values())


@pytest.fixture(scope="module")
def belief(trials: list[Trial]) -> Belief:
    return believe(trials, AXES)


def test_nothing_believed_says_nothing(space: Space, trials: list[Trial]) -> None:
    candidates = Candidates(space, price, Caps(), AXES)
    for known in ([], trials[:2]):
        assert influences(Belief(), known, AXES) == ()
        assert candidates.ranked(Belief(), known) is None


def test_the_decision_that_matters_is_named_with_its_option(trials: list[Trial], belief: Belief) -> None:
    found = {one.path: one for one in influences(belief, trials, AXES)}
    most = max(found.values(), key=lambda one: one.matters)
    assert (most.path, most.best) == ("stages.1.blocks.*.spatial", "Involution")
    assert 0.01 < most.gain < 0.15
    others = [one.matters for one in found.values() if one is not most]
    assert most.matters > 2 * max(others)
    assert {"stem.width", "stages.0.width", "stages.0.blocks.*.spatial"} <= set(found)


def test_what_is_gained_by_computing_more_is_not_gained_by_a_decision(space: Space, trials: list[Trial]) -> None:
    rng = random.Random(2)
    by_cost = [
        replace(t, measurement=Measurement({"top1": 0.3 + 0.1 * math.log(t.cost.macs / 1e5) + rng.gauss(0, 1e-4)}))
        for t in trials
    ]
    found = influences(believe(by_cost, AXES), by_cost, AXES)
    spread = max(t.value("top1") for t in by_cost) - min(t.value("top1") for t in by_cost)  # type: ignore[type-var]
    assert max(one.matters for one in found) < 0.1 * spread  # type: ignore[operator]


def test_of_a_space_that_is_trained_nothing_is_left(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler="random", trials=SMALL_VALID)
    with run.locked():
        go(run)
    axes, trials = run.experiment.axes, run.trials()
    assert len(trials) == SMALL_VALID
    assert Candidates(run.space, price, Caps(), axes).ranked(run.belief, trials) == []
    fewer = [trial for trial in trials if trial.number < SMALL_VALID - 2]
    left = Candidates(run.space, price, Caps(), axes).ranked(believe(fewer, axes), fewer)
    assert {one.architecture for one in left} <= {trial.architecture for trial in trials[-2:]}


def test_the_most_promising_are_new_within_the_caps_and_in_order(
    space: Space, trials: list[Trial], belief: Belief
) -> None:
    cap = sorted(trial.cost.macs for trial in trials)[25]
    caps = Caps.of(macs=cap)
    found = Candidates(space, price, caps, AXES).ranked(belief, trials)
    assert len(found) == 5
    shares = [one.share for one in found]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[0] < 1
    trained = {trial.architecture.fingerprint for trial in trials}
    for one in found:
        assert one.architecture.fingerprint not in trained
        assert one.cost.macs <= cap
        said = one.estimates["top1"]
        assert said.low < said.mean < said.high
        assert said.training > said.deviation
    assert Candidates(space, price, caps, AXES).ranked(belief, trials) == found, "the same in another process"


def test_what_is_expected_of_the_best_shrinks_as_more_is_known(space: Space, trials: list[Trial]) -> None:
    candidates = Candidates(space, price, Caps(), AXES)
    few, many = (candidates.ranked(believe(some, AXES), some)[0].share for some in (trials[:10], trials))
    assert many < few


def test_a_metered_cost_is_foretold_from_the_record_or_nothing_is_promised(space: Space, trials: list[Trial]) -> None:
    axes, (_, foretold) = (TOP1, LATENCY), prices_of(Experiment(), FACTS)
    timed = [replace(t, cost=Cost({**t.cost.values, "latency_ms": t.cost.macs / 1e6})) for t in trials]
    belief = believe(timed, axes)
    assert Candidates(space, price, Caps(), axes).ranked(belief, timed) is None
    few = Candidates(space, price, Caps(), axes, foretold=lambda seen: foretold(seen[:3]))
    assert few.ranked(belief, timed) is None

    cap = sorted(one.cost["latency_ms"] for one in timed)[20]
    candidates = Candidates(space, price, Caps.of(latency_ms=cap), axes, foretold=foretold)
    found = candidates.ranked(belief, timed)
    assert found
    assert 0 < found[0].share < 1
    for one in found:
        assert one.cost["latency_ms"] == pytest.approx(price(one.architecture).macs / 1e6, rel=0.3)
        assert one.cost["latency_ms"] <= cap
    slower = [replace(t, cost=Cost({**t.cost.values, "latency_ms": 2 * t.cost["latency_ms"]})) for t in timed]
    again = candidates.ranked(believe(slower, axes), slower)
    assert again is not None, "what was priced by the record before counts no more"
    assert all(one.cost["latency_ms"] == pytest.approx(price(one.architecture).macs / 5e5, rel=0.3) for one in again)


def test_a_front_that_covers_nothing_is_improved_by_all_that_the_best_adds(space: Space, trials: list[Trial]) -> None:
    """Random trials alone are believed, and the search has none; or all trials cost the same."""
    others = [replace(trial, phase="random") for trial in trials]
    flat = [replace(trial, cost=Cost({**trial.cost.values, "macs": 10**8})) for trial in trials]
    for known in (others, flat):
        found = Candidates(space, price, Caps(), AXES).ranked(believe(known, AXES), known)
        assert found[0].share == 1
        assert all(0 <= one.share <= 1 for one in found)
