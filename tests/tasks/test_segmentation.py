"""Segmentation: its loss and metrics against independent counts, and what it says of masks that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_jaccard_index

from invnas.errors import BadInput
from invnas.experiment import Recipe
from invnas.facts import DataFacts
from invnas.masks import IGNORED
from invnas.task import check_recipe, head_of, load_task
from invnas.tasks.segmentation import Segmentation
from invnas.tasks.segmentation.head import PixelScores
from invnas.tasks.segmentation.labels import as_mask
from invnas.tasks.segmentation.module import Segmenter

FACTS = DataFacts((1, 4, 6), 3)
#: Masks of three classes with ignored pixels, by a seed.
SEEDS = st.integers(0, 10_000)


def segmenter(classes: int = 3) -> Segmenter:
    return Segmenter(nn.Conv2d(1, classes, 1), classes, Recipe(epochs=1))


def drawn(seed: int, batch: int = 2, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, classes, 4, 6, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, classes + 1, (batch, 4, 6), generator=generator)
    return scores, torch.where(masks == classes, IGNORED, masks)


def test_it_is_a_task_with_a_head_for_pixels() -> None:
    task = load_task("segmentation")
    assert task == Segmentation()
    assert task.head(FACTS) == PixelScores(3) == head_of("segmentation", (1, 4, 6), 3)
    assert task.describe(FACTS) == {"classes": "3"}
    assert set(task.tested) <= {objective.name for objective in task.objectives}
    assert PixelScores(3).problem((1, 4, 6), (3, 4, 6)) is None
    assert "each of 3 classes and each of 4 x 6 pixels" in str(PixelScores(3).problem((1, 4, 6), (3, 2, 3)))


@given(SEEDS, st.integers(1, 3))
def test_the_figures_are_those_of_one_count_over_all_images(seed: int, batches: int) -> None:
    module, parts = segmenter(), [drawn(seed + i) for i in range(batches)]
    for scores, masks in parts:
        module.measure(scores, masks)
    found = module.measured()
    scores, masks = (torch.cat(some) for some in zip(*parts, strict=True))
    kept = masks != IGNORED
    truth, told = masks[kept].numpy(), scores.argmax(1)[kept].numpy()
    present = sorted(set(truth) | set(told))
    assert found["miou"] == pytest.approx(jaccard_score(truth, told, labels=present, average="macro"), abs=1e-6)
    assert found["pixel_accuracy"] == pytest.approx(float((truth == told).mean()), abs=1e-6)
    assert found["loss"] == pytest.approx(F.cross_entropy(scores, masks, ignore_index=IGNORED).item(), abs=1e-5)
    index = multiclass_jaccard_index(scores.argmax(1), masks, 3, average=None, ignore_index=IGNORED).tolist()
    for k, share in enumerate(module.class_values()):
        assert share is None if k not in present else share == pytest.approx(index[k], abs=6e-4)
    assert module.measured() == {"miou": 0.0, "pixel_accuracy": 0.0, "loss": 0.0}  # it has begun anew


def test_a_class_that_is_nowhere_is_no_part_of_the_mean() -> None:
    module = segmenter(5)
    masks = torch.tensor([[[0, 0], [1, 1]]])
    module.measure(F.one_hot(torch.tensor([[[0, 1], [1, 1]]]), 5).movedim(-1, 1).double(), masks)
    found = module.measured()
    assert found["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert module.class_values() == (0.5, 0.667, None, None, None)
    assert confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1]).tolist() == [[1, 1], [0, 2]]


@given(SEEDS)
def test_the_training_loss_is_the_mean_over_the_pixels_that_count(seed: int) -> None:
    scores, masks = drawn(seed)
    scores.requires_grad_(True)
    loss = segmenter().training_loss(scores, masks)
    assert loss.item() == pytest.approx(F.cross_entropy(scores, masks, ignore_index=IGNORED).item(), abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient.movedim(1, -1)[masks == IGNORED].any()


def test_a_batch_in_which_every_pixel_is_ignored_teaches_nothing_and_breaks_nothing() -> None:
    module, masks = segmenter(), torch.full((2, 4, 6), IGNORED)
    scores = torch.randn(2, 3, 4, 6, requires_grad=True)
    loss = module.training_loss(scores, masks)
    assert loss.item() == 0.0
    assert not torch.autograd.grad(loss, scores)[0].any()
    module.measure(scores, masks)
    assert module.measured() == {"miou": 0.0, "pixel_accuracy": 0.0, "loss": 0.0}
    assert module.class_values() == (None, None, None)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float32])
def test_masks_of_any_type_and_with_a_channel_are_taken(dtype: torch.dtype) -> None:
    masks = torch.tensor([[[0, 1], [2, IGNORED]]])
    for given_ in (masks.to(dtype), masks.to(dtype)[:, None]):
        assert torch.equal(as_mask(given_, (2, 2)), masks)


SIZES = torch.zeros(2, 4, 6, dtype=torch.int64)
BAD = [
    (np.zeros((2, 4, 6)), "the masks must be a tensor of whole numbers, but are of type ndarray"),
    (SIZES[:, :3], r"one class for each pixel, \(batch, 4, 6\), but have the shape \(2, 3, 6\)"),
    (SIZES[0, 0], r"but have the shape \(6,\)"),
    (SIZES + 0.5, "the masks must be whole numbers, but are not"),
    (SIZES[:1], "a batch of 2 images has 1 masks"),
    (SIZES + 3, r"a mask holds the class 3 \(48 pixels of the batch .*\), but with 3 classes .* 0..2, or be 255"),
    (SIZES - 1, "a mask holds the class -1"),
]  # fmt: skip


@pytest.mark.parametrize(("masks", "sentence"), BAD)
def test_masks_that_are_none_are_told(masks: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Segmentation().check_targets(FACTS)(masks, 2, True)


def test_ignored_pixels_are_no_class() -> None:
    Segmentation().check_targets(FACTS)(torch.full((2, 4, 6), IGNORED), 2, True)


def test_what_only_classifiers_follow_is_refused() -> None:
    with pytest.raises(BadInput, match="the task segmentation does not say that it follows it"):
        check_recipe(Segmentation(), Recipe(mixup=0.2), FACTS)


def test_a_guess_costs_the_logarithm_of_the_classes() -> None:
    assert segmenter(4).guessing == pytest.approx(math.log(4))
    assert segmenter(1).guessing is None
