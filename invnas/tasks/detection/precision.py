"""Mean average precision, as COCO defines it, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

#: A pixel belongs to a mask from this on.
_INSIDE = 0.5


class Precision:
    """Objects and detections of images, and the mean average precision of these.

    It is the mean over classes that are there and over overlaps of 0.5, 0.55, ..., 0.95; at most 100 detections of an
    image count.

    Args:
        classes: Number of classes.
        masks: Whether masks overlap, and not boxes.

    Attributes:
        by_class: What `compute` has last found of each class; None where no object is of it.
    """

    def __init__(self, classes: int, masks: bool = False) -> None:
        self.classes, self.masks = classes, masks
        self.by_class: tuple[float | None, ...] = ()
        self._images: list[dict[str, Any]] = []
        self._objects: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def update(self, found: Any, objects: Any) -> None:
        """Add the detections of some images, and their objects, as the task has them."""
        for detections, truth in zip(found, objects, strict=True):
            image = len(self._images) + 1  # what has the number 0 matches nothing
            height, width = truth["masks"].shape[-2:] if self.masks else (0, 0)  # asked for where masks are judged
            self._images.append({"id": image, "height": height, "width": width})
            for one in self._entries(truth, image):
                self._objects.append({**one, "id": len(self._objects) + 1, "iscrowd": 0})
            scores = detections["scores"].tolist()
            entries = self._entries(detections, image)
            self._found += [{**one, "score": score} for one, score in zip(entries, scores, strict=True)]

    def compute(self) -> dict[str, float]:
        """Return "map" and "map50", that at an overlap of 0.5, and begin anew; 0 where there are no objects."""
        from faster_coco_eval import COCO, COCOeval_faster

        categories = [{"id": one, "name": str(one)} for one in range(self.classes)]
        truth = COCO({"images": self._images, "annotations": self._objects, "categories": categories})
        judge = COCOeval_faster(
            truth, truth.loadRes(self._found), "segm" if self.masks else "bbox", print_function=lambda *_: None
        )
        self._images, self._objects, self._found = [], [], []
        if truth.anns:
            judge.evaluate()
            judge.accumulate()
            # (overlaps, recalls, classes), of objects of any size; -1 where there are none.
            precision = np.asarray(judge.eval["precision"])[..., 0, -1]
        else:
            precision = np.full((1, 1, self.classes), -1.0)
        each = [_mean(precision[:, :, one]) for one in range(self.classes)]
        self.by_class = tuple(None if one is None else float(f"{one:.3g}") for one in each)
        return {"map": _mean(precision) or 0.0, "map50": _mean(precision[0]) or 0.0}

    def _entries(self, told: Any, image: int) -> Iterator[dict[str, Any]]:
        from faster_coco_eval.core.mask import encode

        boxes = told["boxes"].detach().float().cpu()
        sides = boxes[:, 2:] - boxes[:, :2]
        labels = told["labels"].tolist()
        masks = _binary(told["masks"]) if self.masks else [None] * len(labels)
        for (left, top), (width, height), label, mask in zip(
            boxes[:, :2].tolist(), sides.tolist(), labels, masks, strict=True
        ):
            entry: dict[str, Any] = {"image_id": image, "category_id": label, "area": width * height}
            if mask is None:
                yield {**entry, "bbox": [left, top, width, height]}
            else:
                yield {**entry, "area": float(mask.sum()), "segmentation": encode(np.asfortranarray(mask))}


def _binary(masks: torch.Tensor) -> list[np.ndarray]:
    """Return masks, each (H, W) of 0 and 1; detections have (n, 1, H, W) of what a pixel is believed to be."""
    if masks.dim() == 4:
        masks = masks[:, 0]
    inside = masks >= _INSIDE if masks.is_floating_point() else masks != 0
    return list(inside.cpu().numpy().astype(np.uint8))


def _mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
