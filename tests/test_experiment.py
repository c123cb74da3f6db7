from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas import Experiment
from invnas.errors import BadInput
from invnas.experiment import DataSource, Recipe
from invnas.settings import parse_count


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), (12, 12), ("200k", 200_000), ("30M", 30_000_000), ("1.5G", 1_500_000_000), (" 2 m ", 2_000_000)],
)
def test_counts_are_written_with_k_m_and_g(text: str | int, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "-3", "30 MB", "1,000", "1e", "1.G", "ten", "3\n4"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a count: write a number, or a number with k, M or G, such as 30M"):
        parse_count(text)


@given(st.text())
def test_any_text_is_a_count_or_bad_input(text: str) -> None:
    try:
        assert parse_count(text) >= 0
    except BadInput as error:
        assert "is not a count" in str(error)  # noqa: PT017


@given(
    st.builds(
        Experiment,
        space=st.text(),
        data=st.builds(DataSource, st.text(), st.dictionaries(st.text(), st.integers())),
        recipe=st.builds(Recipe, epochs=st.integers(1, 2**63 - 1), learning_rate=st.none() | st.floats(1e-9, 10)),
        objectives=st.sampled_from((("top1", "macs"), ("top1", "parameters", "latency_ms"))),
        trials=st.integers(1, 2**63 - 1),
        max_macs=st.none() | st.integers(1, 2**63 - 1),
        seed=st.integers(0, 2**32 - 2),
    )
)
def test_an_experiment_survives_json(experiment: Experiment) -> None:
    assert Experiment.from_dict(json.loads(json.dumps(experiment.to_dict()))) == experiment


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trials": 0}, "`trials` must be at least 1, but got 0"),
        ({"workers": 0}, "`workers` must be at least 1, but got 0"),
        ({"max_macs": 0}, "`max_macs` must be positive, but got 0"),
        ({"max_parameters": -1}, "`max_parameters` must be positive, but got -1"),
        ({"objectives": ("top1",)}, "`objectives` must name two or three"),
    ],
)
def test_an_impossible_experiment_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        Experiment(**change)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 0}, "`recipe.epochs` must be at least 1, but got 0"),
        ({"optimizer": "adam"}, "`recipe.optimizer` must be one of sgd, adamw, but got 'adam'; nearest: 'adamw'"),
        ({"learning_rate": 0.0}, "`recipe.learning_rate` must be positive, but got 0.0"),
        ({"learning_rate": float("nan")}, "`recipe.learning_rate` must be a finite number, but got 'nan'"),
        ({"label_smoothing": 1.0}, "`recipe.label_smoothing` must lie in [0, 1), but got 1.0"),
        (
            {"gradient_clip": -1.0},
            "`recipe`: gradient_clip, warmup_epochs, weight_decay and threads must not be negative",
        ),
        ({"threads": -1}, "`recipe`: gradient_clip, warmup_epochs, weight_decay and threads must not be negative"),
    ],
)
def test_an_impossible_recipe_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        Recipe(**change)
    assert str(error.value) == sentence


class Words(str):
    """Text of a class of its own."""


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"max_macs": "1M"}, "max_macs", 1_000_000),
        ({"max_macs": 30e6}, "max_macs", 30_000_000),
        ({"max_parameters": "1.5k"}, "max_parameters", 1500),
        ({"max_latency_ms": "2.5"}, "max_latency_ms", 2.5),
        ({"trials": "48"}, "trials", 48),
        ({"trials": np.int64(3)}, "trials", 3),
        ({"objectives": "top1,macs"}, "objectives", ("top1", "macs")),
        ({"objectives": ["top1", "parameters"]}, "objectives", ("top1", "parameters")),
        ({"space": Path("a") / "b.py"}, "space", str(Path("a") / "b.py")),
        ({"data": {"class_path": "Digits", "init_args": {"a": (1, Path("b"), np.float32(0.5))}}}, "data",
         DataSource("Digits", {"a": [1, "b", 0.5]})),
        ({"recipe": {"epochs": "3", "learning_rate": 1}}, "recipe", Recipe(epochs=3, learning_rate=1.0)),
        ({"random_baseline": "yes"}, "random_baseline", True),
        ({"sampler": Words("random")}, "sampler", "random"),
    ],
)  # fmt: skip
def test_what_is_meant_is_taken(given: dict[str, Any], field: str, value: Any) -> None:
    found = getattr(Experiment(**given), field)
    assert (found, type(found)) == (value, type(value))
    assert Experiment.from_dict(json.loads(json.dumps(Experiment(**given).to_dict()))) == Experiment(**given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"trials": 48.0}, "`trials` must be a whole number, but got '48.0'"),
        ({"trials": True}, "`trials` must be a whole number, but got 'True'"),
        ({"trials": None}, "`trials` must be a whole number, but got 'None'"),
        ({"trials": "many"}, "`trials` must be a whole number, but got 'many'"),
        ({"trials": 2**63}, "`trials` must be below 2**63"),
        ({"seed": -1}, "`seed` must lie in 0 to 4294967294, but got -1"),
        ({"seed": 2**32 - 1}, "`seed` must lie in 0 to 4294967294"),
        ({"max_macs": "lots"}, "`max_macs`: 'lots' is not a count"),
        ({"max_macs": True}, "`max_macs` must be a whole number, but got 'True'"),
        ({"max_macs": float("nan")}, "`max_macs`: 'nan' is not a count"),
        ({"max_macs": "-1M"}, "`max_macs`: '-1M' is not a count"),
        ({"max_macs": []}, "`max_macs`: '[]' is not a count"),
        ({"max_latency_ms": float("inf")}, "`max_latency_ms` must be a finite number, but got 'inf'"),
        ({"objectives": ["top1", 3]}, "`objectives` must be names such as top1,macs, but got ['top1', 3]"),
        ({"max_latency_ms": "1e9999"}, "`max_latency_ms` must be a finite number, but got '1e9999'"),
        ({"max_latency_ms": 10**5000}, "`max_latency_ms` must be a number, but got 'an int too long to be written'"),
        ({"seed": [10**5000]}, "`seed` must be a whole number, but got 'a list too long to be written'"),
        ({"sampler_args": {"start": [10**5000]}}, "`sampler_args` must hold finite numbers, text"),
        ({"max_latency_ms": 10**400}, "`max_latency_ms` must be a number, but got '1000"),
        ({"objectives": None}, "`objectives` must be names such as top1,macs, but got 'None'"),
        ({"objectives": [1, 2]}, "`objectives` must be names such as top1,macs, but got '[1, 2]'"),
        ({"objectives": "top1"}, "`objectives` must name two or three"),
        ({"data": "Digits"}, "`data` must be a DataSource or a mapping of class_path, init_args, but got 'Digits'"),
        ({"data": {"path": "x"}}, "unknown key 'data.path'; nearest: 'data.class_path'"),
        ({"data": {"class_path": 3}}, "`data.class_path` must be text, but got '3'"),
        ({"data": {"init_args": [1]}}, "`data.init_args` must be a mapping such as {key: value}, but got '[1]'"),
        ({"data": {"init_args": {"a": print}}}, "`data.init_args` must hold finite numbers, text, lists"),
        ({"data": {"init_args": {"a": [float("nan")]}}}, "`data.init_args` must hold finite numbers, text, lists"),
        ({"data": {"init_args": {"a": {1: 2}}}}, "`data.init_args` must hold finite numbers, text, lists"),
        ({"recipe": {"epoch": 3}}, "unknown key 'recipe.epoch'; nearest: 'recipe.epochs'"),
        ({"recipe": 3}, "`recipe` must be a Recipe or a mapping of epochs, optimizer,"),
        (
            {"recipe": {"logger": "cvs"}},
            "`recipe.logger` must be one of none, csv, tensorboard, but got 'cvs'; nearest",
        ),
        ({"recipe": {"epochs": 2.5}}, "`recipe.epochs` must be a whole number, but got '2.5'"),
        ({"recipe": {"warmup_epochs": None}}, "`recipe.warmup_epochs` must be a number, but got 'None'"),
        ({"recipe": {"precision": 32}}, "`recipe.precision` must be text, but got '32'"),
        ({"sampler_args": [1]}, "`sampler_args` must be a mapping"),
        ({"sampler": None}, "`sampler` must be text, but got 'None'"),
        ({"baselines": 1}, "`baselines` must be true or false, but got '1'"),
        ({"random_baseline": 1}, "`random_baseline` must be true or false, but got '1'"),
        ({"task": 3}, "`task` must be text, but got '3'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as raised:
        Experiment(**given)
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def endless() -> list[Any]:
    """A list that holds itself."""
    values: list[Any] = []
    values.append(values)
    return values


def test_arguments_that_hold_themselves_are_refused() -> None:
    with pytest.raises(BadInput, match=r"`sampler_args` nests deeper than 50 values"):
        Experiment(sampler_args={"a": endless()})


@given(
    st.sampled_from([field.name for field in fields(Experiment)]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2) | st.just(object()) | st.just(print),
)  # fmt: skip
def test_any_value_in_any_field_is_taken_or_one_sentence(field: str, value: Any) -> None:
    try:
        made = Experiment(**{field: value})
        assert Experiment.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    except BadInput as error:
        assert "\n" not in str(error) or "\n" in str(value)  # noqa: PT017


def test_each_optimizer_has_a_rate_and_a_decay_of_its_own() -> None:
    sgd, adamw = Recipe(), Recipe(optimizer="adamw")
    assert (sgd.rate, sgd.decay, adamw.rate, adamw.decay) == (0.1, 1e-4, 2e-3, 0.05)
    assert replace(sgd, optimizer="adamw").rate == adamw.rate
    given = Recipe(optimizer="adamw", learning_rate=0.5, weight_decay=0)
    assert (given.rate, given.decay) == (0.5, 0)
    assert (adamw.resolved().learning_rate, adamw.resolved().weight_decay) == (adamw.rate, adamw.decay)
    assert given.resolved() == given


def test_gradient_clipping_is_on_by_default() -> None:
    assert Recipe().gradient_clip > 0


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"data": {"class": "x"}},
        {"recipe": {"epoch": 1}},
        {"objectives": None},
        {"trial": 3},
        {"trials": ""},
    ],
)
def test_tampered_settings_are_bad_input(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Experiment.from_dict({**Experiment().to_dict(), **change})


def test_missing_settings_are_bad_input() -> None:
    with pytest.raises(BadInput, match="these are not the settings of an experiment: KeyError: 'data'"):
        Experiment.from_dict({})


def test_what_a_search_is_for_is_tested_too() -> None:
    assert Experiment().tested == ("top1",)
    assert Experiment(objectives=("macs", "parameters")).tested == ("top1",)
    assert Experiment(objectives=("auroc", "macs", "f1")).tested == ("top1", "auroc", "f1")
