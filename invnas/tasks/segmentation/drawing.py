"""The picture of what a segmenter finds in some images, beside the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from invnas.facts import DataFacts
from invnas.masks import IGNORED, palette
from invnas.tasks.segmentation.labels import as_mask

#: Images that are drawn, side by side; pixels of the shorter side that small ones are enlarged to; pixels between them.
_IMAGES, _LEAST, _GAP = 6, 96, 4


def picture(network: nn.Module, images: torch.Tensor, masks: Any, facts: DataFacts) -> Image.Image:
    """Return three rows: images, their masks, and what a network finds in them.

    Args:
        network: (B, C, H, W) -> (B, classes, H, W), in eval mode.
        images: (B, C, H, W), as the network sees them; the first six are drawn.
        masks: (B, H, W).
        facts: What is known of the images; their mean and deviation bring the colours back.
    """
    images = images[:_IMAGES].float().cpu()
    truth = as_mask(masks, (images.shape[2], images.shape[3]))[:_IMAGES].cpu()
    weight = next(network.parameters(), images)
    with torch.no_grad():
        found = network(images.to(weight.device, weight.dtype)).argmax(dim=1).cpu()
    found = torch.where(truth == IGNORED, truth, found)
    rows = [_colours(images, facts), _palette(truth), _palette(found)]
    times = max(1, -(-_LEAST // min(images.shape[2:])))
    return _pasted([[np.repeat(np.repeat(one, times, 0), times, 1) for one in row] for row in rows])


def _colours(images: torch.Tensor, facts: DataFacts) -> list[np.ndarray]:
    if facts.normalisation is not None:
        mean, std = (torch.tensor(facts.normalisation[name])[:, None, None] for name in ("mean", "std"))
        images = images * std + mean
    else:
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        images = (images - low) / (high - low).clamp(min=1e-6)
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return list(pixels if pixels.shape[3] == 3 else np.repeat(pixels[..., :1], 3, 3))


def _palette(masks: torch.Tensor) -> list[np.ndarray]:
    table = np.array(palette(), np.uint8).reshape(256, 3)
    table[IGNORED] = 255
    return list(table[masks.numpy()])


def _pasted(rows: list[list[np.ndarray]]) -> Image.Image:
    height, width = rows[0][0].shape[:2]
    size = ((width + _GAP) * len(rows[0]) - _GAP, (height + _GAP) * len(rows) - _GAP)
    sheet = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            sheet.paste(Image.fromarray(np.ascontiguousarray(one)), (x * (width + _GAP), y * (height + _GAP)))
    return sheet
