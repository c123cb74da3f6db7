"""torchvision where its compiled operators are for another torch: what a detector needs of them, in torch alone.

Only tests use it. A torchvision that works is taken as it is.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import torch


def missing() -> str:
    """Return why torchvision cannot be had here; empty once it is imported."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return "torchvision is not installed: pip install --no-deps --target FOLDER torchvision, PYTHONPATH=FOLDER"
    loose = prepare(Path(found.origin).parent)
    import torchvision  # noqa: F401

    if loose:
        replace()
    return ""


def unmeasured() -> str:
    """Return why detections cannot be measured here; empty where they can."""
    lacks = importlib.util.find_spec("faster_coco_eval") is None
    return "faster-coco-eval is not installed, see CONTRIBUTING.md" if lacks else ""


def _compiled(folder: Path) -> bool:
    if "torchvision" in {name.split("::")[0] for name in torch._C._dispatch_get_all_op_names()}:
        return True
    try:
        torch.ops.load_library(next(folder.glob("_C*")))
    except (OSError, StopIteration):
        return False
    return True


def prepare(folder: Path) -> bool:
    """Define what torchvision in a folder needs to be imported, and return whether it was needed."""
    if _compiled(folder):
        return False
    library = torch.library.Library("torchvision", "DEF")
    torch.library.loose_torchvision = library  # type: ignore[attr-defined]  # operators go with it, and it with a module
    library.define("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")  # asked for, never called
    library.impl("nms", nms, "CPU")
    return True


def replace() -> None:
    """Put in what torchvision, once imported, calls."""
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True  # type: ignore[assignment]
    # torchvision's own in torch is made to be compiled: uncompiled it takes minutes for the masks of a batch.
    importlib.import_module("torchvision.ops.roi_align")._roi_align = roi_align


def roi_align(
    maps: torch.Tensor, regions: torch.Tensor, scale: float, height: int, width: int, samples: int, aligned: bool
) -> torch.Tensor:
    """Return the map (C, height, width) of each region (image, left, top, right, bottom)."""
    shift = 0.5 if aligned else 0.0
    low, high = (regions[:, 1:3] * scale - shift), (regions[:, 3:] * scale - shift)
    extent = high - low if aligned else (high - low).clamp(min=1)
    found = [maps.new_zeros((0, maps.shape[1], height, width))]
    for image, (left, top), (wide, tall) in zip(regions[:, 0].long(), low, extent, strict=True):
        rows = _weights(top, tall, height, samples, maps.shape[2])
        columns = _weights(left, wide, width, samples, maps.shape[3])
        found.append((rows.to(maps.dtype) @ maps[image] @ columns.T.to(maps.dtype))[None])
    return torch.cat(found)


def _weights(start: torch.Tensor, extent: torch.Tensor, bins: int, samples: int, size: int) -> torch.Tensor:
    """Return how much each of `size` pixels counts in each bin, (bins, size): the mean of samples between pixels."""
    each = samples if samples > 0 else max(1, math.ceil(extent / bins))
    places = start + (torch.arange(bins * each, dtype=start.dtype) + 0.5) * extent / (bins * each)
    near = 1 - (places.clamp(0, size - 1)[:, None] - torch.arange(size)).abs()
    return near.clamp(min=0).reshape(bins, each, size).mean(1)


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of boxes that no kept one of a higher score overlaps more than so, best first."""
    order = scores.argsort(descending=True, stable=True)
    sorted_boxes = boxes[order]
    low = torch.maximum(sorted_boxes[:, None, :2], sorted_boxes[None, :, :2])
    high = torch.minimum(sorted_boxes[:, None, 2:], sorted_boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = (sorted_boxes[:, 2:] - sorted_boxes[:, :2]).prod(1)
    overlaps = (shared / (areas[:, None] + areas[None, :] - shared) > iou_threshold).numpy()
    kept: list[int] = []
    for one in range(len(order)):
        if not overlaps[one, kept].any():
            kept.append(one)
    return order[kept]
