from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas import Experiment
from invnas.errors import BadInput
from invnas.experiment import DataSource, Recipe, parse_count


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
        recipe=st.builds(Recipe, epochs=st.integers(1), learning_rate=st.floats(1e-9, 10)),
        objectives=st.sampled_from((("top1", "macs"), ("top1", "parameters", "latency_ms"))),
        trials=st.integers(1),
        max_macs=st.none() | st.integers(1),
        seed=st.integers(),
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
        ({"optimizer": "adam"}, "`recipe.optimizer` must be sgd or adamw, but got 'adam'"),
        ({"learning_rate": 0.0}, "`recipe.learning_rate` must be positive, but got 0.0"),
        ({"learning_rate": float("nan")}, "`recipe.learning_rate` must be positive, but got nan"),
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
