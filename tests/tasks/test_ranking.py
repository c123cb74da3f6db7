"""The area under the ROC curve, against scikit-learn, which keeps and sorts all scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from invnas.tasks.classification.ranking import AreaUnderRoc


def area(outputs: torch.Tensor, targets: torch.Tensor, batches: int = 1) -> float:
    found = AreaUnderRoc(outputs.shape[1])
    for scores, classes in zip(outputs.tensor_split(batches), targets.tensor_split(batches), strict=True):
        found.update(scores, classes)
    return found.compute()


@given(st.integers(0, 10**6), st.integers(2, 12), st.sampled_from([0.1, 1.0, 8.0]), st.integers(1, 4))
def test_it_is_that_of_scikit_learn(seed: int, classes: int, spread: float, batches: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.cat([torch.arange(classes), torch.randint(classes, (150,), generator=generator)])
    outputs = spread * torch.randn(len(targets), classes, generator=generator)
    outputs[torch.arange(len(targets)), targets] += spread
    shares = outputs.double().softmax(1)
    others = torch.stack([shares[:, torch.arange(classes) != one].sum(1) for one in range(classes)], dim=1)
    odds, one_hot = (shares / others).numpy(), np.eye(classes)[targets.numpy()]  # ranked as the shares are, not rounded
    assert area(outputs, targets, batches) == pytest.approx(roc_auc_score(one_hot, odds, average="macro"), abs=3e-3)


def test_scores_of_a_confident_network_are_still_told_apart() -> None:
    # Probabilities of 1 - 1e-5 and 1 - 1e-6, which evenly spaced thresholds would lump together.
    outputs = torch.tensor([[13.8, 0.0], [11.5, 0.0], [13.8, 0.0], [11.5, 0.0]])
    assert area(outputs, torch.tensor([0, 1, 0, 1])) == pytest.approx(1.0)
    assert area(outputs, torch.tensor([1, 0, 1, 0])) == pytest.approx(0.0)


def test_ties_are_half_right_and_infinite_scores_have_a_place() -> None:
    assert area(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])) == 0.5
    outputs = torch.tensor([[float("inf"), 0.0], [0.0, float("inf")]])
    assert 0 <= area(outputs, torch.tensor([0, 1])) <= 1
    assert area(torch.tensor([[400.0, -400.0], [-400.0, 400.0]]), torch.tensor([0, 1])) == 1.0


def test_a_class_without_images_is_left_out_and_one_class_alone_is_a_guess() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(60, 3, generator=generator), torch.randint(2, (60,), generator=generator)
    shares = outputs.double().softmax(1).numpy()
    expected = np.mean([roc_auc_score(targets.numpy() == one, shares[:, one]) for one in (0, 1)])
    assert area(outputs, targets) == pytest.approx(expected, abs=1e-3)
    assert area(outputs, torch.zeros(60, dtype=torch.int64)) == 0.5
    assert AreaUnderRoc(3).compute() == 0.5


def test_it_begins_anew_after_each_look() -> None:
    found = AreaUnderRoc(2)
    found.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 0]))
    assert found.compute() == 0.0
    found.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    assert found.compute() == 1.0
