"""Tensors of a call, the truth about it, and how far a result is from that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gpu_bench.model import Shape
from invnas.ops import reference
from invnas.ops.geometry import Window

Tensor = torch.Tensor
Step = Callable[[], object]  # returns a tensor, or a tuple of them for `backward`
Steps = dict[str, Step]

# ‖out - truth‖ / ‖truth‖ that a right answer stays under: rounding of the result, and of the products in half types.
LIMITS = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.5e-2, "float64": 1e-13}
TF32_LIMIT = 1e-3  # cuDNN's convolutions of float32 round their operands to tf32 unless told otherwise


@dataclass(frozen=True)
class Operands:
    """The tensors of one call as networks have them: channels_last maps and kernels with the taps last in memory.

    Attributes:
        x: (B, C, H, W).
        kernels: (B, G, K * K, H', W').
        grad: (B, C, H', W'), the gradient of the result.
    """

    x: Tensor
    kernels: Tensor
    grad: Tensor


def operands(shape: Shape, dtype: str, device: str, seed: int) -> Operands:
    """Return random operands; a seed gives the same ones again on the same device."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(channels: int, side: int) -> Tensor:
        lying = torch.randn(shape.batch, side, side, channels, generator=generator, device=device)
        return lying.to(getattr(torch, dtype)).permute(0, 3, 1, 2)

    taps = shape.kernel_size**2
    kernels = normal(shape.groups * taps, shape.out).unflatten(1, (shape.groups, taps))
    return Operands(normal(shape.channels, shape.size), kernels, normal(shape.channels, shape.out))


def involution_truth(shape: Shape, given: Operands) -> dict[str, Tensor]:
    """Return the result and both gradients in float64 by the definition, a few images at a time."""
    window = Window(*shape.geometry)
    parts: list[tuple[Tensor, ...]] = []
    for x, kernels, grad in zip(*(t.split(4) for t in (given.x, given.kernels, given.grad)), strict=True):
        leaves = (x.double().requires_grad_(), kernels.double().requires_grad_())
        y = reference.involution2d(*leaves, window)
        parts.append((y.detach(), *torch.autograd.grad(y, leaves, grad.double())))
    names = ("forward", "grad_input", "grad_kernels")
    return {name: torch.cat(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}


def convolution_truth(shape: Shape, given: Operands, weight: Tensor, groups: int) -> dict[str, Tensor]:
    """Return the same for a convolution of the map by `weight`."""
    leaves = (given.x.double().requires_grad_(), weight.double().requires_grad_())
    y = F.conv2d(*leaves, stride=shape.stride, padding=weight.shape[-1] // 2, groups=groups)
    gradients = torch.autograd.grad(y, leaves, given.grad.double())
    return {"forward": y.detach(), "grad_input": gradients[0], "grad_kernels": gradients[1]}


def error(got: Tensor, truth: Tensor) -> float:
    """Return ‖got - truth‖ / ‖truth‖; a shape that differs or a NaN is infinitely wrong."""
    if got.shape != truth.shape:
        return float("inf")
    found = float((got.double() - truth).norm() / truth.norm())
    return found if found == found else float("inf")


@contextmanager
def poisoned() -> Iterator[None]:
    """Let every tensor that is made without a value start as NaN, so that an element nobody wrote is seen."""
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])


def leave_nan_behind(like: Tensor) -> None:
    """Fill and free memory of this size: code that torch compiled takes its results from there, unfilled."""
    torch.full_like(like, float("nan"))
