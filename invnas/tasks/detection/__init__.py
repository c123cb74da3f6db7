"""Object detection: a box and a class for each object of an image, and a mask where the network makes them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from invnas.errors import MissingExtra
from invnas.facts import DataFacts
from invnas.objective import Objective
from invnas.task import Legend
from invnas.tasks.detection.head import Boxes

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

    from invnas.data.preparing import Seen
    from invnas.experiment import Recipe
    from invnas.postprocessing import Postprocessing
    from invnas.tasks.detection.answers import BoxPrediction
    from invnas.tasks.detection.module import Detector

MAP = Objective(
    "map",
    "mAP",
    "Mean average precision of boxes on validation",
    "maximize",
    "share",
    False,
    0.0,
    1.0,
    source="learned",
)
MAP50 = replace(MAP, name="map50", label="mAP50", title="Mean average precision of boxes at an overlap of 0.5")
MASK_MAP = replace(MAP, name="mask_map", label="mask mAP", title="Mean average precision of masks on validation")

#: Score from which on an object is drawn.
SHOWN = 0.3

#: Black, the first colour, is hardly seen on a photograph.
LEGEND = Legend(
    f"the image with its objects, and below what the network finds, if its score is at least {SHOWN:g}", first=1
)


@dataclass(frozen=True)
class Detection:
    """Boxes with classes; their mean average precision is what matters. That of masks is 0 for networks without."""

    name: str = "detection"
    objectives: tuple[Objective, ...] = (MAP, MAP50, MASK_MAP)
    tested: tuple[str, ...] = ("map", "map50", "mask_map")
    legend: Legend = LEGEND

    def head(self, facts: DataFacts) -> Boxes:
        """Return scores and offsets of anchors."""
        return Boxes(facts.classes)

    def module(self, network: nn.Module, facts: DataFacts, recipe: Recipe) -> Detector:
        """Return the LightningModule of a detector."""
        check_libraries()
        from invnas.tasks.detection.module import Detector

        return Detector(network, facts.input_shape, facts.classes, recipe)

    def check_network(self, network: Any) -> None:
        """Raise BadInput for a network that ends in no head for boxes."""
        Boxes.check_network(network)

    def check_targets(self, facts: DataFacts) -> Callable[[Any, int, bool], None]:
        """Return the check of boxes, labels and masks."""
        from invnas.tasks.detection.objects import check_objects

        _, height, width = facts.input_shape
        return lambda targets, images, training: check_objects(targets, images, (height, width), facts.classes)

    def check_recipe(self, recipe: Recipe, facts: DataFacts) -> None:
        """Raise BadInput unless a recipe has common settings alone, and what trains and measures is installed."""
        from invnas.task import check_common

        check_common(self, recipe)
        check_libraries()

    def pictures(self, network: nn.Module, images: torch.Tensor, targets: Any, facts: DataFacts) -> Image:
        """Return a picture of what a network finds in images, beside the truth."""
        check_libraries()
        from invnas.tasks.detection.drawing import picture

        return picture(network, images, targets, facts)

    def answers(
        self, network: nn.Module, images: torch.Tensor, names: Sequence[str], seen: Sequence[Seen]
    ) -> Iterator[BoxPrediction]:
        """Yield the objects of each image, in pixels of the image as it was given."""
        check_libraries()
        from invnas.tasks.detection.answers import detections

        return detections(network, images, names, seen)

    def postprocessing(self, network: nn.Module, input_shape: tuple[int, int, int]) -> Postprocessing | None:
        """Return what makes boxes of the numbers of a network, for its exports; None where that is a second stage."""
        from invnas.tasks.detection.anchors import postprocessing_of

        return postprocessing_of(network, input_shape)

    def output(self, facts: DataFacts) -> str:
        """Return what the numbers are."""
        return (
            "for each anchor scores before a sigmoid and four offsets; of a detector of two stages the score of an "
            "object, and what its other heads make of regions is not in the graph, their weights alone are exported"
        )

    def describe(self, facts: DataFacts) -> Mapping[str, str]:
        """Return the number of classes."""
        return {"classes": str(facts.classes)}


def check_libraries() -> None:
    """Raise MissingExtra unless torchvision, which trains, and faster-coco-eval, which measures, are installed."""
    for module, package in (("torchvision", "torchvision"), ("faster_coco_eval", "faster-coco-eval")):
        try:
            importlib.import_module(module)
        except ImportError:
            raise MissingExtra(package, "detection") from None
