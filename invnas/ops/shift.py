"""Involution as shift-and-accumulate: one fused multiply-add over the whole map for each tap, in pure torch.

No K * K copies of the input exist at any time. Half precision accumulates in float32.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from invnas.ops.geometry import Window
from invnas.ops.layout import memory_format


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _grouped(tensor: torch.Tensor, groups: int, padding: int = 0) -> torch.Tensor:
    """Return (B, G, C / G, H + 2p, W + 2p) in the accumulator's dtype; a view when nothing must change."""
    padded = F.pad(tensor, (padding,) * 4) if padding else tensor
    return padded.to(_accumulator(tensor.dtype)).unflatten(1, (groups, tensor.shape[1] // groups))


def forward(input: torch.Tensor, kernels: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the involution (B, C, H', W'), in the memory format of `input`."""
    return _sum(input, kernels, window).to(input.dtype)


def folded(
    input: torch.Tensor,
    kernels: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    limits: tuple[float, float],
    window: Window,
) -> torch.Tensor:
    """Return clamp(involution * scale + bias, *limits), (B, C, H', W'), in the memory format of `input`."""
    output = _sum(input, kernels, window)
    scale, bias = (values.to(output.dtype).view(-1, 1, 1) for values in (scale, bias))
    return output.mul_(scale).add_(bias).clamp_(*limits).to(input.dtype)


def _sum(input: torch.Tensor, kernels: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the involution in the dtype of the accumulator."""
    batch, channels = input.shape[:2]
    groups, _, height, width = kernels.shape[1:]
    padded = _grouped(input, groups, window.padding)
    weights = kernels.to(padded.dtype).unsqueeze(3)
    output = torch.zeros((batch, channels, height, width), dtype=padded.dtype, device=input.device).contiguous(
        memory_format=memory_format(input)
    )
    total = output.unflatten(1, (groups, channels // groups))
    for tap, (u, v) in enumerate(window.offsets()):
        total.addcmul_(padded[..., window.span(u, height), window.span(v, width)], weights[:, :, tap])
    return output


def grad_input(grad: torch.Tensor, kernels: torch.Tensor, window: Window, size: tuple[int, int]) -> torch.Tensor:
    """Return the gradient (B, C, H, W) of the input from that of the output (B, C, H', W'); `size` is (H, W)."""
    batch, channels, height, width = grad.shape
    groups, p = kernels.shape[1], window.padding
    grads = _grouped(grad, groups)
    weights = kernels.to(grads.dtype).unsqueeze(3)
    padded = torch.zeros(
        (batch, channels, size[0] + 2 * p, size[1] + 2 * p), dtype=grads.dtype, device=grad.device
    ).contiguous(memory_format=memory_format(grad))
    total = padded.unflatten(1, (groups, channels // groups))
    for tap, (u, v) in enumerate(window.offsets()):
        total[..., window.span(u, height), window.span(v, width)].addcmul_(grads, weights[:, :, tap])
    inner = padded[..., p : p + size[0], p : p + size[1]]
    return inner.to(grad.dtype).contiguous(memory_format=memory_format(grad))


def grad_kernels(grad: torch.Tensor, input: torch.Tensor, window: Window, groups: int) -> torch.Tensor:
    """Return the gradient (B, G, K * K, H', W') of the kernels from that of the output (B, C, H', W')."""
    height, width = grad.shape[2:]
    grads = _grouped(grad, groups)
    padded = _grouped(input, groups, window.padding)
    taps = [
        (padded[..., window.span(u, height), window.span(v, width)] * grads).sum(dim=2) for u, v in window.offsets()
    ]
    return torch.stack(taps, dim=2).to(grad.dtype)
