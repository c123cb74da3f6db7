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


# Where results lie, for every backend and for shapes without data: a map follows the memory format of the first
# argument, and kernels made from a channels_last gradient are (B, H', W', G, K * K) in memory, as the 1x1 convolution
# that made the kernels would have written them.
def memory_format(map: Tensor) -> torch.memory_format:
    """Return the memory format a result has that follows this map."""
    channels_last = map.is_contiguous(memory_format=torch.channels_last) and not map.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def empty_map(like: Tensor, height: int, width: int) -> Tensor:
    """Return room for a map of these sides that follows another in batch, channels, dtype and memory."""
    shape = (*like.shape[:2], height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format(like))


def empty_kernels(grad: Tensor, groups: int, taps: int) -> Tensor:
    """Return room for kernels (B, G, K * K, H', W') made from a map (B, C, H', W')."""
    batch, _, height, width = grad.shape
    if memory_format(grad) == torch.channels_last:
        return grad.new_empty((batch, height, width, groups, taps)).permute(0, 3, 4, 1, 2)
    return grad.new_empty((batch, groups, taps, height, width))


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


def check_finish(input: Tensor, scale: Tensor, bias: Tensor) -> None:
    """Raise BadInput unless scale and bias have one number for each channel of a map, of its dtype, on its device."""
    for name, value in (("scale", scale), ("bias", bias)):
        if value.shape != (input.shape[1],) or value.dtype != input.dtype or value.device != input.device:
            raise BadInput(
                f"`{name}` must be ({input.shape[1]},) of {input.dtype} on {input.device} as `input` is, but got "
                f"{tuple(value.shape)} of {value.dtype} on {value.device}"
            )


def _taps_last(kernels: Tensor) -> bool:
    _, groups, taps, height, width = kernels.shape
    pixel = groups * taps
    if kernels.stride() == (height * width * pixel, taps, 1, width * pixel, pixel):
        return True  # a view costs two microseconds, and only sides of 1 need it
    return kernels.permute(_TAPS_LAST).is_contiguous()
