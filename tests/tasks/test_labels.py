"""Labels in every form that is meant well are learned from; the others are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import data.user_modules as theirs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from invnas.data.check import examine
from invnas.errors import BadInput
from invnas.experiment import DataSource, Recipe
from invnas.task import load_task
from invnas.tasks.classification.labels import as_classes, as_targets, check_labels
from invnas.training import train

MEANT = ["Base", "Int32", "Byte", "Column", "WholeFloats", "OneHot", "Doubles", "Halves", "MixedLabels", "Streamed"]


@pytest.mark.parametrize("name", MEANT)
def test_what_is_taken_as_meant_is_learned(name: str) -> None:
    """One class is one bright channel: whoever reads the labels right has them all right."""
    data, facts = examine(DataSource(f"data.user_modules.{name}"), load_task("classification").check_targets)
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 3))
    measured = train(network, data, Recipe(epochs=6, learning_rate=0.5), facts=facts)
    assert measured.top1 == 1.0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.sampled_from(["int32", "uint8", "float64", "int64"]))
def test_every_form_says_the_same_classes(classes: list[int], dtype: str) -> None:
    wanted = torch.tensor(classes)
    typed = wanted.to(getattr(torch, dtype))
    hot = nn.functional.one_hot(wanted, 7)
    for labels in (typed, typed[:, None], hot, hot.to(typed.dtype)):
        assert as_classes(labels, 7).tolist() == as_targets(labels, 7).tolist() == classes
        check_labels(labels, len(classes), 7, training=True)
        check_labels(labels, len(classes), 7, training=False)


def test_labels_that_are_right_are_not_copied() -> None:
    labels = torch.tensor([0, 2, 1])
    assert as_targets(labels, 3) is as_classes(labels, 3) is labels


def test_shares_of_classes_train_but_do_not_judge() -> None:
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    assert as_targets(shares, 3) is shares
    with pytest.raises(BadInput, match="not one-hot: one class an image"):
        check_labels(shares, 2, 3, training=False)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (torch.tensor([0, 1, 3]), r"from 0 to 3, but with 3 classes they must lie in 0\.\.2"),
        (torch.tensor([0, -100, 1]), r"from -100 to 1"),
        (torch.tensor([0, 1]), "a batch of 3 images has 2 labels"),
        (torch.tensor(0), r"have the shape \(\)"),
        (torch.tensor([0.0, float("nan"), 1.0]), "must be whole numbers, but hold nan"),
        (torch.tensor([1j, 0, 0]), "are complex"),
        ([0, 1, 2], "of type list"),
    ],
)
def test_other_labels_are_told(labels: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        check_labels(labels, 3, 3, training=True)


def test_a_search_refuses_a_module_before_anything_is_trained(
    call: Callable[..., tuple[int, str, str]], tmp_path: Any
) -> None:
    words = ["--data.class_path", f"{theirs.__name__}.SplitAnew", "--run-dir", tmp_path / "run", "--trials", 2]
    code, _, said = call("search", "--space", "digits", *words)
    assert code == 2
    assert said.count("\n") == 1
    assert "gives other validation images after a second `setup`" in said
    assert not (tmp_path / "run").exists()
