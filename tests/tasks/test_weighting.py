"""Weights of classes: their rules, and what they do to the loss, against hand-written sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from invnas.errors import BadInput
from invnas.experiment import Recipe
from invnas.facts import DataFacts
from invnas.tasks.classification.criterion import CrossEntropy
from invnas.tasks.classification.module import Classifier
from invnas.tasks.classification.weighting import weights_of


def facts(counts: tuple[int, ...] | None, names: tuple[str, ...] | None = None, classes: int = 3) -> DataFacts:
    return DataFacts((1, 8, 8), len(counts) if counts else classes, names, class_counts=counts)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=9))
def test_balanced_weights_are_those_of_scikit_learn(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert weights_of(Recipe(class_weights="balanced"), facts(tuple(counts))) == pytest.approx(tuple(expected))


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1e6)), min_size=2, max_size=6))
def test_weights_keep_their_proportions_and_have_a_mean_of_one(both: list[tuple[int, float]]) -> None:
    counts, weights = tuple(count for count, _ in both), [weight for _, weight in both]
    assume(sum(count * weight for count, weight in both) > 1e-9)
    given_weights = {str(index): weight for index, weight in enumerate(weights)}
    found = weights_of(Recipe(class_weights=given_weights), facts(counts))
    assert found is not None
    assert sum(n * w for n, w in zip(counts, found, strict=True)) == pytest.approx(sum(counts))
    assert np.array(found) * sum(weights) == pytest.approx(np.array(weights) * sum(found))


def test_a_class_without_images_has_no_balanced_weight() -> None:
    assert weights_of(Recipe(class_weights="balanced"), facts((4, 0, 4))) == (1.0, 0.0, 1.0)


def test_classes_are_named_by_name_or_index_and_the_rest_weigh_one() -> None:
    named = facts(None, ("cat", "dog", "owl"))
    assert weights_of(Recipe(class_weights={"dog": 4}), named) == pytest.approx((0.5, 2.0, 0.5))
    assert weights_of(Recipe(class_weights={1: 4}), named) == pytest.approx((0.5, 2.0, 0.5))  # type: ignore[dict-item]
    swapped = facts(None, ("2", "1", "0"))  # names that are numbers: the name counts
    assert weights_of(Recipe(class_weights={"2": 4}), swapped) == pytest.approx((2.0, 0.5, 0.5))
    assert weights_of(Recipe(), named) is None


@pytest.mark.parametrize(
    ("weights", "known", "said"),
    [
        (
            {"dgo": 2},
            facts(None, ("cat", "dog", "owl")),
            "unknown class 'dgo' in `recipe.class_weights`; nearest: 'dog'",
        ),
        ({"3": 2}, facts(None), r"unknown class '3' .* with 3 classes it must be 0\.\.2"),
        ({"1": 2, "dog": 2}, facts(None, ("cat", "dog", "owl")), "names one class twice, as '1' and as 'dog'"),
        ({"0": 0, "1": 0}, facts((5, 5)), "gives no class of the training images a weight above 0"),
        ("balanced", facts(None), "do not say how many training images each class has"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: Any, known: DataFacts, said: str) -> None:
    if weights == {"0": 0, "1": 0}:  # a recipe alone would refuse them: here another class has all the weight
        weights, known = {**weights, "2": 1}, facts((5, 5, 0))
    with pytest.raises(BadInput, match=said):
        weights_of(Recipe(class_weights=weights), known)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("balance", r"must be none, balanced or a mapping .* but got 'balance'; nearest: 'balanced'"),
        ({"cat": -1}, r"`recipe.class_weights.cat` must be a number from 0, but got -1"),
        ({"cat": "heavy"}, r"`recipe.class_weights.cat` must be a number from 0, but got 'heavy'"),
        ({"cat": 0}, "must give some class a weight above 0"),
        ({"cat": float("nan")}, "finite"),
        (3, "mapping"),
    ],
)
def test_a_recipe_refuses_what_are_no_weights(weights: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Recipe(class_weights=weights)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 20), st.sampled_from([0.0, 0.2]))
def test_the_loss_is_the_mean_of_what_each_image_weighs(seed: int, classes: int, images: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(images, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (images,), generator=generator)
    weights = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.1
    shares = torch.full((images, classes), smoothing / classes, dtype=torch.float64)
    shares[torch.arange(images), labels] += 1 - smoothing
    expected = -(shares * weights * outputs.log_softmax(1)).sum() / images
    criterion = CrossEntropy(smoothing, weights.tolist()).double()
    assert float(criterion(outputs, labels)) == pytest.approx(float(expected))
    plain = nn.functional.cross_entropy(outputs, labels, label_smoothing=smoothing)
    assert float(CrossEntropy(smoothing)(outputs, labels)) == pytest.approx(float(plain))


def test_halves_of_a_batch_add_up_to_its_weighted_loss() -> None:
    torch.manual_seed(0)
    module = Classifier(nn.Flatten(), 3, Recipe(), (0.2, 1.0, 3.0))
    outputs, labels = torch.randn(8, 3), torch.tensor([0, 0, 0, 0, 0, 1, 2, 2])
    halves = [module.training_loss(outputs[part], labels[part]) for part in (slice(0, 4), slice(4, 8))]
    assert float(sum(halves) / 2) == pytest.approx(float(module.training_loss(outputs, labels)))


def test_weights_are_no_part_of_a_checkpoint() -> None:
    weighted, plain = (Classifier(nn.Linear(2, 2), 2, Recipe(), weights) for weights in ((1.0, 2.0), None))
    assert weighted.state_dict().keys() == plain.state_dict().keys()
