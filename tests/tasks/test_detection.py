"""Detection as a task: what can be said without torchvision."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from invnas.errors import BadInput, MissingExtra
from invnas.experiment import Recipe
from invnas.facts import DataFacts
from invnas.task import check_recipe, head_of, load_task
from invnas.tasks.detection import Detection
from invnas.tasks.detection.head import Boxes

FACTS = DataFacts((3, 8, 10), 3)


def objects(boxes: Any = ((1, 2, 5, 6),), labels: Any = (0,), **more: Any) -> dict[str, Any]:
    numbers = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": numbers, "labels": torch.tensor(labels, dtype=torch.int64), **more}


def test_it_is_a_task_with_a_head_for_anchors() -> None:
    task = load_task("detection")
    assert task == Detection()
    assert task.head(FACTS) == Boxes(3) == head_of("detection", (3, 8, 10), 3)
    assert task.describe(FACTS) == {"classes": "3"}
    assert set(task.tested) <= {objective.name for objective in task.objectives}
    assert "anchor" in task.output(FACTS)


@pytest.mark.parametrize(
    "right",
    [
        objects(),
        objects((), ()),
        objects(((0, 0, 10, 8), (1, 1, 2, 2)), (2, 0)),
        objects(masks=torch.zeros(1, 8, 10, dtype=torch.bool)),
    ],
)
def test_objects_that_can_be_learned_from_pass(right: Any) -> None:
    Detection().check_targets(FACTS)([right, objects()], 2, True)


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (torch.zeros(1), "a list with a dict for each image, .* but are of type Tensor"),
        ([torch.zeros(1)], "but are of type list of Tensor"),
        ([objects(), objects()], "a batch of 1 images has the objects of 2"),
        ([{"boxes": torch.zeros(0, 4)}], "must have a tensor `labels`, but one has boxes"),
        ([{}], "must have a tensor `boxes`, but one has nothing"),
        ([objects() | {"boxes": torch.zeros(1, 5)}], r"of the shape \(objects, 4\), but are torch.float32 \(1, 5\)"),
        ([objects() | {"boxes": torch.ones(1, 4).long()}], "fractional numbers .* but are torch.int64"),
        ([objects(((1, 2, 5, 9),))], r"the box \[1.0, 2.0, 5.0, 9.0\] must be .* an image of 10 x 8, right beyond"),
        ([objects(((5, 2, 5, 6),))], r"the box \[5.0, 2.0, 5.0, 6.0\]"),
        ([objects(((float("nan"), 2, 5, 6),))], "the box .nan, 2.0"),
        ([objects(labels=(0, 1))], r"`labels` must be int64 numbers of the shape \(1,\), .* \(2,\)"),
        ([objects() | {"labels": torch.zeros(1)}], "but are torch.float32"),
        ([objects(labels=(3,))], "has the class 3, but with 3 classes they must lie in 0..2; background is no class"),
        ([objects(labels=(-1,))], "has the class -1"),
        ([objects(masks=torch.zeros(1, 8, 8))], r"`masks` must have the shape \(1, 8, 10\), .* but have \(1, 8, 8\)"),
    ],
)
def test_what_is_wrong_with_objects_is_one_sentence(targets: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Detection().check_targets(FACTS)(targets, 1, True)


@pytest.mark.parametrize(
    ("package", "said"), [("torchvision", "torchvision"), ("faster_coco_eval", "faster-coco-eval")]
)
def test_a_missing_package_is_told_before_a_search(monkeypatch: pytest.MonkeyPatch, package: str, said: str) -> None:
    for name in ("torchvision", "faster_coco_eval"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)  # type: ignore[arg-type]
    said = package.replace("_", "-")
    with pytest.raises(MissingExtra, match=rf"needs the package `{said}`, .*invnas\[detection\]"):
        check_recipe(Detection(), Recipe(), FACTS)


def test_a_setting_of_other_tasks_is_refused() -> None:
    with pytest.raises(BadInput, match=r"`recipe.mixup` is 0.2, but the task detection does not say"):
        check_recipe(Detection(), Recipe(mixup=0.2), FACTS)
