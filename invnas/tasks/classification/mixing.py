"""Two images in one, with a share of both labels: mixup and cutmix.

Sources: Zhang et al., "mixup: Beyond empirical risk minimization", 2018; Yun et al., "CutMix: Regularization strategy
to train strong classifiers with localizable features", 2019.
"""

from __future__ import annotations

import numpy as np
import torch


def mixed(
    images: torch.Tensor, shares: torch.Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image of a batch with another of it.

    One share is drawn for the batch, and with both kinds which of them it is. All is drawn on the CPU, so that a GPU
    trains on the same batches.

    Args:
        images: (B, C, H, W), floating point; left as they are.
        shares: Shares of classes of each image, (B, classes).
        mixup: Alpha of the Beta of its share; 0 is off.
        cutmix: The same; one of them is above 0.
        rng: Draws.

    Returns:
        Images and shares of the same shapes.
    """
    cuts = cutmix > 0 and (mixup <= 0 or rng.random() < 0.5)
    alpha = cutmix if cuts else mixup
    kept = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    if cuts:
        images, kept = _cut(images, other, kept, rng)
    else:
        images = images * kept + images[other] * (1 - kept)
    return images, shares * kept + shares[other] * (1 - kept)


def _cut(
    images: torch.Tensor, other: torch.Tensor, kept: float, rng: np.random.Generator
) -> tuple[torch.Tensor, float]:
    """Paste a rectangle of the others; it is clipped at the edge, and the share that is kept is that of its pixels."""
    height, width = images.shape[2:]
    side = (1 - kept) ** 0.5
    (top, bottom), (left, right) = _span(height, side, rng), _span(width, side, rng)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    middle, half = int(rng.integers(length)), int(share * length) // 2
    return max(middle - half, 0), min(middle + half, length)
