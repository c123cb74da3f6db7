"""The registered operator: schema, shapes without data, gradients of any order, multiply-adds.

Forward, gradient of the input and gradient of the kernels are bilinear and close on each other: the gradients of
each of the three are the other two, so double backward needs nothing new. A faster backend is one more
implementation of these three for its dispatch key; everything else here stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

import invnas.ops.shift as shift
from invnas.ops.dispatch import GEOMETRY, library, native, register
from invnas.ops.geometry import Window, check, check_products
from invnas.ops.layout import empty_kernels, empty_map

Tensor = torch.Tensor

library.define(f"involution2d(Tensor input, Tensor kernels, {GEOMETRY}) -> Tensor")
library.define(f"involution2d_grad_input(Tensor grad, Tensor kernels, {GEOMETRY}, int height, int width) -> Tensor")
library.define(f"involution2d_grad_kernels(Tensor grad, Tensor input, {GEOMETRY}, int groups) -> Tensor")


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
        (B, C, H', W') in the memory format of `input` and its dtype; under autocast, in the dtype of autocast.

    Raises:
        BadInput: If a shape, dtype or device does not fit, naming the argument.
    """
    check(input, kernels, Window(kernel_size, stride, dilation, padding))
    output: Tensor = torch.ops.invnas.involution2d(input, kernels, kernel_size, stride, dilation, padding)
    return output


def window_products(
    queries: Tensor, keys: Tensor, groups: int, kernel_size: int, stride: int = 1, dilation: int = 1, padding: int = 0
) -> Tensor:
    """Return the product of the query at every position with the keys in its window: attention's kernels.

    It is the gradient of involution with respect to its kernels, and costs the same multiply-adds.

    Args:
        queries: (B, C, H', W'), floating, any memory format.
        keys: (B, C, H, W) of the same dtype and device.
        groups: G; the products are summed over each C / G channels.
        kernel_size: K, height and width of the window.
        stride: Pixels between two positions.
        dilation: Pixels between two taps.
        padding: Zeros on every side of the keys.

    Returns:
        (B, G, K * K, H', W').

    Raises:
        BadInput: If a shape, dtype or device does not fit, naming the argument.
    """
    check_products(queries, keys, groups, Window(kernel_size, stride, dilation, padding))
    geometry = (kernel_size, stride, dilation, padding)
    kernels: Tensor = torch.ops.invnas.involution2d_grad_kernels(queries, keys, *geometry, groups)
    return kernels


def _empty_output(input: Tensor, kernels: Tensor) -> Tensor:
    return empty_map(input, *kernels.shape[3:])


def _empty_input(grad: Tensor, kernels: Tensor, *sizes: int) -> Tensor:
    return empty_map(grad, *sizes[-2:])


def _empty_kernels(grad: Tensor, *sizes: int) -> Tensor:
    return empty_kernels(grad, sizes[-1], sizes[0] ** 2)


def _forward(input: Tensor, kernels: Tensor, *geometry: int) -> Tensor:
    return shift.forward(input, kernels, Window(*geometry))


def _grad_input(grad: Tensor, kernels: Tensor, *sizes: int) -> Tensor:
    *geometry, height, width = sizes
    return shift.grad_input(grad, kernels, Window(*geometry), (height, width))


def _grad_kernels(grad: Tensor, input: Tensor, *sizes: int) -> Tensor:
    *geometry, groups = sizes
    result = shift.grad_kernels(grad, input, Window(*geometry), groups)
    empty = _empty_kernels(grad, *sizes)
    return result if result.stride() == empty.stride() else empty.copy_(result)


def _native_forward(input: Tensor, kernels: Tensor, *geometry: int) -> Tensor:
    backend = native(input)
    if backend is None:
        return _forward(input, kernels, *geometry)
    output = _empty_output(input, kernels)
    backend.forward(input, kernels, output, geometry)
    return output


def _native_grad_input(grad: Tensor, kernels: Tensor, *sizes: int) -> Tensor:
    backend = native(grad)
    if backend is None:
        return _grad_input(grad, kernels, *sizes)
    output = _empty_input(grad, kernels, *sizes)
    backend.grad_input(grad, kernels, output, sizes[:4])
    return output


def _native_grad_kernels(grad: Tensor, input: Tensor, *sizes: int) -> Tensor:
    backend = native(grad)
    if backend is None:
        return _grad_kernels(grad, input, *sizes)
    output = _empty_kernels(grad, *sizes)
    backend.grad_kernels(grad, input, output, sizes[:4])
    return output


for _name, _any_device, _where_native in (
    ("involution2d", _forward, _native_forward),
    ("involution2d_grad_input", _grad_input, _native_grad_input),
    ("involution2d_grad_kernels", _grad_kernels, _native_grad_kernels),
):
    register(_name, _any_device, _where_native)


@torch.library.register_fake("invnas::involution2d", lib=library)
def _(input: Tensor, kernels: Tensor, *_: int) -> Tensor:
    return _empty_output(input, kernels)


@torch.library.register_fake("invnas::involution2d_grad_input", lib=library)
def _(grad: Tensor, kernels: Tensor, *sizes: int) -> Tensor:
    return _empty_input(grad, kernels, *sizes)


@torch.library.register_fake("invnas::involution2d_grad_kernels", lib=library)
def _(grad: Tensor, input: Tensor, *sizes: int) -> Tensor:
    return _empty_kernels(grad, *sizes)


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
    torch.library.register_autograd(f"invnas::{_name}", _function, setup_context=_save, lib=library)


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
