"""References are pure or well known, fit under the caps and the range of the front, and are never part of a search."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from invnas.architecture import Architecture, Involution
from invnas.caps import Caps
from invnas.cost import pricer
from invnas.errors import InvalidArchitecture
from invnas.measurement import Cost, Measurement, Trial
from invnas.messages import Job
from invnas.objective import MACS, PARAMETERS
from invnas.run import Run
from invnas.search.references import EACH, references
from invnas.search.sampler import Candidate
from invnas.zoo import SMALL, small_networks
from search.cheap import ONE_POINT, CheapEngine, go, make_run

DIGITS = pricer((1, 8, 8), 10)


def known(trial: Trial | Job) -> Measurement:
    """Return a top1 that grows with what a network costs, and a little with its involutions."""
    involutions = sum(isinstance(operator, Involution) for _, operator in trial.architecture.operators)
    return Measurement({"top1": 0.3 + math.log(DIGITS(trial.architecture).macs) / 40 + 0.01 * involutions, "loss": 1.0})


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("searched"), "digits", trials=16, sampler="branch-uniform")
    with run.locked():
        go(run, CheapEngine(outcome=known), price=DIGITS)
    return run


def chosen(run: Run, caps: Caps | None = None) -> list[Candidate]:
    return references(run.space, run.trials("search"), run.experiment.axes, DIGITS, caps or Caps(), seed=0)


def test_nothing_is_chosen_without_a_front(tmp_path: Path) -> None:
    assert chosen(make_run(tmp_path, "digits")) == []


def test_nothing_is_chosen_where_costs_alone_count(searched: Run) -> None:
    assert references(searched.space, searched.trials(), (MACS, PARAMETERS), DIGITS, Caps(), seed=0) == []


def test_pure_members_of_the_space_lie_at_the_cost_of_the_knee_and_of_the_dearest(searched: Run) -> None:
    found = [one for one in chosen(searched) if one.decisions]
    front = searched.front()
    knee, dearest = searched.pick("knee").cost.macs, max(trial.cost.macs for trial in front)
    for kind in ("convolution", "involution"):
        mine = [one for one in found if one.architecture.kind == kind]
        assert 1 <= len(mine) <= 2
        assert min(one.cost.macs for one in mine) <= knee
        assert max(one.cost.macs for one in mine) <= dearest
        assert max(one.cost.macs for one in mine) > 0.5 * dearest  # what costs more is better here
    for one in found:
        assert searched.space.architecture(one.decisions) == one.architecture
        assert one.cost == DIGITS(one.architecture)


def test_well_known_networks_lie_within_the_range_of_the_front(searched: Run) -> None:
    costs, names = [trial.cost.macs for trial in searched.front()], {a: n for n, a in small_networks().items()}
    found = [one for one in chosen(searched) if not one.decisions]
    assert found
    assert all(min(costs) <= one.cost.macs <= max(costs) for one in found)
    for family in SMALL:
        mine = [one for one in found if names[one.architecture].startswith(family)]
        fitting = [n for a, n in names.items() if n.startswith(family) and min(costs) <= DIGITS(a).macs <= max(costs)]
        assert len(mine) == min(len(fitting), EACH)


def test_caps_hold_and_the_same_record_chooses_the_same(searched: Run) -> None:
    cap = searched.pick("knee").cost.macs
    within = chosen(searched, Caps.of(macs=cap))
    assert within
    assert max(one.cost.macs for one in within) <= cap
    assert [one.fingerprint for one in chosen(searched)] == [one.fingerprint for one in chosen(searched)]


def test_what_cannot_be_priced_is_left_out(searched: Run) -> None:
    def of_the_space_alone(architecture: Architecture) -> Cost:
        if searched.space.decisions(architecture) is None:
            raise InvalidArchitecture("the head wants four maps")
        return DIGITS(architecture)

    trials, axes = searched.trials("search"), searched.experiment.axes
    found = references(searched.space, trials, axes, of_the_space_alone, Caps(), seed=0)
    assert found
    assert all(one.decisions for one in found)


def test_a_few_trials_are_enough_and_a_space_of_one_architecture_too(tmp_path: Path) -> None:
    run = make_run(tmp_path, ONE_POINT, trials=1)
    with run.locked():
        go(run, price=DIGITS)
    (one,) = chosen(run)
    assert one.architecture == run.trials()[0].architecture


def test_the_surrogate_chooses_where_it_knows(tmp_path: Path) -> None:
    """Large windows cost more and harm here: it takes wide networks of small windows, and not the dearest ones."""

    def harmed(job: Job) -> Measurement:
        large = sum(operator.kernel_size > 3 for _, operator in job.architecture.operators)
        widths = sum(stage.width for stage in job.architecture.network.stages)
        return Measurement({"top1": 0.4 + widths / 300 - 0.03 * large, "loss": 1.0})

    run = make_run(tmp_path, "digits", trials=32)
    with run.locked():
        go(run, CheapEngine(outcome=harmed), price=DIGITS)
    best = [one for one in chosen(run) if one.decisions and one.architecture.kind == "convolution"][-1]
    assert {operator.kernel_size for _, operator in best.architecture.operators} == {3}


def test_a_reference_that_was_searched_is_not_trained_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=3)
    engine = CheapEngine()
    with run.locked():
        go(run, engine)
        one, network = run.trials()[0], small_networks()["small ResNet-8 x 0.25"]
        run.start(one.architecture, one.decisions, one.cost, "reference")
        run.start(network, {}, Cost.counted(50_000, 5_000, 1_000), "reference")
        engine = CheapEngine(outcome=lambda job: Measurement({"top1": 0.5, "loss": 1.0}))
        outcome = go(run, engine, phase="reference", trials=2)
    assert (outcome.reused, outcome.trained) == (1, 1)
    assert [job.architecture for job in engine.submitted] == [network]
    first, second = run.trials("reference")
    assert first.measurement == one.measurement
    assert second.measurement is not None
    assert second.measurement["top1"] == 0.5
    assert run.front() == tuple(trial for trial in run.front() if trial.phase == "search")
