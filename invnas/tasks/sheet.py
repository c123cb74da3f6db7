"""Pictures of what networks find: images of a batch in their colours, side by side and in rows."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from invnas.facts import DataFacts

#: Images that are drawn side by side; pixels between them.
IMAGES, _GAP = 6, 4


def colours(images: torch.Tensor, facts: DataFacts) -> list[np.ndarray]:
    """Return images (B, C, H, W), as a network sees them, as (H, W, 3) uint8; mean and deviation give the colours."""
    images = images.float().cpu()
    if facts.normalisation is not None:
        mean, std = (torch.tensor(facts.normalisation[name])[:, None, None] for name in ("mean", "std"))
        images = images * std + mean
    else:
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        images = (images - low) / (high - low).clamp(min=1e-6)
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return list(pixels if pixels.shape[3] == 3 else np.repeat(pixels[..., :1], 3, 3))


def enlarged(pixels: np.ndarray, least: int) -> np.ndarray:
    """Return an image (H, W, 3) a whole number of times as large, its shorter side at least so many pixels."""
    times = max(1, -(-least // min(pixels.shape[:2])))
    return np.repeat(np.repeat(pixels, times, 0), times, 1)


def pasted(rows: list[list[np.ndarray]]) -> Image.Image:
    """Return images (H, W, 3) of one size in rows."""
    height, width = rows[0][0].shape[:2]
    size = ((width + _GAP) * len(rows[0]) - _GAP, (height + _GAP) * len(rows) - _GAP)
    sheet = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, one in enumerate(row):
            sheet.paste(Image.fromarray(np.ascontiguousarray(one)), (x * (width + _GAP), y * (height + _GAP)))
    return sheet
