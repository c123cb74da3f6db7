"""Mean and deviation of images; without Lightning, which who only uses a network need not import."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_CHUNK = 1024  # images turned into floats at a time


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of values in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def to_unit(images: torch.Tensor) -> torch.Tensor:
        """Return uint8 in 0..255 as float in 0..1; floats stay as they are."""
        return images.float().div_(255) if images.dtype == torch.uint8 else images

    @classmethod
    def of(cls, images: torch.Tensor) -> Normalisation:
        """Measure images (N, C, H, W), uint8 or float in 0..1."""
        channels = images.shape[1]
        sums = torch.zeros(2, channels, dtype=torch.float64)
        for chunk in images.split(_CHUNK):
            # One row for each pixel: summing these is ten times as fast as summing over three axes.
            values = cls.to_unit(chunk.permute(0, 2, 3, 1).reshape(-1, channels))
            sums += torch.stack([values.sum(0), values.square().sum(0)]).cpu()
        mean, square = sums / (images.numel() // channels)
        std = (square - mean.square()).clamp(min=0).sqrt()
        # A constant channel has nothing to scale.
        std = torch.where(std < 1e-3, torch.ones_like(std), std)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, H, W) as float with mean 0 and deviation 1."""
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return (self.to_unit(images) - mean).div_(std)
