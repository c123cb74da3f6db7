"""Masks as a segmenter takes them: what can be taken as meant is taken, anything else is told before training."""

from __future__ import annotations

from typing import Any

import torch

from invnas.errors import BadInput
from invnas.masks import IGNORED


def as_mask(masks: Any, size: tuple[int, int]) -> torch.Tensor:
    """Return masks as (B, H, W) int64; costs nothing where they are that already.

    Args:
        masks: (B, H, W) or (B, 1, H, W) whole numbers of any type.
        size: Height and width of the images.

    Raises:
        BadInput: If they are something else; which classes there are is not looked at.
    """
    if not isinstance(masks, torch.Tensor):
        raise BadInput(f"the masks must be a tensor of whole numbers, but are of type {type(masks).__name__}")
    if masks.dim() == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.dim() != 3 or tuple(masks.shape[1:]) != tuple(size):
        raise BadInput(
            f"the masks must be one class for each pixel, (batch, {size[0]}, {size[1]}), but have the shape "
            f"{tuple(masks.shape)}"
        )
    if masks.dtype.is_complex or (masks.is_floating_point() and not bool((masks == masks.round()).all())):
        raise BadInput("the masks must be whole numbers, but are not")
    return masks if masks.dtype == torch.int64 else masks.long()


def check_masks(masks: Any, images: int, size: tuple[int, int], classes: int) -> None:
    """Raise BadInput unless the masks of a batch can be learned from (or judged by): form, number and range."""
    found = as_mask(masks, size)
    if len(found) != images:
        raise BadInput(f"a batch of {images} images has {len(found)} masks")
    odd = found[((found < 0) | (found >= classes)) & (found != IGNORED)]
    if len(odd):
        raise BadInput(
            f"a mask holds the class {int(odd[0])} ({len(odd):,} pixels of the batch are no class), but with {classes} "
            f"classes they must lie in 0..{classes - 1}, or be {IGNORED} where a pixel is ignored"
        )
