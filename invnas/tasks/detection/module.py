"""How a detector learns and is measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from invnas.errors import TrialFailed
from invnas.experiment import Recipe
from invnas.learner import Learner
from invnas.tasks.detection.assembly import detector_of, first_label
from invnas.tasks.detection.precision import Precision


class Detector(Learner):
    """The losses of torchvision's RetinaNet, Faster R-CNN or Mask R-CNN, added; then mean average precision.

    Batches are pairs (images, targets), for each image a dict with "boxes" (n, 4) in pixels (left, top, right, bottom),
    "labels" (n,), 0 for the first class, and, where the network makes masks, "masks" (n, H, W).

    Args:
        network: Of a DenseNet with a RetinaHead or with RCNNHeads.
        input_shape: (channels, height, width) of an image.
        classes: Number of classes.
        recipe: How to train it.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int], classes: int, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        # In a tuple: its layers are those of the network, and are not registered twice.
        self._detector = (detector_of(network, input_shape),)
        self.masks = getattr(network.head.layers, "mask", None) is not None  # type: ignore[union-attr]
        self.first = first_label(network)
        self.precision_of_boxes = Precision(classes)
        self.precision_of_masks = Precision(classes, masks=True) if self.masks else None

    def forward(self, images: torch.Tensor) -> Any:
        """Return the detections of images: for each a dict of "boxes", "labels", "scores" and perhaps "masks"."""
        found = self._run(False, images)
        return [{**one, "labels": one["labels"] - self.first} for one in found]

    def loss_of(self, images: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the sum of the losses of a batch."""
        self._check_masks(targets)
        losses = self._run(True, images, [{**one, "labels": one["labels"] + self.first} for one in targets])
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def _run(self, learning: bool, images: torch.Tensor, targets: Any = None) -> Any:
        # Who sets the mode of this module does not reach what torchvision has around the network, and is told here.
        detector, inner = self._detector[0], set(self.network.modules())
        for one in detector.modules():
            if one not in inner:
                one.training = learning
        return detector(list(images.to(self.dtype)), targets)

    def measure(self, outputs: Any, targets: Any) -> None:
        """Add a batch to the metrics."""
        self._check_masks(targets)
        self.precision_of_boxes.update(outputs, targets)
        if self.precision_of_masks is not None:
            self.precision_of_masks.update(outputs, targets)

    def measured(self) -> dict[str, float]:
        """Return what `Detection.objectives` names."""
        boxes = self.precision_of_boxes.compute()
        masks = 0.0 if self.precision_of_masks is None else self.precision_of_masks.compute()["map"]
        return {**boxes, "mask_map": masks}

    def class_values(self) -> tuple[float | None, ...]:
        """Return the average precision of the boxes of each class; None where no object is of it."""
        return self.precision_of_boxes.by_class

    def _check_masks(self, targets: Any) -> None:
        if self.masks and any("masks" not in one for one in targets):
            raise TrialFailed(
                "the network has a mask head, but the objects of an image have no `masks`: take RCNNHeads(mask=None), "
                "or `masks: true` of CocoFiles and BoxFolder"
            )
