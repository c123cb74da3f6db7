"""The registered operator: schema, shapes without data, gradients of any order, multiply-adds, and who computes it.

Forward, gradient of the input and gradient of the kernels are bilinear and close on each other: the gradients of each of
the three are the other two, so double backward needs nothing new. A faster backend is one more implementation of these three
for its dispatch key; everything else here stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from invnas.ops import shift
from invnas.ops.geometry import Window, check

Tensor = torch.Tensor

_GEOMETRY = "int kernel_size, int stride, int dilation, int padding"
_library = torch.library.Library("invnas", "DEF")
_library.define(f"involution2d(Tensor input, Tensor kernels, {_GEOMETRY}) -> Tensor")
_library.define(f"involution2d_grad_input(Tensor grad, Tensor kernels, {_GEOMETRY}, int height, int width) -> Tensor")
_library.define(f"involution2d_grad_kernels(Tensor grad, Tensor input, {_GEOMETRY}, int groups) -> Tensor")


def involution2d(
    input: Tensor, kernels: Tensor, kernel_size: int, stride: int = 1, dilation: int = 1, padding: int = 0
) -> Tensor:
    """Return the involution of a map by kernels that differ at every position.

    Args:
        input: (B, C, H, W), floating, any memory format.
        kernels: (B, G, K * K, H', W') of the same dtype and device; channel c is met by group c // (C / G).
        kernel_size: K, height and width of the window.
        stride: Pixels between two positions.
        dilation: Pixels between two taps.
        padding: Zeros on every side.

    Returns:
        (B, C, H', W') in the dtype and memory format of `input`.

    Raises:
        BadInput: If a shape, dtype or device does not fit, naming the argument.
    """
    check(input, kernels, Window(kernel_size, stride, dilation, padding))
    output: Tensor = torch.ops.invnas.involution2d(input, kernels, kernel_size, stride, dilation, padding)
    return output


def backend_of(device: str | torch.device) -> str:
    """Return the name of the backend that computes involution on a device."""
    return "shift (pure torch)"


def _forward(input: Tensor, kernels: Tensor, *geometry: int) -> Tensor:
    return shift.forward(input, kernels, Window(*geometry))


def _grad_input(grad: Tensor, kernels: Tensor, *sizes: int) -> Tensor:
    *geometry, height, width = sizes
    return shift.grad_input(grad, kernels, Window(*geometry), (height, width))


def _grad_kernels(grad: Tensor, input: Tensor, *sizes: int) -> Tensor:
    *geometry, groups = sizes
    return shift.grad_kernels(grad, input, Window(*geometry), groups)


_library.impl("involution2d", _forward, "CompositeExplicitAutograd")
_library.impl("involution2d_grad_input", _grad_input, "CompositeExplicitAutograd")
_library.impl("involution2d_grad_kernels", _grad_kernels, "CompositeExplicitAutograd")


@torch.library.register_fake("invnas::involution2d", lib=_library)
def _(input: Tensor, kernels: Tensor, *geometry: int) -> Tensor:
    shape = (*input.shape[:2], *kernels.shape[3:])
    return torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=shift._layout(input))


@torch.library.register_fake("invnas::involution2d_grad_input", lib=_library)
def _(grad: Tensor, kernels: Tensor, *sizes: int) -> Tensor:
    shape = (*grad.shape[:2], *sizes[-2:])
    return torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=shift._layout(grad))


@torch.library.register_fake("invnas::involution2d_grad_kernels", lib=_library)
def _(grad: Tensor, input: Tensor, *sizes: int) -> Tensor:
    return grad.new_empty((grad.shape[0], sizes[-1], sizes[0] ** 2, *grad.shape[2:]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.geometry = inputs[2:6]


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    input, kernels = ctx.saved_tensors
    return (_to_input(ctx, 0, grad, kernels, input), _to_kernels(ctx, 1, grad, input, kernels), *[None] * 4)


def _grad_input_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    upper, kernels = ctx.saved_tensors  # bilinear in the gradient from above and the kernels
    again = _to_output(ctx, 0, grad, kernels)
    return (again, _to_kernels(ctx, 1, upper, grad, kernels), *[None] * 6)


def _grad_kernels_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    upper, input = ctx.saved_tensors
    return (_to_output(ctx, 0, input, grad), _to_input(ctx, 1, upper, grad, input), *[None] * 5)


def _to_output(ctx: Any, index: int, input: Tensor, kernels: Tensor) -> Tensor | None:
    return torch.ops.invnas.involution2d(input, kernels, *ctx.geometry) if ctx.needs_input_grad[index] else None


def _to_input(ctx: Any, index: int, grad: Tensor, kernels: Tensor, like: Tensor) -> Tensor | None:
    if not ctx.needs_input_grad[index]:
        return None
    return torch.ops.invnas.involution2d_grad_input(grad, kernels, *ctx.geometry, *like.shape[2:])


def _to_kernels(ctx: Any, index: int, grad: Tensor, input: Tensor, like: Tensor) -> Tensor | None:
    if not ctx.needs_input_grad[index]:
        return None
    return torch.ops.invnas.involution2d_grad_kernels(grad, input, *ctx.geometry, like.shape[1])


for _name, _function in (
    ("involution2d", _backward),
    ("involution2d_grad_input", _grad_input_backward),
    ("involution2d_grad_kernels", _grad_kernels_backward),
):
    torch.library.register_autograd(f"invnas::{_name}", _function, setup_context=_save, lib=_library)


# Two FLOPs a multiply-add, as torch.utils.flop_counter counts everything.
@register_flop_formula(torch.ops.invnas.involution2d)
def _(input_shape: Any, kernels_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * input_shape[1] * _multipliers(kernels_shape)


@register_flop_formula(torch.ops.invnas.involution2d_grad_input)
def _(grad_shape: Any, kernels_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * grad_shape[1] * _multipliers(kernels_shape)


@register_flop_formula(torch.ops.invnas.involution2d_grad_kernels)
def _(grad_shape: Any, input_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * input_shape[1] * _multipliers(out_shape)


def _multipliers(kernels_shape: Any) -> int:
    batch, _, taps, height, width = kernels_shape
    return int(batch * taps * height * width)
