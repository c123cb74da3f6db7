"""Sizes of a sliding window, and the rules its tensors keep: every shape rule of involution stands here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.autograd.forward_ad import unpack_dual

from invnas.errors import BadInput, shown


@dataclass(frozen=True)
class Window:
    """A K x K window that slides over a zero-padded map.

    Attributes:
        kernel_size: K, at least 1; may be even.
        stride: Pixels between two positions.
        dilation: Pixels between two taps.
        padding: Zeros added on every side.
    """

    kernel_size: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"`{name}` must be at least {least}, but got {shown(getattr(self, name))}")

    @property
    def taps(self) -> int:
        """Number of taps, K * K."""
        return self.kernel_size**2

    def out(self, size: int) -> int:
        """Return how many positions fit along a side of `size` pixels."""
        reach = self.dilation * (self.kernel_size - 1) + 1
        return (size + 2 * self.padding - reach) // self.stride + 1

    def offsets(self) -> list[tuple[int, int]]:
        """Return where each tap starts in the padded map, row by row."""
        steps = [i * self.dilation for i in range(self.kernel_size)]
        return [(u, v) for u in steps for v in steps]

    def span(self, start: int, positions: int) -> slice:
        """Return the padded pixels one tap meets along one side."""
        return slice(start, start + (positions - 1) * self.stride + 1, self.stride)


def same_padding(kernel_size: int, dilation: int = 1) -> int:
    """Return the padding with which an odd window keeps the size of the map at stride 1."""
    return dilation * (kernel_size - 1) // 2


def check(input: torch.Tensor, kernels: torch.Tensor, window: Window) -> None:
    """Raise BadInput with one sentence when these tensors do not fit this window.

    Args:
        input: (B, C, H, W).
        kernels: (B, G, K * K, H', W'), with G dividing C.
        window: The window.
    """
    if input.dim() != 4:
        raise BadInput(f"`input` must be (batch, channels, height, width), but got shape {tuple(input.shape)}")
    if kernels.dim() != 5:
        raise BadInput(f"`kernels` must be (batch, groups, K * K, height, width), but got shape {tuple(kernels.shape)}")
    batch, channels, height, width = input.shape
    groups = kernels.shape[1]
    if groups == 0 or channels % groups:
        raise BadInput(f"the groups of `kernels` must divide the channels of `input`, but got {groups} and {channels}")
    expected = (batch, groups, window.taps, window.out(height), window.out(width))
    if min(expected[3:]) < 1:
        raise BadInput(f"`input` of {height} x {width} is too small for {window}")
    if tuple(kernels.shape) != expected:
        raise BadInput(f"`kernels` must have shape {expected} for {window}, but got {tuple(kernels.shape)}")
    _check_kind(input, kernels, "kernels")


def check_products(queries: torch.Tensor, keys: torch.Tensor, groups: int, window: Window) -> None:
    """Raise BadInput with one sentence when these maps do not fit this window.

    Args:
        queries: (B, C, H', W').
        keys: (B, C, H, W).
        groups: G, dividing C.
        window: The window.
    """
    if keys.dim() != 4:
        raise BadInput(f"`keys` must be (batch, channels, height, width), but got shape {tuple(keys.shape)}")
    batch, channels, height, width = keys.shape
    if groups < 1 or channels % groups:
        raise BadInput(f"`groups` must divide the channels of `keys`, but got {groups} and {channels}")
    expected = (batch, channels, window.out(height), window.out(width))
    if min(expected[2:]) < 1:
        raise BadInput(f"`keys` of {height} x {width} are too small for {window}")
    if tuple(queries.shape) != expected:
        raise BadInput(f"`queries` must have shape {expected} for {window}, but got {tuple(queries.shape)}")
    _check_kind(keys, queries, "queries", "keys")


def _check_kind(first: torch.Tensor, second: torch.Tensor, name: str, of: str = "input") -> None:
    # Under autocast the operator casts both; a float64 beside another dtype is refused by the backend then.
    mixed = first.dtype != second.dtype and not torch.is_autocast_enabled(first.device.type)
    if not (first.is_floating_point() and second.is_floating_point()) or mixed:
        raise BadInput(f"`{of}` and `{name}` must share one floating dtype, but got {first.dtype} and {second.dtype}")
    if first.device != second.device:
        raise BadInput(f"`{name}` must be on the device of `{of}`, but got {second.device} and {first.device}")
    if not torch.compiler.is_compiling() and any(unpack_dual(tensor).tangent is not None for tensor in (first, second)):
        # torch would lose the tangents of a registered operator without a word.
        raise BadInput("involution has no forward-mode derivatives (jvp, dual numbers): take them in reverse mode")
