from __future__ import annotations

import math
import random
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.architecture import Architecture, Bottleneck, Convolution
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import BadInput, InvalidArchitecture
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement, Trial
from invnas.objective import LATENCY, MACS, Objective
from invnas.pareto import Box, hypervolume_over_trials
from invnas.run import Run
from invnas.search.known_cost import KnownCost
from invnas.search.observations import Earlier, Observations, earlier_of
from invnas.search.proposer import Proposer
from invnas.search.sampler import Context, Rejection, Sampler, told_of
from invnas.search.samplers import make_sampler
from invnas.search.surrogate import Surrogate
from invnas.space import Space, load_space
from invnas.tasks.classification import TOP1
from search.cheap import ONE_POINT, SMALL, SMALL_VALID, CheapEngine, go, make_run, measure, price
from search.conformance import context, measured_trial

DIGITS = load_space("digits")
AXES = (TOP1, MACS)
NARROW_CAP = 60_000


def finished(space: Space, number: int, sampler: Sampler, found: Any = measure, **options: Any) -> list[Trial]:
    """Return the trials of a search that trains what the sampler proposes, on formulas."""
    proposer = Proposer(space, sampler, price, options.pop("caps", Caps()), (), False, 0, lambda event: None, **options)
    done: list[Trial] = []
    while len(done) < number and (proposal := proposer.next()) is not None:
        one = proposal.candidate
        trial = Trial(len(done), one.architecture, one.decisions, one.cost)
        outcome = found(trial)
        state: Any = "failed" if outcome is None else "stopped" if outcome.stopped else "complete"
        rungs = (outcome,) if state == "stopped" else ()
        done.append(replace(trial, state=state, measurement=outcome, rungs=rungs))
        sampler.tell(told_of(done[-1]))
    return done


def paired(trial: Trial) -> Measurement:
    """Return an accuracy that depends on pairs of options, so that no option is good by itself."""
    counts = DIGITS.encode(trial.decisions)
    weights = np.random.default_rng(0).normal(size=(4, len(counts))) / math.sqrt(len(counts))
    a, b, c, d = weights @ counts
    return Measurement({"top1": 1 / (1 + math.exp(-(a * b + c * d + 0.25 * math.log(trial.cost.parameters) - 2)))})


@pytest.mark.parametrize("truth", [measure, paired], ids=["each option", "pairs"])
def test_a_third_of_the_trainings_do_more_than_those_of_random(truth: Any) -> None:
    """Both go through the same loop; every seed is ahead at a third, and far ahead at the same number."""
    reference = Box((0.0, 5e6), (1.0, 3e4))
    for seed in range(3):
        shares = {}
        for name in ("known-cost", "branch-uniform", "random"):
            sampler = make_sampler(Experiment(sampler=name, seed=seed), DIGITS)
            shares[name] = hypervolume_over_trials(finished(DIGITS, 60, sampler, truth), AXES, reference)
        for other in ("branch-uniform", "random"):
            assert shares["known-cost"][19] > shares[other][59], (seed, shares)


@pytest.mark.parametrize(
    "objectives",
    [
        ("top1", "macs"),
        ("parameters", "top1", "macs"),
        ("top1", "loss", "macs"),
        ("top1", "loss"),
        ("parameters", "macs"),
    ],
)
def test_caps_are_exact_and_nothing_is_proposed_twice(objectives: tuple[str, ...]) -> None:
    sampler = make_sampler(Experiment(sampler="known-cost", objectives=objectives), DIGITS)
    refused: list[object] = []
    proposer = Proposer(DIGITS, sampler, price, Caps.of(macs=300_000), (), False, 0, refused.append)
    seen = set()
    for number in range(30):
        proposal = proposer.next()
        assert proposal is not None
        assert proposal.candidate.cost.macs <= 300_000
        seen.add(proposal.candidate.fingerprint)
        one = proposal.candidate
        trial = Trial(number, one.architecture, one.decisions, one.cost, "complete")
        sampler.tell(told_of(replace(trial, measurement=measure(trial))))
    assert len(seen) == 30
    assert not refused


def test_caps_that_keep_next_to_nothing_are_searched() -> None:
    """No draw of 300 is within; what is within is some steps from those that come nearest."""
    caps, rng, costs = Caps.of(macs=NARROW_CAP), random.Random(0), []
    for _ in range(300):
        with suppress(InvalidArchitecture):
            costs.append(price(DIGITS.architecture(DIGITS.draw_branches(rng))).macs)
    assert min(costs) > NARROW_CAP
    assert len(finished(DIGITS, 20, KnownCost(DIGITS, AXES, start=4), caps=caps)) == 20


@pytest.mark.parametrize(
    "outcome",
    [
        lambda trial: None,
        lambda trial: Measurement({"top1": 0.5}),
        lambda trial: Measurement({"top1": 1.0}),
        lambda trial: Measurement({"top1": 0.0}),
        lambda trial: Measurement({"top1": math.nan}) if trial.number % 2 else measure(trial),
        lambda trial: None if trial.number % 4 else measure(trial),
    ],
    ids=["all failed", "all equal", "all right", "all wrong", "half NaN", "most failed"],
)
def test_degenerate_outcomes(outcome: Any) -> None:
    done = finished(DIGITS, 24, KnownCost(DIGITS, AXES, start=4), outcome)
    assert len({trial.architecture.fingerprint for trial in done}) == 24


@pytest.mark.parametrize(("source", "trials"), [(ONE_POINT, 1), (SMALL, SMALL_VALID)])
@pytest.mark.parametrize("sampler", ["known-cost", "stratified"])
def test_a_space_smaller_than_the_start_or_the_pool_is_searched_to_its_end(
    source: str, trials: int, sampler: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path, source, sampler=sampler, trials=trials + 3)
    with run.locked():
        assert go(run).trained == trials


def test_pending_trials_are_not_proposed_again_and_a_batch_differs() -> None:
    sampler = KnownCost(DIGITS, AXES)
    history = finished(DIGITS, 20, sampler)
    pending: list[Trial] = []
    for number in range(20, 28):
        decisions = sampler.ask(context(DIGITS, 20, pending))
        trial = measured_trial(DIGITS, number, decisions)
        assert trial is not None
        pending.append(replace(trial, state="running", measurement=None))
    assert len({trial.architecture.fingerprint for trial in (*history, *pending)}) == 28
    costs = [math.log(trial.cost.macs) for trial in pending]
    assert max(costs) - min(costs) > 0.5  # one point would be a batch of its neighbours


@given(seed=st.integers(0, 1000), objectives=st.sampled_from([("top1", "macs"), ("loss", "macs", "parameters")]))
@settings(deadline=None, max_examples=5)
def test_what_was_looked_at_before_changes_nothing(seed: int, objectives: tuple[str, ...]) -> None:
    asked = Experiment(sampler="known-cost", seed=seed, objectives=objectives, sampler_args={"start": 4})
    lived = make_sampler(asked, DIGITS)
    history = finished(DIGITS, 9, lived)
    for _ in range(2):
        lived.ask(context(DIGITS, 9))
    fresh = make_sampler(asked, DIGITS, history)
    assert fresh.ask(context(DIGITS, 9)) == lived.ask(context(DIGITS, 9))


def oddly(trial: Trial) -> Trial:
    """Return a trial with what it found: every sixth was stopped, every sixth learned nothing."""
    kind, top1 = int(trial.architecture.fingerprint, 16) % 6, 0.5 + paired(trial)["top1"] / 2
    if kind == 0:
        return replace(trial, state="stopped", rungs=(rung(trial, 2, 0.8 * top1),))
    measured = Measurement({"top1": 1e-3 if kind == 1 else top1})
    return replace(trial, state="complete", measurement=measured, rungs=(rung(trial, 2, 0.8 * measured["top1"]),))


@pytest.mark.parametrize("earlier", [False, True])
def test_who_takes_a_search_up_proposes_as_who_has_been_there_all_along(earlier: bool) -> None:
    """Wherever it was interrupted, though later trials change what earlier ones say."""
    before = [Earlier(trial.decisions, paired(trial).values) for trial in finished(DIGITS, 12, KnownCost(DIGITS, AXES))]
    made = partial(KnownCost, DIGITS, AXES, start=6, earlier=before if earlier else ())
    lived, record = made(), list[Trial]()
    proposer = Proposer(DIGITS, lived, price, Caps(), (), False, 0, lambda event: None)
    while len(record) < 47:
        number = len(record)
        if number in (23, 26, 29, 32, 36, 40, 41, 45, 46):
            taken_up = made()
            for trial in record:
                taken_up.tell(told_of(trial))
            assert taken_up.ask(context(DIGITS, number)) == lived.ask(context(DIGITS, number)), number
        proposal = proposer.next()
        assert proposal is not None
        one = proposal.candidate
        record.append(oddly(Trial(number, one.architecture, one.decisions, one.cost)))
        lived.tell(told_of(record[-1]))
    assert {trial.state for trial in record} == {"complete", "stopped"}
    assert min(trial.measurement["top1"] for trial in record if trial.measurement) < 0.01


def test_networks_that_did_not_learn_hide_little_of_the_others() -> None:
    """One of twelve is no better than chance, whatever it is: new ones are told apart nearly as without those."""
    rng = random.Random(0)
    drawn = [DIGITS.sample(rng) for _ in range(360)]
    every = [Trial(i, one, decisions, price(one), "complete") for i, (decisions, one) in enumerate(drawn)]
    rows = np.array([DIGITS.encode(trial.decisions) for trial in every])
    worth = np.array([TOP1.gain(paired(trial)["top1"]) for trial in every])
    gains = 2.3 + 0.2 * (worth - worth.mean()) / worth.std()  # errors of a tenth, more or less
    surrogate = Surrogate(np.zeros(rows.shape[1], dtype=int), rows)
    found = []
    for failing in (False, True):
        seen = Observations(AXES)
        for trial in every[:160]:
            if trial.number % 12:
                seen.add(replace(trial, measurement=Measurement({"top1": 1 - math.exp(-gains[trial.number])})))
            elif failing:
                seen.add(replace(trial, measurement=Measurement({"top1": 0.1})))
        data = seen.of(TOP1, {trial.number: rows[trial.number] for trial in every}, np.empty((0, 0)))
        mean, _ = surrogate.condition(surrogate.choose(data), data).predict(rows[160:])
        found.append(float(np.corrcoef(mean, gains[160:])[0, 1]))
    assert found[1] > found[0] - 0.2, found


def test_far_is_a_matter_of_the_others_of_the_same_images() -> None:
    def told(values: list[float], objective: Objective = TOP1, earlier: list[Earlier] | None = None) -> np.ndarray:
        seen = Observations([objective], earlier or [])
        for number, value in enumerate(values):
            trial = Trial(number, DIGITS.sample(random.Random(number))[1], {}, Cost.counted(1, 1, 1), "complete")
            more = {} if objective is TOP1 else {objective.name: value}
            measured = Measurement({"top1": value if objective is TOP1 else 0.5})
            seen.add(replace(trial, cost=Cost({**trial.cost.values, **more}), measurement=measured))
        rows = np.zeros((len(earlier or []), 1))
        return seen.of(objective, {number: np.zeros(1) for number in range(len(values))}, rows).values

    errors = [0.2, 0.2, 0.1, 0.1, 0.05, 0.05]
    usual = told([1 - e for e in errors])
    assert usual == pytest.approx([-math.log(e) for e in errors])
    low = told([1e-9, *(1 - e for e in errors)])
    assert low[1:] == pytest.approx(usual)
    assert 0 < low[0] < usual.min()
    assert told([0.5] * 5 + [0.1]) == pytest.approx([TOP1.gain(0.5)] * 5 + [TOP1.gain(0.1)]), "nothing says what is far"
    here = told([0.1, 0.11, 0.12], earlier=[Earlier({}, {"top1": 1 - e}) for e in errors])
    assert here[-3:] == pytest.approx([TOP1.gain(top1) for top1 in (0.1, 0.11, 0.12)]), "harder images are not far"
    times = [1.0, 1.1, 1.2, 1.3, 500.0]
    assert told(times, LATENCY) == pytest.approx([LATENCY.gain(ms) for ms in times]), (
        "a cap needs what is slow as it is"
    )


def rung(trial: Trial, epochs: int, top1: float) -> Measurement:
    return Measurement({"top1": top1}, epochs=epochs, planned_epochs=8)


def test_a_stopped_trial_says_what_it_reached_and_what_others_gained_from_there() -> None:
    trials = [trial for i in range(40) if (trial := measured_trial(DIGITS, i, DIGITS.draw(random.Random(i))))][:6]
    seen = Observations(AXES)
    whole = [replace(trial, rungs=(rung(trial, 2, 0.5),)) for trial in trials[:3]]
    for trial in whole:
        seen.add(replace(trial, measurement=Measurement({"top1": 0.75}, epochs=8, planned_epochs=8)))
    part = replace(trials[3], state="stopped", measurement=rung(trials[3], 2, 0.6), rungs=(rung(trials[3], 2, 0.6),))
    other = replace(trials[4], state="stopped", measurement=rung(trials[4], 1, 0.6), rungs=(rung(trials[4], 1, 0.6),))
    for trial in (part, other, replace(trials[5], state="failed")):
        seen.add(trial)
    rows = {trial.number: DIGITS.encode(trial.decisions) for trial in trials}
    data = seen.of(TOP1, rows, np.zeros((0, len(DIGITS.features))))
    # From 0.5 to 0.75 an error is halved: so that of 0.6 is; of the rung of one epoch nobody knows what it is worth.
    assert data.values == pytest.approx([TOP1.gain(0.75)] * 3 + [TOP1.gain(0.8)])
    assert data.rough.tolist() == [False] * 3 + [True]
    assert len(seen.complete) == 3


def test_stopping_does_not_poison_the_surrogate(tmp_path: Path) -> None:
    """With halving most trials end early at low values; the front is that of a search without, nearly."""
    shares = {}
    for name, options in {"whole": {}, "halved": {"stopper": "halving", "stopper_args": {"eta": 3}}}.items():
        (tmp_path / name).mkdir()
        run = make_run(tmp_path / name, "digits", sampler="known-cost", trials=40, **options)
        with run.locked():
            go(run, CheapEngine())
        stopped = [trial for trial in run.trials() if trial.state == "stopped"]
        assert bool(stopped) == (name == "halved")
        shares[name] = hypervolume_over_trials(run.trials(), AXES, Box((0.0, 5e6), (1.0, 3e4)))[-1]
    assert shares["halved"] > 0.9 * shares["whole"]


def metered(architecture: Any, cost: Cost) -> Cost:
    return Cost({**cost.values, "latency_ms": cost.parameters**0.5 / 100})


@pytest.mark.parametrize("axes", [AXES, (TOP1, LATENCY), (TOP1, MACS, LATENCY)])
def test_a_metered_cost_is_learned_and_its_cap_is_minded(axes: Any) -> None:
    refused: Any = []
    caps, sampler = Caps.of(latency_ms=1.2), KnownCost(DIGITS, axes)
    proposer = Proposer(DIGITS, sampler, price, caps, (), False, 0, refused.append, metered)
    early = 0
    for number in range(40):
        early = len(refused) if number == 15 else early
        proposal = proposer.next()
        assert proposal is not None
        one = proposal.candidate
        trial = Trial(number, one.architecture, one.decisions, one.cost, "complete")
        sampler.tell(told_of(replace(trial, measurement=measure(trial))))
    assert len(refused) - early <= 3 < early


def test_an_earlier_run_on_other_images_saves_the_start() -> None:
    """After four trainings what is proposed is better than what a sampler proposes that knows these four alone."""

    def easier(trial: Trial) -> Measurement:
        return Measurement({"top1": 1 - 0.3 * (1 - paired(trial)["top1"])})

    earlier = earlier_of(finished(DIGITS, 50, KnownCost(DIGITS, AXES, seed=5), easier), DIGITS)
    reference, shares = Box((0.0, 5e6), (1.0, 3e4)), []
    for known in (earlier, []):
        done = finished(DIGITS, 10, KnownCost(DIGITS, AXES, seed=1, earlier=known), paired)
        shares.append(hypervolume_over_trials(done, AXES, reference)[-1])
    assert shares[0] > shares[1] + 0.05


def test_a_warm_start_is_kept_in_the_run_and_refused_where_it_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "first"
    path.mkdir()
    first = make_run(path, SMALL, trials=9)
    with first.locked():
        go(first)
    earlier = earlier_of(first.trials(), first.space)
    assert [one.values for one in earlier] == [dict(trial.measurement.values) for trial in first.trials()]
    assert earlier_of(first.trials(), DIGITS) == []
    own = replace(first.trials()[0], architecture=Architecture(Bottleneck(Convolution(3), expansion=1)))
    assert earlier_of([own, replace(first.trials()[1], state="stopped")], first.space) == []
    asked = Experiment(space=str(path / "my_space.py"), sampler="known-cost", warm_start=str(first.folder))
    space, facts = Path(asked.space), DataFacts((1, 8, 8), 10)
    run = Run.create(tmp_path / "second", asked, space, facts=facts, environment={}, earlier=earlier)
    assert Run.open(run.folder).earlier == earlier
    assert first.earlier == []
    (run.folder / "earlier.json").write_text("[{}]")
    with pytest.raises(BadInput, match=r"earlier\.json"):
        _ = run.earlier
    with pytest.raises(BadInput, match="known-cost"):
        Experiment(sampler="tpe", warm_start="x")


def test_the_start_is_spread_over_the_cost_and_any_part_of_it_is_even() -> None:
    done = finished(DIGITS, 16, make_sampler(Experiment(sampler="stratified"), DIGITS))
    costs = [math.log(trial.cost.macs) for trial in done]
    low, high = min(costs), max(costs)
    for part in (costs[:8], costs[8:]):
        quarters = {min(int(4 * (cost - low) / (high - low)), 3) for cost in part}
        assert quarters == {0, 1, 2, 3}


def test_without_a_pricer_it_draws(tmp_path: Path) -> None:
    def walked(decisions: Decisions) -> Decisions:
        return DIGITS.walk(lambda path, choice: decisions[path])

    for sampler in (KnownCost(DIGITS, AXES), make_sampler(Experiment(sampler="stratified"), DIGITS)):
        found = [sampler.ask(Context(number)) for number in range(5)]
        assert [walked(one) for one in found] == found
        assert len({str(one) for one in found}) > 1


@pytest.mark.parametrize("name", ["known-cost", "stratified"])
def test_what_is_valid_may_be_too_rare_for_the_first_draws(name: str) -> None:
    """Nothing of the population is valid, and something of the draws of later numbers is."""
    asked = context(DIGITS, 40)
    sampler = make_sampler(Experiment(sampler=name), DIGITS)
    nothing = replace(asked, candidates=lambda many: [Rejection(one, "invalid", "rare") for one in many])
    sampler.ask(nothing)
    assert DIGITS.architecture(sampler.ask(replace(asked, number=41)))
