"""Objects as a detector takes them: anything else is told before training."""

from __future__ import annotations

from typing import Any

import torch

from invnas.errors import BadInput


def check_objects(targets: Any, images: int, size: tuple[int, int], classes: int) -> None:
    """Raise BadInput unless the objects of a batch can be learned from (or judged by).

    Args:
        targets: For each image a dict with "boxes" (n, 4), "labels" (n,) and, if it likes, "masks" (n, H, W).
        images: How many there are in the batch.
        size: Height and width of the images.
        classes: Number of classes.
    """
    if not isinstance(targets, list | tuple) or not all(isinstance(one, dict) for one in targets):
        raise BadInput(
            "the targets of detection must be a list with a dict for each image, of `boxes`, `labels` and perhaps "
            f"`masks`, but are of type {_kind(targets)}"
        )
    if len(targets) != images:
        raise BadInput(f"a batch of {images} images has the objects of {len(targets)}")
    for one in targets:
        for name in ("boxes", "labels"):
            if not isinstance(one.get(name), torch.Tensor):
                names = ", ".join(map(str, one)) or "nothing"
                raise BadInput(f"each dict of objects must have a tensor `{name}`, but one has {names}")
        _check_boxes(one["boxes"], size)
        _check_labels(one["labels"], len(one["boxes"]), classes)
        masks = one.get("masks")
        if masks is not None and tuple(masks.shape) != (len(one["boxes"]), *size):
            raise BadInput(
                f"`masks` must have the shape {(len(one['boxes']), *size)}, a mask for each object, but have "
                f"{tuple(masks.shape)}"
            )


def _check_boxes(boxes: torch.Tensor, size: tuple[int, int]) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise BadInput(
            f"`boxes` must be fractional numbers of the shape (objects, 4), but are {boxes.dtype} {tuple(boxes.shape)}"
        )
    height, width = size
    inside = torch.tensor([width, height, width, height], device=boxes.device)
    odd = ~((boxes >= 0) & (boxes <= inside)).all(1) | (boxes[:, 2:] <= boxes[:, :2]).any(1)  # not a number is odd, too
    if bool(odd.any()):
        box = [float(f"{one:.4g}") for one in boxes[odd][0].tolist()]
        raise BadInput(
            f"the box {box} must be left, top, right and bottom in pixels of an image of {width} x {height}, right "
            "beyond left and bottom beyond top"
        )


def _check_labels(labels: torch.Tensor, objects: int, classes: int) -> None:
    if labels.dtype != torch.int64 or tuple(labels.shape) != (objects,):
        raise BadInput(
            f"`labels` must be int64 numbers of the shape ({objects},), one for each box, but are {labels.dtype} "
            f"{tuple(labels.shape)}"
        )
    odd = labels[(labels < 0) | (labels >= classes)]
    if len(odd):
        raise BadInput(
            f"an object has the class {int(odd[0])}, but with {classes} classes they must lie in 0..{classes - 1}; "
            "background is no class"
        )


def _kind(targets: Any) -> str:
    inner = next((type(one).__name__ for one in targets), "") if isinstance(targets, list | tuple) else ""
    return f"{type(targets).__name__}{f' of {inner}' if inner else ''}"
