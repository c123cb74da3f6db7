"""Involution and what follows it in a trained network, as one operator for inference.

    Y = clamp(involution(X, W) * scale + bias, low, high)

Batch norm is scale and bias, a ReLU is low = 0. The loops are those of involution, with one step more before a sum is
stored: a map is written once instead of three times. Who computes it where stands in invnas.ops.dispatch.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
from torch.utils.flop_counter import register_flop_formula

import invnas.ops.shift as shift
from invnas.errors import BadInput
from invnas.ops.dispatch import GEOMETRY, library, native, register
from invnas.ops.geometry import Window, check
from invnas.ops.layout import check_finish, empty_map

Tensor = torch.Tensor

_OPERANDS = "Tensor input, Tensor kernels, Tensor scale, Tensor bias"
library.define(f"involution2d_folded({_OPERANDS}, float low, float high, {GEOMETRY}) -> Tensor")


def involution2d_folded(
    input: Tensor,
    kernels: Tensor,
    scale: Tensor,
    bias: Tensor,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> Tensor:
    """Return clamp(involution * scale + bias, low, high), without gradients.

    Args:
        input: (B, C, H, W), floating, any memory format.
        kernels: (B, G, K * K, H', W') of the same dtype and device; channel c is met by group c // (C / G).
        scale: (C,) of the same dtype and device.
        bias: (C,) likewise.
        low: Least value of the result; -inf for none.
        high: Largest value of the result; inf for none.
        kernel_size: K, height and width of the window.
        stride: Pixels between two positions.
        dilation: Pixels between two taps.
        padding: Zeros on every side.

    Returns:
        (B, C, H', W') in the memory format of `input` and its dtype; under autocast, in the dtype of autocast.

    Raises:
        BadInput: If a shape, dtype or device does not fit, naming the argument, or a gradient is asked for.
    """
    check(input, kernels, Window(kernel_size, stride, dilation, padding))
    geometry = (kernel_size, stride, dilation, padding)
    output: Tensor = torch.ops.invnas.involution2d_folded(input, kernels, scale, bias, low, high, *geometry)
    return output


def _folded(
    input: Tensor, kernels: Tensor, scale: Tensor, bias: Tensor, low: float, high: float, *geometry: int
) -> Tensor:
    check_finish(input, scale, bias)
    return shift.folded(input, kernels, scale, bias, (low, high), Window(*geometry))


def _native_folded(
    input: Tensor, kernels: Tensor, scale: Tensor, bias: Tensor, low: float, high: float, *geometry: int
) -> Tensor:
    backend = native(input)
    if backend is None:
        return _folded(input, kernels, scale, bias, low, high, *geometry)
    check_finish(input, scale, bias)
    output = empty_map(input, *kernels.shape[3:])
    backend.folded(input, kernels, scale, bias, (low, high), output, geometry)
    return output


register("involution2d_folded", _folded, _native_folded)


@torch.library.register_fake("invnas::involution2d_folded", lib=library)
def _(input: Tensor, kernels: Tensor, scale: Tensor, bias: Tensor, *_: Any) -> Tensor:
    check_finish(input, scale, bias)
    return empty_map(input, *kernels.shape[3:])


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise BadInput(
        "involution2d_folded has no gradients, it is for inference: call it under torch.no_grad(), or take the "
        "gradients of the network that was folded"
    )


# Asked when an operand requires a gradient where gradients are recorded, before anything is computed with it.
torch.library.register_autograd("invnas::involution2d_folded", _refuse, setup_context=_refuse, lib=library)


# The multiply-adds of involution, two FLOPs each; what follows them is counted no more than a batch norm is.
@register_flop_formula(torch.ops.invnas.involution2d_folded)
def _(input_shape: Any, kernels_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    batch, _groups, taps, height, width = kernels_shape
    return int(2 * batch * input_shape[1] * taps * height * width)
