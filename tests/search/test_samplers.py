from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.search.sampler import make_sampler
from invnas.space import Space, load_space
from search.cheap import ONE_POINT, SMALL, go, make_run, measure, price
from search.conformance import (
    check_accepts_foreign_tells,
    check_decides_what_is_needed,
    check_same_in_another_process,
    check_same_seed,
    check_survives_rejection,
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
    Experiment(sampler="random"),
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


@pytest.mark.parametrize("name", ["tpe", "evolution"])
def test_same_in_another_process(name: str) -> None:
    check_same_in_another_process(Experiment(sampler=name, seed=3), "digits")


@every_sampler
def test_survives_rejection(experiment: Experiment, space: Space) -> None:
    check_survives_rejection(experiment, space)


@every_sampler
def test_accepts_foreign_tells(experiment: Experiment) -> None:
    if len(experiment.objectives) == 2:
        check_accepts_foreign_tells(experiment, load_space("digits"))


@pytest.mark.parametrize("name", ["tpe", "evolution"])
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
def test_history_is_learned_and_not_proposed_again(experiment: Experiment) -> None:
    """A resumed search draws on with another seed than the one it began with."""
    space = load_space("digits")
    first = proposals(experiment, space, 15)
    history = []
    for number, decisions in enumerate(first):
        try:
            architecture = space.architecture(decisions)
        except BadInput:
            continue
        trial = Trial(number, architecture, decisions, price(architecture), "complete")
        history.append(replace(trial, measurement=measure(trial)))
    again = make_sampler(experiment, space, history)
    assert [again.ask() for _ in range(5)] != first[:5]


def test_history_makes_tpe_and_evolution_leave_the_uniform_start() -> None:
    """Known measurements count: the first proposals after a resume are near the good ones, not uniform."""
    space = load_space("digits")
    random = make_sampler(Experiment(sampler="random"), space)
    history = []
    while len(history) < 40:
        decisions = random.ask()
        wide = decisions["stages.0.width"] == 2
        try:
            architecture = space.architecture(decisions)
        except BadInput:
            continue
        trial = Trial(len(history), architecture, decisions, price(architecture), "complete")
        measured = replace(measure(trial), top1=0.9 if wide else 0.1, macs=1000 if wide else 9000)
        history.append(replace(trial, measurement=measured))
    for name in ("tpe", "evolution"):
        sampler = make_sampler(Experiment(sampler=name), space, history)
        asked = [sampler.ask() for _ in range(20)]
        assert sum(decisions["stages.0.width"] == 2 for decisions in asked) >= 13


def test_repeated_proposal_that_is_rejected_leaves_the_first_one_open() -> None:
    space = load_space("digits")
    sampler: Any = make_sampler(Experiment(sampler="tpe"), space)
    decisions = sampler.ask()
    sampler._asked[next(iter(sampler._asked))].append(sampler._study.ask())
    sampler.tell(decisions, None)
    sampler.tell(decisions, (0.5, 10.0))
    assert [trial.state.name for trial in sampler._study.trials] == ["COMPLETE", "FAIL"]


@pytest.mark.parametrize(
    ("sampler", "args", "words"),
    [
        ("tpee", {}, ["'tpee'", "nearest: 'tpe'", "class path"]),
        ("optuna.samplers.TPESample", {}, ["has no TPESample", "nearest: 'optuna.samplers.TPESampler'"]),
        ("optuna.sampler.TPESampler", {}, ["unknown sampler", "nearest: 'optuna.samplers.TPESampler'"]),
        (".x", {}, ["unknown sampler"]),
        ("pathlib.Path", {}, ["not an Optuna sampler"]),
        ("optuna.samplers.BaseSampler", {}, ["not an Optuna sampler"]),
        ("tpe", {"n_startup_trial": 3}, ["'n_startup_trial'", "nearest: 'n_startup_trials'"]),
        ("tpe", {"multivariate": False}, ["refuses its arguments"]),
        ("random", {"population": 3}, ["it takes none"]),
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


def test_sampler_without_several_objectives_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler="optuna.samplers.GridSampler", sampler_args={"search_space": {"x": [1]}})
    with run.locked(), pytest.raises(BadInput, match="GridSampler cannot search here"):
        go(run)


def test_seed_can_be_given(tmp_path: Path) -> None:
    space = load_space("digits")
    given = Experiment(sampler="tpe", sampler_args={"seed": 5})
    assert proposals(given, space, 3) == proposals(replace(given, seed=1), space, 3)


def test_evolution_goes_on_where_no_parent_has_a_valid_neighbour(tmp_path: Path) -> None:
    run = make_run(tmp_path, ISLANDS, sampler="evolution", sampler_args={"population": 2}, trials=3)
    with run.locked():
        go(run)
    assert len({trial.architecture.fingerprint for trial in run.trials()}) == 3
