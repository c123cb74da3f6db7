"""Pictures of bright rectangles on black, one of a colour, that of its class: what boxes should be can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

#: Left, top, width, height and class.
Drawn = tuple[int, int, int, int, int]

_SMALL = 3  # pixels of a side: less has no pixel of its full colour


def picture(width: int, height: int, boxes: list[Drawn]) -> Image.Image:
    """Return a black picture with rectangles: of class 0 red, of 1 green, of 2 blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for left, top, across, down, label in boxes:
        pixels[top : top + down, left : left + across, label] = 250
    return Image.fromarray(pixels)


def some_boxes(width: int, height: int, rng: np.random.Generator) -> list[Drawn]:
    """Return a rectangle in the left half, and perhaps one of another class in the right half."""
    labels = rng.permutation(3)
    boxes = []
    for number, start in enumerate((0, width // 2)):
        across, down = int(rng.integers(5, width // 2 - 1)), int(rng.integers(5, height - 1))
        left, top = start + int(rng.integers(0, width // 2 - across)), int(rng.integers(0, height - down))
        if number == 0 or rng.random() < 0.7:
            boxes.append((left, top, across, down, int(labels[number])))
    return boxes


def agreeing(images: torch.Tensor, targets: Any, data: Any) -> int:
    """Assert that boxes, and masks where there are some, lie where their colour does; return how many were seen."""
    count = 0
    mean, std = (torch.tensor(one)[:, None, None] for one in (data.normalisation.mean, data.normalisation.std))
    for image, target in zip(images, targets, strict=True):
        bright = (image * std + mean) * 255 > 125
        for number, (box, label) in enumerate(zip(target["boxes"], target["labels"].tolist(), strict=True)):
            if (box[2:] - box[:2]).min() < _SMALL:
                continue
            rows, columns = (bright[label].any(axis).nonzero()[:, 0] for axis in (1, 0))
            there = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert (there - box).abs().max() <= 1.01, (there, box)
            if "masks" in target:
                mask = target["masks"][number]
                border = (mask != bright[label]).sum()
                assert border <= 2 * (box[2:] - box[:2]).sum() + 4
                assert mask.any()
            count += 1
    return count
