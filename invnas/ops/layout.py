"""The memory the native backends read and write: maps as (B, H, W, C), kernels as (B, H', W', G, K * K).

A channels_last map, and the channels_last result of a 1x1 convolution seen as (B, G, K * K, H', W'), are that already
and are used where they lie. Anything else is copied into it once, and a result that must lie otherwise is copied once.
"""

from __future__ import annotations

import torch

from invnas.errors import BadInput
from invnas.ops.geometry import Window

Tensor = torch.Tensor

_TAPS_LAST = (0, 3, 4, 1, 2)  # (B, G, K * K, H', W') to (B, H', W', G, K * K), and back


def dense_map(tensor: Tensor) -> Tensor:
    """Return a map as (B, H, W, C) in memory: itself when it lies so already."""
    return tensor.contiguous(memory_format=torch.channels_last)


def dense_kernels(tensor: Tensor) -> Tensor:
    """Return kernels as (B, H', W', G, K * K) in memory, themselves when they lie so already."""
    return tensor if _taps_last(tensor) else tensor.permute(_TAPS_LAST).contiguous()


def workspace(output: Tensor, dtype: torch.dtype) -> Tensor:
    """Return where a result is written: `output` itself, or room for one that must then be copied."""
    dense = output.is_contiguous(memory_format=torch.channels_last) if output.dim() == 4 else _taps_last(output)
    if dense and output.dtype == dtype:
        return output
    if output.dim() == 4:
        return torch.empty_like(output, dtype=dtype, memory_format=torch.channels_last)
    room = torch.empty_like(output.permute(_TAPS_LAST), dtype=dtype, memory_format=torch.contiguous_format)
    return room.permute(_TAPS_LAST)


def check_sizes(input: torch.Size, kernels: torch.Size, output: torch.Size, window: Window) -> None:
    """Raise BadInput when the shapes of a map, its kernels and its result do not fit a window.

    Compiled code trusts its sizes, so they are checked however the operator was called.
    """
    batch, channels, *size = input
    groups, out = kernels[1], [window.out(side) for side in size]
    fits = groups > 0 and channels % groups == 0 and list(output) == [batch, channels, *out]
    if not fits or list(kernels) != [batch, groups, window.taps, *out]:
        shapes = f"`input` {tuple(input)}, `kernels` {tuple(kernels)} and an output {tuple(output)}"
        raise BadInput(f"the shapes of involution must fit {window}, but got {shapes}")


def _taps_last(kernels: Tensor) -> bool:
    _, groups, taps, height, width = kernels.shape
    pixel = groups * taps
    if kernels.stride() == (height * width * pixel, taps, 1, width * pixel, pixel):
        return True  # a view costs two microseconds, and only sides of 1 need it
    return kernels.permute(_TAPS_LAST).is_contiguous()
