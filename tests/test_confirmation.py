"""Which differences of a front hold, by seeds that nobody chose."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search.cheap import SMALL, go, make_run, price

from invnas.cli.tables import print_confirmation
from invnas.commands import confirm_front, run_search
from invnas.confirmation import Confirmation, confirmation
from invnas.errors import BadInput
from invnas.experiment import SEEDS, DataSource, Experiment, Recipe
from invnas.measurement import Measurement, Phase, State, Trial
from invnas.run import Run
from invnas.space import Space
from invnas.tasks.classification import TOP1
from invnas.zoo import small_networks


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return make_run(tmp_path_factory.mktemp("space"), space=SMALL).space


def confirmed(space: Space, *members: tuple[float, ...], failed: int = 0) -> Confirmation:
    """Return what is said of architectures of which the search measured the first value, further seeds the others."""
    front: list[Trial] = []
    trials: list[Trial] = []
    for (decisions, architecture), values in zip(space.enumerate(), members, strict=False):
        for place, value in enumerate(values):
            phase: Phase = "confirm" if place else "search"
            found = Measurement({"top1": value, "loss": 1.0})
            trial = Trial(len(trials), architecture, decisions, price(architecture), "complete", found, phase=phase)
            trials.append(trial)
            front += [] if place else [trial]
        state: State = "failed"
        trials += [replace(front[-1], number=-1, state=state, measurement=None, phase="confirm")] * failed
    return confirmation(front, trials, TOP1)


def test_nothing_and_one_and_no_further_seed(space: Space) -> None:
    assert confirmed(space) == Confirmation(TOP1, (), None, ())
    alone = confirmed(space, (0.5,), failed=2)
    assert (alone.deviation, alone.optimism, alone.differences) == (None, None, ())
    assert math.isnan(alone.members[0].mean)
    assert json.loads(json.dumps(alone.to_dict(), allow_nan=False))["members"][0]["mean"] is None


def test_one_further_seed_each_says_nothing_of_the_spread(space: Space) -> None:
    found = confirmed(space, (0.5, 0.4), (0.9, 0.8))
    assert found.deviation is None
    [difference] = found.differences
    assert difference.gain == pytest.approx(0.4)
    assert (difference.margin, difference.holds) == (math.inf, False)
    assert found.optimism == pytest.approx(0.1)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["differences"][0]["margin"] is None


def test_the_interval_is_that_of_students_t_over_the_shared_spread(space: Space) -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    first, second = (tuple(rng.normal(mean, 0.01, 5)) for mean in (0.50, 0.53))
    found = confirmed(space, (0.9, *first), (0.9, *second))
    low, high = ttest_ind(second, first).confidence_interval(0.95)
    [difference] = found.differences
    assert difference.gain - difference.margin == pytest.approx(low)
    assert difference.gain + difference.margin == pytest.approx(high)
    assert difference.holds == (low > 0)
    pooled = math.sqrt((statistics.variance(first) + statistics.variance(second)) / 2)
    assert found.deviation == pytest.approx(pooled)


def test_what_holds_holds_in_the_long_run_and_what_does_not_seldom_seems_to(space: Space) -> None:
    """Of architectures that are equal, one in forty seems better at the level of 95 % to both sides."""
    rng = np.random.default_rng(1)
    equal = [confirmed(space, *((0.9, *rng.normal(0.5, 0.01, 2)) for _ in range(6))) for _ in range(300)]
    share = statistics.fmean(one.holds for found in equal for one in found.differences)
    assert share == pytest.approx(0.025, abs=0.012)
    apart = [confirmed(space, (0.9, *rng.normal(0.5, 0.01, 4)), (0.9, *rng.normal(0.55, 0.01, 4))) for _ in range(50)]
    assert all(found.differences[0].holds for found in apart)


def test_a_member_without_further_seeds_is_passed_over(space: Space) -> None:
    found = confirmed(space, (0.5, 0.5, 0.51), (0.6,), (0.7, 0.7, 0.71))
    assert [(one.cheaper, one.dearer) for one in found.differences] == [(0, 4)]


def test_less_can_be_better(space: Space) -> None:
    trials = confirmed(space, (0.9, 0.8, 0.81), (0.5, 0.4, 0.41))
    by_loss = replace(TOP1, direction="minimize", unit="number")
    front = [one.trial for one in trials.members]
    further = [
        replace(one.trial, phase="confirm", measurement=Measurement({"top1": value, "loss": 1.0}))
        for one in trials.members
        for value in one.values
    ]
    found = confirmation(front, further, by_loss)
    assert found.differences[0].gain == pytest.approx(0.4)
    assert found.optimism == pytest.approx(-0.095)  # more was worse, and the search saw more


def test_each_member_gets_further_seeds_and_no_seed_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=12, seed=SEEDS - 1)
    with run.locked():
        go(run)
        members = run.front()
        run.confirm(1)
        first, *_ = run.trials("confirm")
        run.fail(first, "diverged")
        run.confirm(2)
        run.confirm(2)
    again = Run.open(run.folder)
    assert again.trials() == run.trials()
    assert again.front() == members
    seeds: dict[str, list[int | None]] = {}
    for trial in again.trials("confirm"):
        seeds.setdefault(trial.architecture.fingerprint, []).append(trial.seed)
        assert again.job(trial).experiment.seed == trial.seed
    assert set(seeds) == {trial.architecture.fingerprint for trial in members}
    assert seeds.pop(first.architecture.fingerprint) == [0, 1, 2]  # what follows the last seed there is; one failed
    assert all(found == [0, 1] for found in seeds.values())


def test_references_get_further_seeds_like_the_front(tmp_path: Path) -> None:
    small = small_networks()["small ResNet-8 x 0.5"]
    run = make_run(tmp_path, trials=12)
    with run.locked():
        go(run)
        first = run.front()[0]
        for architecture, decisions in ((small, {}), (first.architecture, first.decisions), (small, {})):
            trial = run.start(architecture, decisions, price(first.architecture), "reference")
            run.finish(trial, Measurement({"top1": 0.5, "loss": 1.0}))
        members = run.confirm(2)
    further = Run.open(run.folder).trials("confirm")
    mine = [trial for trial in further if trial.architecture == small]
    assert [trial.seed for trial in mine] == [1, 2]
    assert len(further) == 2 * (len(members) + 1)
    told = [replace(trial, state="complete", measurement=Measurement({"top1": 0.4, "loss": 1.0})) for trial in mine]
    found = confirmation(members, told, TOP1, run.trials("reference")[:1])
    assert (found.references[0].first, found.references[0].values, found.deviation) == (0.5, (0.4, 0.4), 0.0)
    assert found.to_dict()["references"] == [{"trial": 12, "first": 0.5, "values": [0.4, 0.4], "mean": 0.4}]


def test_an_empty_run_has_no_front_to_confirm(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1)
    with run.locked(), pytest.raises(BadInput, match=r"no trial of .* is complete, so there is no front to confirm"):
        run.confirm(2)


def test_costs_alone_cannot_be_confirmed(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1, objectives=("macs", "parameters"))
    with pytest.raises(BadInput, match="are costs alone: further seeds change none of them"):
        confirm_front(run.folder)


@pytest.mark.parametrize(
    ("seeds", "said"), [(0, "`seeds` must be 1 to 100, but got 0"), (10**9, "must be 1 to 100"), ("x", "whole number")]
)
def test_a_number_of_seeds_that_cannot_be(tmp_path: Path, seeds: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        confirm_front(tmp_path, seeds)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    experiment = Experiment(
        data=DataSource("HardDigits", {"batch_size": 512}), recipe=Recipe(epochs=1, learning_rate=0.3), trials=2, seed=3
    )
    return run_search(experiment, tmp_path_factory.mktemp("runs") / "mine", quiet=True)


def test_confirm_trains_the_front_with_further_seeds_once(trained: Run, tmp_path: Path, call: Any) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    code, out, err = call("confirm", folder, "--json")
    assert code == 0, err
    run, found = Run.open(folder), json.loads(out)
    members = run.front()
    assert [one["trial"] for one in found["members"]] == [trial.number for trial in members]
    further = run.trials("confirm")
    assert [trial.state for trial in further] == ["complete"] * 2 * len(members)
    assert {trial.seed for trial in further} == {4, 5}
    for one in found["members"]:
        assert len(one["values"]) == 2
    weights = [run.weights_path(trial.number).read_bytes() for trial in (members[0], *further[:2])]
    assert len(set(weights)) == 3  # a seed decides the weights
    assert len(run.trials("search")) == 2
    assert call("report", folder)[0] == 0

    code, out, err = call("confirm", folder, "--seeds", 1)
    assert code == 0, err
    assert Run.open(folder).trials() == run.trials()
    assert "the front, top-1 on the validation images" in out
    assert "standard deviation between seeds" in out


def test_a_search_that_is_not_done_is_not_confirmed(trained: Run, tmp_path: Path, call: Any) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    with Run.open(folder).locked() as run:
        run.extend(3)
    code, _, err = call("confirm", folder)
    assert code == 2
    assert f"the search of {folder} is not done (2 of 3 trials): its front may change" in err


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        (0.9, "the search saw them better by 0.1000 on average: who is chosen was also lucky"),
        (0.7, "the search saw them worse by 0.1000 on average: who was chosen was not lucky"),
    ],
)
def test_luck_is_said_where_there_was_some(
    space: Space, first: float, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_confirmation(confirmed(space, (first, 0.8, 0.8)))
    assert sentence in capsys.readouterr().out.splitlines()
