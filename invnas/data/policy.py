"""TrivialAugment and RandAugment for batches: of each image some operations, each of a strength of its own.

Sources: Müller and Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation", 2021 (the wide space);
Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2020. What operations do
to a tone is what Pillow does; images of any depth keep their tones where an operation does not cut them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from invnas.errors import BadInput, nearest, shown

#: Strengths are drawn from so many levels, from nothing to all.
LEVELS = 31


@dataclass(frozen=True)
class Policy:
    """What is done to a training image.

    Attributes:
        operations: How many operations, one after the other.
        level: The strength of each, 0 to 30; None draws it.
        shear: Largest shear, as the tangent of its angle.
        shift: Largest shift, as a share of the side.
        pixels: Largest shift in pixels, if that is less.
        turn: Largest rotation in degrees.
        blend: Largest step of brightness, colour, contrast and sharpness away from 1.
        bits: Bits that posterising leaves at least.
    """

    operations: int
    level: int | None
    shear: float
    shift: float
    pixels: float
    turn: float
    blend: float
    bits: int

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return what is done to `count` images: (count, 3 x operations) int64, each operation, level and sign."""
        above = (len(_OPERATIONS), LEVELS, 2)
        drawn = [torch.randint(high, (count,), generator=generator) for high in above * self.operations]
        if self.level is not None:
            drawn[1::3] = [torch.full((count,), self.level)] * self.operations
        return torch.stack(drawn, dim=1)

    def apply(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, H, W), float in 0..1, after the operations of draws (B, 3 x operations)."""
        images = images.clone()
        for which, level, sign in draws.T.reshape(self.operations, 3, -1):
            strengths = level / (LEVELS - 1)
            signs = 1.0 - 2.0 * sign
            for number, (operation, largest) in enumerate(_OPERATIONS.values()):
                chosen = torch.nonzero(which == number).flatten()
                if len(chosen) and operation is not None:
                    most = 1.0 if largest is None else float(getattr(self, largest))
                    amounts = most * strengths[chosen]
                    changed = operation(self, images[chosen], amounts, signs[chosen])
                    images[chosen] = changed.to(images.dtype)
        return images

    def _shifted(self, images: torch.Tensor, side: int) -> float:
        return min(self.pixels / images.shape[side] / self.shift, 1.0)


POLICIES: Mapping[str, Policy | None] = {
    "none": None,
    "trivial": Policy(1, None, shear=0.99, shift=0.45, pixels=32, turn=135, blend=0.99, bits=2),
    "rand": Policy(2, 9, shear=0.3, shift=0.45, pixels=math.inf, turn=30, blend=0.9, bits=4),
}


def policy_of(name: str) -> Policy | None:
    """Return a policy by name; None where nothing is done.

    Raises:
        BadInput: If there is none of that name.
    """
    if not isinstance(name, str) or name not in POLICIES:
        near = nearest(str(name), POLICIES)
        raise BadInput(f"`augment` must be one of {', '.join(POLICIES)}, but got {shown(name)}; {near}")
    return POLICIES[name]


def _each(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def _warped(images: torch.Tensor, rows: list[list[torch.Tensor | float]]) -> torch.Tensor:
    """Return images whose pixel at (x, y) from the centre comes from rows times (x, y, 1), in pixels; black outside."""
    height, width = images.shape[2:]
    like = images.new_ones(len(images))
    (a, b, c), (d, e, f) = [[like * one for one in row] for row in rows]
    theta = torch.stack(
        [
            torch.stack([a, b * (height / width), 2 * c / width], dim=1),
            torch.stack([d * (width / height), e, 2 * f / height], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _shear_x(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return _warped(images, [[1.0, amounts * signs, 0.0], [0.0, 1.0, 0.0]])


def _shear_y(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return _warped(images, [[1.0, 0.0, 0.0], [amounts * signs, 1.0, 0.0]])


def _shift_x(how: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    pixels = torch.round(amounts * how._shifted(images, 3) * images.shape[3]) * signs
    return _warped(images, [[1.0, 0.0, pixels], [0.0, 1.0, 0.0]])


def _shift_y(how: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    pixels = torch.round(amounts * how._shifted(images, 2) * images.shape[2]) * signs
    return _warped(images, [[1.0, 0.0, 0.0], [0.0, 1.0, pixels]])


def _turned(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    angle = torch.deg2rad(amounts * signs)
    return _warped(images, [[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])


def _grey(images: torch.Tensor) -> torch.Tensor:
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    share = images.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    return (images * share).sum(dim=1, keepdim=True)


def _blended(images: torch.Tensor, other: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """Return what lies at 1 on the way from another image to each, beyond it by the amount or before it."""
    return (other + (images - other) * _each(1 + amounts * signs)).clamp(0, 1)


def _brightness(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return _blended(images, torch.zeros_like(images), amounts, signs)


def _colour(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return _blended(images, _grey(images), amounts, signs)


def _contrast(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    return _blended(images, _grey(images).mean(dim=(2, 3), keepdim=True), amounts, signs)


def _sharpness(_: Policy, images: torch.Tensor, amounts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    if min(images.shape[2:]) < 3:
        return images
    kernel = images.new_ones(3, 3)
    kernel[1, 1] = 5
    channels = images.shape[1]
    smooth = images.clone()  # the edge stays
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, (kernel / 13).expand(channels, 1, 3, 3), groups=channels)
    return _blended(images, smooth, amounts, signs)


def _posterized(how: Policy, images: torch.Tensor, amounts: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    step = _each(2 ** torch.round((8 - how.bits) * amounts))
    return torch.where(step > 1, torch.floor(images * 255 / step + 1e-4) * step / 255, images)


def _solarized(_: Policy, images: torch.Tensor, amounts: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
    limit = torch.floor(255 * (1 - amounts) + 1e-3)
    return torch.where(images * 255 >= _each(limit) - 1e-3, 1 - images, images)


def _stretched(_: Policy, images: torch.Tensor, __: torch.Tensor, ___: torch.Tensor) -> torch.Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 0, (images - low) / span.clamp(min=1e-12), images)


def _equalized(_: Policy, images: torch.Tensor, __: torch.Tensor, ___: torch.Tensor) -> torch.Tensor:
    """Return images of which every one of 256 tones is about equally frequent, channel by channel."""
    tones = (images.clamp(0, 1) * 255).round().long().flatten(2)
    counts = torch.zeros(*tones.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, tones, torch.ones_like(tones))
    brightest = counts.gather(2, tones.amax(dim=2, keepdim=True))
    step = (tones.shape[2] - brightest) // 255
    whole = step.clamp(min=1)
    table = ((whole // 2 + counts.cumsum(dim=2) - counts) // whole).clamp(max=255)
    found = (table.gather(2, tones).to(images.dtype) / 255).view_as(images)
    return torch.where(step[..., None] > 0, found, images)


_Operation = Callable[[Policy, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

#: Each operation with the setting that bounds its strength.
_OPERATIONS: Mapping[str, tuple[_Operation | None, str | None]] = {
    "identity": (None, None),
    "shear x": (_shear_x, "shear"),
    "shear y": (_shear_y, "shear"),
    "shift x": (_shift_x, "shift"),
    "shift y": (_shift_y, "shift"),
    "turn": (_turned, "turn"),
    "brightness": (_brightness, "blend"),
    "colour": (_colour, "blend"),
    "contrast": (_contrast, "blend"),
    "sharpness": (_sharpness, "blend"),
    "posterize": (_posterized, None),
    "solarize": (_solarized, None),
    "autocontrast": (_stretched, None),
    "equalize": (_equalized, None),
}
