"""How an image of any size becomes the square that a network sees: what is the same every time, then what is drawn."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from invnas.data.normalisation import Normalisation
from invnas.data.pictures import stacked, to_array
from invnas.data.policy import policy_of
from invnas.data.preparing import centre, scaled
from invnas.errors import BadInput
from invnas.preprocessing import CENTRE, Preprocessing

_LONGEST = 4 / 3  # sides of a random crop lie between 3:4 and 4:3


@dataclass(frozen=True)
class Frame:
    """How an image of any size becomes a square.

    Attributes:
        size: Side of the square in pixels.
        channels: 1 or 3.
        flip: Mirror training images left to right, half of the time.
        smallest_crop: Smallest share of the area that a random crop of a training image keeps; 1 crops at the centre.
        policy: What else is done to shape and tones of training images, by name: see `invnas.data.policy`.
    """

    size: int
    channels: int
    flip: bool = True
    smallest_crop: float = 0.08
    policy: str = "none"

    def __post_init__(self) -> None:
        policy_of(self.policy)
        if not 0 < self.smallest_crop <= 1:
            raise BadInput(f"`smallest_crop` must lie in (0, 1], but got {self.smallest_crop}")

    @property
    def preprocessing(self) -> Preprocessing:
        """What evaluation does, without the normalisation."""
        return Preprocessing((self.size, self.size), self.channels, CENTRE)

    def training(self, image: Image.Image, rng: random.Random) -> np.ndarray:
        """Return a random part of the image, scaled, mirrored half of the time, changed by the policy: (H, W, C)."""
        return self.drawn(self.still(image, training=True), rng)

    def still(self, image: Image.Image, training: bool) -> Image.Image:
        """Return what becomes of an image before anything is drawn."""
        return image if training and self.smallest_crop < 1 else self.evaluation(image)

    def drawn(self, still: Image.Image, rng: random.Random) -> np.ndarray:
        """Return what is drawn for training of an image that is `still`: (H, W, C)."""
        pixels = to_array(self._moved(still, rng), self.channels)
        policy = policy_of(self.policy)
        if policy is None:
            return pixels
        draws = policy.draw(1, torch.Generator().manual_seed(rng.getrandbits(63)))
        changed = policy.apply(Normalisation.to_unit(stacked([pixels])), draws)
        return changed[0].permute(1, 2, 0).numpy()

    def _moved(self, image: Image.Image, rng: random.Random) -> Image.Image:
        if self.smallest_crop < 1:
            image = scaled(image, (self.size, self.size), self._random_box(image.size, rng))
        return ImageOps.mirror(image) if self.flip and rng.random() < 0.5 else image

    def evaluation(self, image: Image.Image) -> Image.Image:
        """Return the centre of the image, scaled."""
        return centre(image, self.preprocessing)

    def _random_box(self, size: tuple[int, int], rng: random.Random) -> tuple[float, float, float, float]:
        share = rng.uniform(self.smallest_crop, 1)
        ratio = math.exp(rng.uniform(-math.log(_LONGEST), math.log(_LONGEST)))
        # A box that sticks out is clipped: that happens to large crops only, and needs no second draw.
        width = min(math.sqrt(size[0] * size[1] * share * ratio), size[0])
        height = min(math.sqrt(size[0] * size[1] * share / ratio), size[1])
        left, top = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
        return left, top, left + width, top + height
