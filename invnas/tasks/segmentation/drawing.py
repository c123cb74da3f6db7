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
from invnas.tasks.sheet import IMAGES, colours, enlarged, pasted

#: Pixels of the shorter side that small images are enlarged to.
_LEAST = 96


def picture(network: nn.Module, images: torch.Tensor, masks: Any, facts: DataFacts) -> Image.Image:
    """Return three rows: images, their masks, and what a network finds in them.

    Args:
        network: (B, C, H, W) -> (B, classes, H, W), in eval mode.
        images: (B, C, H, W), as the network sees them; the first six are drawn.
        masks: (B, H, W).
        facts: What is known of the images; their mean and deviation bring the colours back.
    """
    images = images[:IMAGES].float().cpu()
    truth = as_mask(masks, (images.shape[2], images.shape[3]))[:IMAGES].cpu()
    weight = next(network.parameters(), images)
    with torch.no_grad():
        found = network(images.to(weight.device, weight.dtype)).argmax(dim=1).cpu()
    found = torch.where(truth == IGNORED, truth, found)
    rows = [colours(images, facts), _palette(truth), _palette(found)]
    return pasted([[enlarged(one, _LEAST) for one in row] for row in rows])


def _palette(masks: torch.Tensor) -> list[np.ndarray]:
    table = np.array(palette(), np.uint8).reshape(256, 3)
    table[IGNORED] = 255
    return list(table[masks.numpy()])
