from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.measurement import Cost, Trial
from invnas.search import optuna_sampler
from invnas.search.evolution import Evolution
from invnas.search.sampler import Sampler, Told, told_of
from invnas.search.samplers import make_sampler
from invnas.space import Space, load_space
from search.cheap import ONE_POINT, SMALL, go, make_run, measure, price
from search.conformance import (
    check_accepts_foreign_tells,
    check_decides_what_is_needed,
    check_rejections_leave_no_trace,
    check_same_in_another_process,
    check_same_seed,
    check_stopped_are_known,
    check_survives_rejection,
    context,
    measured_trial,
    proposals,
    share_covered,
)

# Each valid value differs from every other valid one in two decisions.
ISLANDS = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Space, Stage
stage = Stage(Choice(8, 16, 24), (Bottleneck(Convolution(3), expansion=1),))
rule = lambda network: None if network.stem.width == network.stages[0].width else "the widths must be equal"
space = Space(HybridNet(PlainStem(Choice(8, 16, 24), 3, 1, False), [stage]), constraints=(rule,))
"""
EXPERIMENTS = [
    Experiment(sampler="tpe"),
    Experiment(sampler="tpe", objectives=("top1", "parameters", "activation_bytes")),
    Experiment(sampler="known-cost"),
    Experiment(sampler="known-cost", objectives=("macs", "loss", "top1"), sampler_args={"start": 4}),
    Experiment(sampler="random"),
    Experiment(sampler="branch-uniform"),
    Experiment(sampler="stratified"),
    Experiment(sampler="evolution", sampler_args={"population": 6}),
    Experiment(sampler="optuna.samplers.NSGAIISampler", sampler_args={"population_size": 6}),
    Experiment(sampler="optuna.samplers.RandomSampler"),
]
every_sampler = pytest.mark.parametrize(
    "experiment", EXPERIMENTS, ids=lambda e: f"{e.sampler.split('.')[-1]}-{len(e.objectives)}"
)


@pytest.fixture(params=["one_point", "small", "digits"])
def space(request: pytest.FixtureRequest, tmp_path: Path) -> Space:
    sources = {"one_point": ONE_POINT, "small": SMALL}
    if request.param not in sources:
        return load_space(request.param)
    path = tmp_path / "own.py"
    path.write_text(sources[request.param])
    return load_space(path)


@every_sampler
def test_decides_what_is_needed(experiment: Experiment, space: Space) -> None:
    check_decides_what_is_needed(experiment, space)


@every_sampler
def test_same_seed(experiment: Experiment) -> None:
    check_same_seed(experiment, load_space("digits"))


@pytest.mark.parametrize("name", ["tpe", "evolution", "known-cost"])
def test_same_in_another_process(name: str) -> None:
    check_same_in_another_process(Experiment(sampler=name, seed=3), "digits")


@every_sampler
def test_survives_rejection(experiment: Experiment, space: Space) -> None:
    check_survives_rejection(experiment, space)


@every_sampler
def test_what_was_stopped_is_not_trained_again(experiment: Experiment, tmp_path: Path) -> None:
    asked = {"sampler": experiment.sampler, "sampler_args": experiment.sampler_args, "stopper": "halving"}
    run = make_run(tmp_path, SMALL, **asked, trials=40)
    with run.locked():
        go(run, trials=20)
        found = go(run)  # a new sampler, from the record
    trials = run.trials()
    assert found.ended == "all 32 valid architectures have been trained"
    assert any(trial.state == "stopped" for trial in trials[:20])
    assert len({trial.architecture.fingerprint for trial in trials}) == len(trials) == 32


@every_sampler
def test_what_was_stopped_is_known_to_the_sampler(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(SMALL)
    check_stopped_are_known(experiment, load_space(path))


def test_evolution_begins_when_enough_were_trained_to_the_end_or_not() -> None:
    space = load_space("digits")
    sampler = Evolution(space, Experiment().axes, population=6)
    history = good_and_bad(space, 6)
    for trial in history[:4]:
        sampler.tell(told_of(replace(trial, state="stopped")))
    for trial in history[4:]:
        sampler.tell(told_of(trial))
    members = [trial.decisions for trial in history[4:]]
    for number in range(6, 12):
        child = sampler.ask(context(space, number))
        assert min(sum(child.get(path) != parent.get(path) for path in {*child, *parent}) for parent in members) < 9


@every_sampler
def test_accepts_foreign_tells(experiment: Experiment) -> None:
    check_accepts_foreign_tells(experiment, load_space("digits"))


@pytest.mark.parametrize("name", ["tpe", "evolution", "known-cost"])
def test_beats_random(name: str, tmp_path: Path) -> None:
    shares = {}
    for sampler in (name, "random"):
        found = []
        for seed in range(3):
            folder = tmp_path / f"{sampler}{seed}"
            folder.mkdir()
            found.append(share_covered(Experiment(sampler=sampler, seed=seed, trials=60), folder))
        shares[sampler] = sum(found) / len(found)
    assert shares[name] > shares["random"]


@every_sampler
def test_rejections_leave_no_trace(experiment: Experiment) -> None:
    check_rejections_leave_no_trace(experiment, load_space("digits"))


@every_sampler
def test_history_is_the_same_as_having_been_told(experiment: Experiment) -> None:
    """A sampler made from a record proposes what the one that lived through it does."""
    space = load_space("digits")
    lived = make_sampler(experiment, space)
    history: list[Trial] = []
    while len(history) < 15:
        trial = measured_trial(space, len(history), lived.ask(context(space, len(history))))
        if trial is None:
            lived.tell(Told({}, "invalid", reason="refused"))
            continue
        lived.tell(told_of(trial))
        history.append(trial)
    made = make_sampler(experiment, space, history[::-1])
    assert made.ask(context(space, 15)) == lived.ask(context(space, 15))


def good_and_bad(space: Space, number: int) -> list[Trial]:
    """Return trials of which those with a wide first stage are best in every objective."""
    draws, history = make_sampler(Experiment(sampler="random"), space), []
    for i in itertools.count():
        trial = measured_trial(space, len(history), draws.ask(context(space, i)))
        if trial is not None:
            wide = trial.decisions["stages.0.width"] == 2
            measured = replace(measure(trial), values={"top1": 0.9 if wide else 0.1, "loss": 0.1 if wide else 2.0})
            cost = Cost.counted(1000 if wide else 9000, 10 if wide else 90, 10 if wide else 90)
            history.append(replace(trial, cost=cost, measurement=measured))
        if len(history) == number:
            return history
    raise AssertionError


NOT_LEARNING = ("random", "branch-uniform", "stratified", "optuna.samplers.RandomSampler")
LEARNING = [
    *(experiment for experiment in EXPERIMENTS if experiment.sampler not in NOT_LEARNING),
    Experiment(sampler="optuna.samplers.NSGAIIISampler", sampler_args={"population_size": 6}),
    Experiment(sampler="optuna.samplers.TPESampler", sampler_args={"n_startup_trials": 5}),
    Experiment(sampler="optuna.samplers.GPSampler", sampler_args={"n_startup_trials": 5}),
]


@pytest.mark.parametrize("experiment", LEARNING, ids=lambda e: f"{e.sampler.split('.')[-1]}-{len(e.objectives)}")
def test_history_and_substitutes_are_learned(experiment: Experiment) -> None:
    """None of these trials was proposed by the sampler; after them it proposes the good ones far more often."""
    space, asks = load_space("digits"), 6 if experiment.sampler.endswith(("GPSampler", "cost")) else 20
    history = good_and_bad(space, 40)
    if experiment.sampler == "known-cost":  # it prices for itself: a made-up cost would be one that nothing else has
        history = [replace(trial, cost=price(trial.architecture)) for trial in history]

    def share(sampler: Sampler) -> float:
        asked = [sampler.ask(context(space, 40 + i)) for i in range(asks)]
        return sum(decisions["stages.0.width"] == 2 for decisions in asked) / asks

    informed, ignorant = make_sampler(experiment, space, history), make_sampler(experiment, space)
    for trial in history:
        ignorant.tell(Told(trial.decisions, "known", reason="not a measurement"))
    assert share(informed) > 0.6 > 0.5 > share(ignorant)


@pytest.mark.parametrize("experiment", LEARNING, ids=lambda e: f"{e.sampler.split('.')[-1]}-{len(e.objectives)}")
def test_stopped_trials_are_no_measurements_and_tpe_avoids_what_was_stopped(experiment: Experiment) -> None:
    """Whole trainings say nothing of the first stage; most of what is not wide was stopped, with values like theirs."""
    space, asks = load_space("digits"), 6 if experiment.sampler.endswith(("GPSampler", "cost")) else 30
    whole = [replace(trial, cost=Cost.counted(1000, 10, 90)) for trial in good_and_bad(space, 24)]
    found = [replace(measure(trial), values={"top1": i / 24, "loss": 1.0}) for i, trial in enumerate(whole)]
    whole = [replace(trial, measurement=one) for trial, one in zip(whole, found, strict=True)]
    narrow = [t for t in good_and_bad(space, 90) if t.decisions["stages.0.width"] != 2]
    stopped = [replace(t, number=24 + i, state="stopped") for i, t in enumerate(narrow)]

    def asked(history: list[Trial]) -> list[Any]:
        sampler = make_sampler(experiment, space, history)
        return [sampler.ask(context(space, 200 + i)) for i in range(asks)]

    def share(proposed: list[Any]) -> float:
        return sum(decisions["stages.0.width"] == 2 for decisions in proposed) / asks

    without, informed = asked(whole), asked([*whole, *stopped])
    if "tpe" in experiment.sampler.lower():
        assert share(informed) > 0.6 > 0.5 > share(without)
    else:
        assert informed == without


def test_every_optuna_sampler_of_several_objectives_is_tried() -> None:
    """Those that are not refuse several objectives, need arguments that spaces do not have, or learn nothing."""
    import optuna

    tried = {experiment.sampler.split(".")[-1] for experiment in LEARNING}
    others = {"GridSampler", "BruteForceSampler", "CmaEsSampler", "PartialFixedSampler", "QMCSampler", "RandomSampler"}
    known = {name for name in optuna.samplers.__all__ if name.endswith("Sampler") and not name.startswith("Base")}
    assert known == {name for name in tried if name.endswith("Sampler")} | others


@pytest.mark.parametrize("name", ["CmaEsSampler", "GridSampler"])
def test_a_sampler_that_cannot_search_here_says_so(name: str, tmp_path: Path) -> None:
    args = {"search_space": {"x": [1]}} if name == "GridSampler" else {}
    run = make_run(tmp_path, sampler=f"optuna.samplers.{name}", sampler_args=args)
    with run.locked(), pytest.raises(BadInput, match=rf"optuna\.samplers\.{name}"):
        go(run)


def test_a_long_history_is_held_by_its_best_and_its_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_sampler, "HELD", 10)
    monkeypatch.setattr(optuna_sampler, "STEP", 8)
    space = load_space("digits")
    history = good_and_bad(space, 40)
    sampler: Any = make_sampler(Experiment(sampler="tpe"), space, history)
    held = [told.trial for told in optuna_sampler._chosen(sampler._told, sampler._objectives)]
    assert held[5:] == history[-5:]
    assert [trial.number for trial in held] == sorted(trial.number for trial in held)
    assert all(trial.measurement.top1 == 0.9 for trial in held[:5])
    later: Any = make_sampler(Experiment(sampler="tpe"), space, history[:39])
    for one in (sampler, later):
        one.ask(context(space, 40))
    assert len(sampler._study.trials) == 11
    later.tell(told_of(history[39]))
    assert later.ask(context(space, 41)) == sampler.ask(context(space, 41))


@pytest.mark.parametrize(
    ("sampler", "args", "words"),
    [
        ("tpee", {}, ["'tpee'", "nearest: 'tpe'", "class path"]),
        ("optuna.samplers.TPESample", {}, ["has no class `TPESample`", "nearest: 'TPESampler'"]),
        ("optuna.sampler.TPESampler", {}, ["unknown sampler", "nearest: 'optuna.samplers.TPESampler'"]),
        (".x", {}, ["unknown sampler"]),
        ("pathlib.Path", {}, ["is no sampler"]),
        ("optuna.samplers.BaseSampler", {}, ["is no sampler"]),
        ("tpe", {"n_startup_trial": 3}, ["'n_startup_trial'", "nearest: 'n_startup_trials'"]),
        ("tpe", {"multivariate": False}, ["refuses its arguments"]),
        ("random", {"population": 3}, ["it takes none"]),
        ("stratified", {"population": 3}, ["it takes none"]),
        ("known-cost", {"starts": 3}, ["nearest: 'start'"]),
        ("known-cost", {"start": 3}, ["at least 4"]),
        ("evolution", {"popul": 3}, ["nearest: 'population'"]),
        ("evolution", {"population": 1}, ["at least 2"]),
        ("evolution", {"population": "many"}, ["at least 2", "'many'"]),
    ],
)
def test_bad_sampler(sampler: str, args: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        make_sampler(Experiment(sampler=sampler, sampler_args=args), load_space("digits"))
    for word in words:
        assert word in str(error.value)


def test_seed_can_be_given(tmp_path: Path) -> None:
    space = load_space("digits")
    given = Experiment(sampler="tpe", sampler_args={"seed": 5})
    assert proposals(given, space, 3) == proposals(replace(given, seed=1), space, 3)
    assert len({str(decisions) for decisions in proposals(given, space, 3)}) == 3


def test_evolution_goes_on_where_no_parent_has_a_valid_neighbour(tmp_path: Path) -> None:
    run = make_run(tmp_path, ISLANDS, sampler="evolution", sampler_args={"population": 2}, trials=3)
    with run.locked():
        go(run)
    assert len({trial.architecture.fingerprint for trial in run.trials()}) == 3
