"""A rate that a run finds by itself: real sweeps on small images, before anything is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from invnas import (
    BasicBlock,
    DataSource,
    Experiment,
    HybridNet,
    PlainStem,
    Recipe,
    Run,
    Space,
    Stage,
    range_test,
    run_search,
    write_report,
)
from invnas.cost import pricer
from invnas.engine.images import open_data
from invnas.errors import BadInput
from invnas.range_test import ENDS, _drawn, find_rate
from invnas.space import load_space
from invnas.training import train

ASKED = Experiment(
    "digits", trials=1, recipe=Recipe(epochs=1, learning_rate="auto"), data=DataSource("invnas.data.Digits")
)


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_test, "STEPS", 40)


def found(experiment: Experiment) -> object:
    data, facts = open_data(experiment.data, experiment.what)
    price = pricer(facts.input_shape, experiment.what.head(facts))
    return find_rate(experiment, load_space("digits"), price, data, facts)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_seed_finds_the_same_rate(optimizer: str) -> None:
    recipe = replace(ASKED.recipe, optimizer=optimizer, ema=0.9, max_minutes=0.001)
    first = found(replace(ASKED, recipe=recipe))
    if optimizer == "sgd":
        assert found(replace(ASKED, recipe=recipe)) == first
    low, high = ENDS[optimizer]
    assert len(first.sweeps) == 3  # type: ignore[attr-defined]
    costs = [one.macs for one in first.sweeps]  # type: ignore[attr-defined]
    assert costs == sorted(costs)
    for one in first.sweeps:  # type: ignore[attr-defined]
        assert 5 <= len(one.losses) <= 40
        assert low < one.lowest <= high
        assert min(one.smoothed) < 0.99 * one.smoothed[0]  # it learned something on its way


def test_images_come_as_they_do_in_a_training() -> None:
    data, _ = open_data(ASKED.data, ASKED.what)
    for sampling in ("balanced", "shuffled"):  # whatever an earlier training of this process has left
        found(replace(ASKED, recipe=replace(ASKED.recipe, sampling=sampling)))
        assert (data.sampling, data.order_seed) == (sampling, ASKED.seed)  # type: ignore[attr-defined]


def test_caps_hold_for_what_is_tried() -> None:
    tight = found(replace(ASKED, max_macs=120_000))
    assert all(one.macs <= 120_000 for one in tight.sweeps)  # type: ignore[attr-defined]


def test_tight_caps_leave_three_too() -> None:
    asked = replace(ASKED, space="hybrid_cifar", max_macs=7_000_000)  # one draw of a thousand is within
    tried = _drawn(asked, load_space("hybrid_cifar"), pricer((3, 32, 32), 10))
    assert len(tried) >= 3
    assert len({architecture.fingerprint for _, architecture in tried}) == len(tried)
    assert all(macs <= 7_000_000 for macs, _ in tried)


def test_a_space_of_one_architecture() -> None:
    alone = Space(HybridNet(PlainStem(8, 3, 1, False), [Stage(8, [BasicBlock()])]))
    tried = _drawn(ASKED, alone, pricer((3, 8, 8), 10))
    assert len(tried) == 1


def test_a_run_records_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_search(ASKED, tmp_path / "run", quiet=True)
    rates = run.rates()
    assert rates is not None
    assert f"recipe.learning_rate: {rates.words}" in capsys.readouterr().err
    assert run.experiment.recipe.learning_rate == rates.rate
    assert Run.open(tmp_path / "run").rates() == rates
    page = write_report(run).read_text(encoding="utf-8")
    assert rates.words in page
    assert '"plot-rates":{"data"' in page
    for end in ("png", "svg"):
        assert (tmp_path / "run" / "report" / f"learning_rate.{end}").stat().st_size > 1000


def test_a_given_rate_is_not_looked_for(tmp_path: Path) -> None:
    asked = replace(ASKED, recipe=Recipe(epochs=1))
    run = run_search(asked, tmp_path / "run", quiet=True)
    assert run.rates() is None
    page = write_report(run).read_text(encoding="utf-8")
    assert "plot-rates" not in page
    assert not (tmp_path / "run" / "report" / "learning_rate.png").exists()


def test_losses_that_are_never_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = replace(ASKED.recipe, loss="test_range_test.Endless")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(BadInput, match=r"`recipe.learning_rate` is auto, but the loss of an arch"):
        found(replace(ASKED, recipe=loss))


class Endless(torch.nn.Module):
    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return scores.sum() * float("nan")


@pytest.mark.parametrize(("given", "said"), [("autoo", "autoo"), ("0", "0"), ("-1", "-1"), ("nan", "nan")])
def test_other_words_are_refused(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, given: str, said: str
) -> None:
    code, _, error = call("search", "digits", "--recipe.learning_rate", given, "--run-dir", tmp_path / "run")
    assert code == 2
    assert "recipe.learning_rate" in error
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_single_training_finds_none() -> None:
    data, facts = open_data(ASKED.data, ASKED.what)
    with pytest.raises(BadInput, match=r"`recipe.learning_rate` is auto: a search finds it once, .* give a number"):
        train(torch.nn.Identity(), data, ASKED.recipe, facts=facts)


def test_the_command_line_takes_auto(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    words = ("search", "digits", "--data.class_path", "invnas.data.Digits", "--trials", 1, "--recipe.epochs", 1)
    code, _, error = call(*words, "--recipe.learning_rate", "auto", "--run-dir", tmp_path / "run")
    assert code == 0, error
    assert 0 < json.loads((tmp_path / "run" / "run.json").read_text())["experiment"]["recipe"]["learning_rate"] < 10
