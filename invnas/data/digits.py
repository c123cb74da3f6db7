"""The digits that scikit-learn ships, and a harder task made from them."""

from __future__ import annotations

import numpy as np
import torch

from invnas.data.module import ImageDataModule, Splits
from invnas.data.split import seed_of
from invnas.data.tensors import TensorImages

_NOISE = 0.15  # standard deviation on the 0..1 scale
_OCCLUDER = 2  # side in pixels


class Digits(ImageDataModule):
    """1,797 handwritten digits, 8x8, one channel, ten classes; nothing to download.

    Args:
        batch_size: Images of a batch, at least 2.
        seed: Seed of the splits and of the order.
        validation_share: Share of each class held out for the search.
        test_share: Share of each class held out for the test.
    """

    def __init__(
        self, batch_size: int = 64, seed: int = 0, validation_share: float = 0.2, test_share: float = 0.2
    ) -> None:
        super().__init__(batch_size, seed, validation_share, test_share)

    def open_splits(self) -> Splits:
        """Return all images as one set, to be split."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = self._prepare((digits.images / 16).astype(np.float32))
        labels = torch.from_numpy(digits.target.astype(np.int64))
        names = tuple(str(name) for name in digits.target_names)
        return Splits(
            "the digits data set", 10, names, TensorImages(torch.from_numpy(images)[:, None], labels, span=(0.0, 1.0))
        )

    def _prepare(self, images: np.ndarray) -> np.ndarray:
        return images


class HardDigits(Digits):
    """The digits shifted by up to one pixel, with a 2x2 occluder and noise of 0.15.

    Every image is spoilt once, by `seed`: the data set is the same in every process and every epoch. Plain digits
    saturate (any small network reaches 95 %); here networks differ.
    """

    def _prepare(self, images: np.ndarray) -> np.ndarray:
        return spoil(images, np.random.default_rng(seed_of(self.seed, 4)))


def spoil(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift, occlude and add noise to images (N, H, W) in 0..1."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    each = np.arange(count)[:, None, None]
    rows = np.arange(height) + rng.integers(0, 3, (count, 1))
    columns = np.arange(width) + rng.integers(0, 3, (count, 1))
    shifted = padded[each, rows[:, :, None], columns[:, None, :]]
    side = np.arange(_OCCLUDER)
    top = rng.integers(0, height - _OCCLUDER + 1, (count, 1)) + side
    left = rng.integers(0, width - _OCCLUDER + 1, (count, 1)) + side
    shifted[each, top[:, :, None], left[:, None, :]] = 0
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    return (shifted + _NOISE * noise).astype(np.float32)
