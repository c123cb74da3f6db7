"""Classification: its loss and metrics against an independent count."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import nn
from torchmetrics.functional.classification import multiclass_f1_score

from invnas.data import DataFacts, load_data
from invnas.experiment import DataSource, Recipe
from invnas.measurement import Measurement
from invnas.task import load_task
from invnas.tasks.classification import Classification
from invnas.tasks.classification.head import ClassScores
from invnas.tasks.classification.module import Classifier
from invnas.training import train

RECIPE = Recipe(epochs=2, learning_rate=0.2)
FACTS = DataFacts((1, 8, 8), 10)
ALIKE = {"balanced_accuracy", "f1", "auroc"}


def linear(classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def test_it_is_what_is_trained_for_by_default() -> None:
    task = load_task("classification")
    assert task == Classification()
    assert task.head(FACTS) == ClassScores(10)
    assert task.describe(FACTS) == {"classes": "10"}
    assert set(task.tested) <= {objective.name for objective in task.objectives}


def test_top1_and_loss_are_those_of_an_independent_count() -> None:
    data: Any = load_data(DataSource("Digits", {"batch_size": 128}))
    network = linear()
    measured = train(network, data, RECIPE)
    batches = list(data.val_dataloader())
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        scores = network.eval()(images)
    assert measured.top1 == pytest.approx((scores.argmax(1) == labels).double().mean().item(), abs=1e-6)
    assert measured.loss == pytest.approx(nn.functional.cross_entropy(scores, labels).item(), abs=1e-5)
    top5 = (scores.topk(5).indices == labels[:, None]).any(1).double().mean().item()
    assert measured.top5 == pytest.approx(top5, abs=1e-6)


@pytest.mark.parametrize(
    ("classes", "names"), [(2, {"top1", "loss"}), (5, {"top1", "loss"}), (6, {"top1", "top5", "loss"})]
)
def test_few_classes_have_no_top5(classes: int, names: set[str]) -> None:
    module = Classifier(linear(classes), classes, RECIPE)
    module.validation_step((torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 0])), 0)
    assert set(module.measured()) == names | ALIKE


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 40))
def test_what_weighs_classes_alike_is_that_of_scikit_learn(seed: int, classes: int, images: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (images,), generator=generator)  # of some classes there may be no image
    outputs = torch.randn(images, classes, generator=generator)
    module = Classifier(nn.Identity(), classes, Recipe())
    module.measure(outputs, targets)
    found, told = module.measured(), outputs.argmax(1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class was told which is not there
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(targets.numpy(), told))
    assert found["f1"] == pytest.approx(f1_score(targets.numpy(), told, average="macro"))
    assert found["f1"] == pytest.approx(float(multiclass_f1_score(outputs, targets, classes, average="macro")))
    assert found["auroc"] == pytest.approx(_auroc(outputs, targets), abs=5e-3)


def _auroc(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Pair by pair, over classes that have images and others."""
    areas = []
    for one in range(outputs.shape[1]):
        scores = outputs.double().softmax(1)[:, one]
        gaps = scores[targets == one][:, None] - scores[targets != one][None]
        if gaps.numel():
            areas.append(float((gaps.sign() + 1).mean() / 2))
    return sum(areas) / len(areas) if areas else 0.5


def test_label_smoothing_is_in_the_training_loss_only() -> None:
    scores = torch.tensor([[4.0, 0.0]])
    network = nn.Sequential(nn.Flatten(), nn.Identity())
    module = Classifier(network, 2, Recipe(label_smoothing=0.2))
    images, labels = scores.view(1, 2, 1, 1), torch.tensor([0])
    smoothed = module.training_step((images, labels), 0)
    module.validation_step((images, labels), 0)
    assert smoothed is not None
    assert smoothed.item() == pytest.approx(nn.functional.cross_entropy(scores, labels, label_smoothing=0.2).item())
    assert module.measured()["loss"] == pytest.approx(nn.functional.cross_entropy(scores, labels).item())


def test_each_class_has_the_accuracy_of_an_independent_count() -> None:
    module, labels = Classifier(nn.Identity(), 4, Recipe()), torch.tensor([0, 0, 1, 1, 1, 3])
    assert module.class_values() == ()
    assert module.class_confusion() == {}
    outputs = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 1, 2, 3]), 4).float()
    for part in (slice(0, 4), slice(4, 6)):
        module.measure(outputs[part], labels[part])
    module.measured()
    assert module.class_values() == (0.5, 0.667, None, 1.0)
    assert module.class_confusion() == {(0, 0): 1, (0, 1): 1, (1, 1): 2, (1, 2): 1, (3, 3): 1}
    module.measure(outputs[:1], labels[:1])
    module.measured()
    assert module.class_values() == (1.0, None, None, None)


def test_a_training_ends_with_the_accuracy_of_each_class() -> None:
    data = load_data(DataSource("HardDigits", {"batch_size": 128}))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = train(network, data, Recipe(epochs=2, learning_rate=0.3), seed=0)
    seen = torch.bincount(torch.cat([labels for _, labels in data.val_dataloader()]), minlength=10)
    shares = torch.tensor([0.0 if value is None else value for value in found.by_class])
    assert float((shares * seen).sum() / seen.sum()) == pytest.approx(found.top1, abs=1e-3)
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found
