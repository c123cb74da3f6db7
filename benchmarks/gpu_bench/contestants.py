"""Who takes part: involution of this package, its rivals, and the convolutions that a network would have instead.

Each one turns a shape and operands into calls, one for each direction, on a GPU or on this processor. Preparing a
layout of its own is not timed. What a contestant needs is imported when it is its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from gpu_bench import host_build, published
from gpu_bench.model import Shape
from gpu_bench.operands import (
    LIMITS,
    TF32_LIMIT,
    Operands,
    Steps,
    Tensor,
    convolution_truth,
    involution_truth,
)
from invnas.ops import reference, shift
from invnas.ops import why_not as why_not_invnas
from invnas.ops.geometry import Window

HALVES = ("float16", "bfloat16")
ALL = ("float32", *HALVES)


@dataclass(frozen=True)
class Contestant:
    """A name, the dtypes it knows, and how its calls and the truth about them are made."""

    name: str
    dtypes: tuple[str, ...]
    steps: Callable[[Shape, Operands], Steps]
    truth: Callable[[Shape, Operands], dict[str, Tensor]] = involution_truth
    rounds_to_tf32: bool = False  # in float32
    compiled: bool = False  # by torch: a switch of torch would compile it once more

    @property
    def is_involution(self) -> bool:
        """Whether it computes involution, so that its share of the roofline means something."""
        return self.truth is involution_truth

    def limit(self, dtype: str) -> float:
        return TF32_LIMIT if self.rounds_to_tf32 and dtype == "float32" else LIMITS[dtype]


def with_backward(steps: Steps) -> Steps:
    """Add `backward`, both gradients one after the other, where a contestant has no form of its own for it."""
    if "backward" in steps or not {"grad_input", "grad_kernels"} <= steps.keys():
        return steps
    first, second = steps["grad_input"], steps["grad_kernels"]
    return {**steps, "backward": lambda: (first(), second())}


def invnas_steps(shape: Shape, given: Operands) -> Steps:
    """Return the operator's three directions; off a GPU those of the same CUDA text built for this processor."""
    if not given.x.is_cuda:
        return host_build.steps(shape, given)
    if reason := why_not_invnas(given.x.device):
        raise RuntimeError(reason)
    ops, geometry = torch.ops.invnas, shape.geometry
    return {
        "forward": lambda: ops.involution2d(given.x, given.kernels, *geometry),
        "grad_input": lambda: ops.involution2d_grad_input(given.grad, given.kernels, *geometry, shape.size, shape.size),
        "grad_kernels": lambda: ops.involution2d_grad_kernels(given.grad, given.x, *geometry, shape.groups),
    }


def unfold_steps(shape: Shape, given: Operands) -> Steps:
    """Return the definition, with its gradients by autograd."""
    window = Window(*shape.geometry)
    x, kernels = given.x.detach().requires_grad_(), given.kernels.detach().requires_grad_()
    made: list[Tensor] = []

    def forward() -> Tensor:
        with torch.no_grad():
            return reference.involution2d(x, kernels, window)

    def backward() -> tuple[Tensor, ...]:
        if not made:  # once: the columns stay for the next call
            made.append(reference.involution2d(x, kernels, window))
        return torch.autograd.grad(made[0], (x, kernels), given.grad, retain_graph=True)

    return {"forward": forward, "backward": backward}


def shift_steps(shape: Shape, given: Operands) -> Steps:
    """Return shift-and-accumulate through torch.compile on a GPU; elsewhere as it is, for its values."""

    def ready(function: Any) -> Any:
        return torch.compile(function, dynamic=False, fullgraph=True) if given.x.is_cuda else function

    window, size = Window(*shape.geometry), (shape.size, shape.size)
    forward, to_input, to_kernels = (ready(f) for f in (shift.forward, shift.grad_input, shift.grad_kernels))
    return {
        "forward": lambda: forward(given.x, given.kernels, window),
        "grad_input": lambda: to_input(given.grad, given.kernels, window, size),
        "grad_kernels": lambda: to_kernels(given.grad, given.x, window, shape.groups),
    }


def triton_steps(shape: Shape, given: Operands) -> Steps:
    """Return the Triton kernels."""
    from gpu_bench import triton_kernels

    return triton_kernels.steps(shape, given)


def convolution(name: str, kernel_size: int, depthwise: bool) -> Contestant:
    """Return cuDNN's convolution of the same width and stride: other arithmetic, what a network would run instead."""

    def weight(shape: Shape, given: Operands) -> tuple[Tensor, int]:
        fan = 1 if depthwise else shape.channels
        generator = torch.Generator(given.x.device).manual_seed(1)
        size = (shape.channels, kernel_size, kernel_size, fan)
        drawn = torch.randn(size, generator=generator, device=given.x.device).to(given.x.dtype)
        return drawn.permute(0, 3, 1, 2), shape.channels if depthwise else 1

    def steps(shape: Shape, given: Operands) -> Steps:
        kernel, groups = weight(shape, given)
        pad = kernel_size // 2
        rest = (None, [shape.stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups)

        def gradients(*mask: bool) -> tuple[Tensor, ...]:
            found = torch.ops.aten.convolution_backward(given.grad, given.x, kernel, *rest, [*mask, False])
            return tuple(value for value in found if value is not None)

        return {
            "forward": lambda: F.conv2d(given.x, kernel, stride=shape.stride, padding=pad, groups=groups),
            "grad_input": lambda: gradients(True, False)[0],
            "grad_kernels": lambda: gradients(False, True)[0],
            "backward": lambda: gradients(True, True),
        }

    def truth(shape: Shape, given: Operands) -> dict[str, Tensor]:
        return convolution_truth(shape, given, *weight(shape, given))

    return Contestant(name, ALL, steps, truth, rounds_to_tf32=True)


OURS = "invnas"
PUBLISHED = "published mapping"
CONTESTANTS = (
    Contestant(OURS, ALL, invnas_steps),
    Contestant(PUBLISHED, ("float32",), published.steps),
    Contestant("unfold", ALL, unfold_steps),
    Contestant("compiled shift loop", ALL, shift_steps, compiled=True),
    Contestant("Triton", ALL, triton_steps),
    convolution("convolution 3x3", 3, depthwise=False),
    convolution("depthwise 7x7", 7, depthwise=True),
)
