"""Random flip, crop, policy and cutout of a whole batch at once, by torch operations on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from invnas.data.normalisation import Normalisation
from invnas.data.policy import policy_of
from invnas.errors import BadInput
from invnas.rules import LARGEST, check_whole


@dataclass(frozen=True)
class Augment:
    """Which random changes a training image gets.

    Attributes:
        flip: Mirror left to right, half of the time.
        crop: Pixels of zero padding on each side, from which the old size is cropped; 0 turns it off.
        cutout: Side in pixels of a square set to zero after normalisation; 0 turns it off.
        policy: What else is done to its shape and tones, by name: see `invnas.data.policy`.
    """

    flip: bool = False
    crop: int = 0
    cutout: int = 0
    policy: str = "none"

    def __post_init__(self) -> None:
        policy_of(self.policy)
        for name in ("crop", "cutout"):
            check_whole(name, getattr(self, name), 0, LARGEST)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
        """Draw the random numbers of `count` images of (height, width), on the CPU.

        All numbers of an epoch are drawn at once and away from the device, so that a GPU trains on the same batches.

        Returns:
            (count, 5 or more) int64: mirrored, rows and columns of the crop, top and left of the cutout, the policy.

        Raises:
            BadInput: The cutout is larger than the image.
        """
        if self.cutout > min(size):
            raise BadInput(f"`cutout` must fit into the image of {size[0]}x{size[1]}, but got {self.cutout}")
        above = (
            2 if self.flip else 1,
            2 * self.crop + 1,
            2 * self.crop + 1,
            size[0] - self.cutout + 1,
            size[1] - self.cutout + 1,
        )
        drawn = torch.stack([torch.randint(high, (count,), generator=generator) for high in above], dim=1)
        policy = policy_of(self.policy)
        return drawn if policy is None else torch.cat([drawn, policy.draw(count, generator)], dim=1)

    def move(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Flip and crop images (B, C, H, W) of any dtype by draws (B, 5 or more); keeps the shape."""
        if not (self.flip or self.crop):
            return images
        height, width = images.shape[2:]
        device = images.device
        columns = torch.arange(width, device=device).expand(len(images), width)
        columns = torch.where(draws[:, :1] == 1, columns.flip(1), columns) + draws[:, 2:3]
        rows = torch.arange(height, device=device) + draws[:, 1:2]
        padded = F.pad(images, (self.crop,) * 4)
        each = torch.arange(len(images), device=device)[:, None, None]
        # One gather does both moves; its result is (B, H, W, C), which is what channels_last means.
        return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def change(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Do what the policy says to images (B, C, H, W), uint8 or float in 0..1; with a policy they become float."""
        policy = policy_of(self.policy)
        return images if policy is None else policy.apply(Normalisation.to_unit(images), draws[:, 5:])

    def cut(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Set a square of each normalised image (B, C, H, W) to zero, the mean colour."""
        if not self.cutout:
            return images
        hole = _inside(draws[:, 3], self.cutout, images.shape[2])[:, :, None]
        hole = hole & _inside(draws[:, 4], self.cutout, images.shape[3])[:, None, :]
        return images.masked_fill(hole[:, None], 0)


def _inside(start: torch.Tensor, length: int, size: int) -> torch.Tensor:
    offset = torch.arange(size, device=start.device) - start[:, None]
    return (offset >= 0) & (offset < length)
