"""What an involution node is in operators of ONNX, for runtimes that know nothing of invnas.

The form is chosen by the shape, from what onnxruntime took on one thread of a CPU with AVX-512. In milliseconds of CPU
time for one image beside other programs, on maps of 64 x 56 x 56, 128 x 28 x 28, 256 x 14 x 14 and 512 x 7 x 7 with
K = 7 and 16 channels a group: a slice, a product and a sum for each tap 10.4, 5.1, 3.2 and 1.9; `_columns` 4.5, 2.7,
1.8 and 1.7; `band` 2.7, 1.2, 0.6 and 0.3. With K = 3 and 8 channels a group on 28 x 28, `_columns` is ahead (0.7; 0.9).
A product of matrices at each position was nowhere faster than `band`. `DeformConv` with offsets of zero, patches by a
convolution with an identity, and `Einsum` took longer than any of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from invnas.export.onnx_band import STEP, band, suits
from invnas.export.onnx_steps import Geometry, Steps

#: The end of a slice that goes as far as there is anything.
_END = 2**63 - 1

#: Inputs of a node; those at the end and those in the middle that it does without are missing.
INPUTS = ("input", "kernels", "scale", "bias", "span", "span_bias")

#: Attributes of a node.
ATTRIBUTES = ("kernel_size", "stride", "dilation", "padding", "groups", "low", "high")


def body(name: str, geometry: Geometry, opset: int) -> Any:
    """Return the function `invnas::name` as an onnx.FunctionProto.

    Inputs are the map (B, C, H, W), the kernels (B, G * K * K, H', W') and, with bounds, scale and bias (C,).
    Where the kernels are made within, the second input is the map (B, hidden, H', W') before their 1 x 1 convolution,
    and its weights (G, hidden, K * K) and bias (G * K * K,) come last. The output is
    clamp(involution * scale + bias, low, high): (B, C, H', W').
    """
    from onnx import helper

    steps = Steps()
    result = _form(geometry)(steps, geometry)
    if geometry.bounds is not None:
        result = _finish(steps, result, geometry.bounds)
    steps.nodes[-1].output[0] = "output"
    inputs = INPUTS if geometry.hidden is not None else INPUTS[:4] if geometry.bounds is not None else INPUTS[:2]
    imports = [helper.make_opsetid("", opset)]
    return helper.make_function("invnas", name, inputs, ["output"], steps.nodes, imports, ATTRIBUTES)


def _form(geometry: Geometry) -> Callable[[Steps, Geometry], str]:
    if geometry.size is None:
        return _taps
    return band if suits(geometry) else _columns


def _taps(steps: Steps, geometry: Geometry) -> str:
    """Return the sum of each tap of the map times its kernel, for maps whose size is not known before."""
    window, K = geometry.window, geometry.window.kernel_size
    p, groups, channels = window.padding, geometry.groups, geometry.channels // geometry.groups
    padded = steps("Pad", "input", steps.ints(0, 0, p, p, 0, 0, p, p)) if p else "input"
    size = steps("Concat", steps.ints(0, groups, channels), steps("Shape", padded, start=2), axis=0)
    grouped = steps("Reshape", padded, size)
    kernels = _kernels(steps, geometry)
    out = steps("Shape", kernels, start=2)
    kernels = steps("Reshape", kernels, steps("Concat", steps.ints(0, groups, 1, K * K), out, axis=0))
    axes, strides, place = steps.ints(3, 4), steps.ints(window.stride, window.stride), steps.ints(3)
    total = ""
    for (u, v), weights in zip(window.offsets(), steps.split(kernels, 3, [1] * K * K), strict=True):
        # Counted from the far edge, which is as far beyond the last position of a tap as the first one of it from here.
        ends = [offset - (K - 1) * window.dilation or _END for offset in (u, v)]
        tap = steps("Slice", grouped, steps.ints(u, v), steps.ints(*ends), axes, strides)
        part = steps("Mul", tap, steps("Squeeze", weights, place))
        total = steps("Add", total, part) if total else part
    return steps("Reshape", total, steps("Concat", steps.ints(0, geometry.channels), out, axis=0))


def _kernels(steps: Steps, geometry: Geometry) -> str:
    """Return the kernels: those given, or the 1 x 1 convolution whose weights stand by groups."""
    if geometry.hidden is None:
        return "kernels"
    weights = steps("Transpose", "span", perm=[0, 2, 1])
    weights = steps("Reshape", weights, steps.ints(geometry.groups * geometry.window.taps, -1, 1, 1))
    return steps("Conv", "kernels", weights, "span_bias", kernel_shape=[1, 1])


def _padded(steps: Steps, geometry: Geometry) -> str:
    """Return the padded map by groups: (B, G, C / G, H + 2 p, W + 2 p)."""
    assert geometry.size is not None
    p, groups, (height, width) = geometry.window.padding, geometry.groups, geometry.size
    padded = steps("Pad", "input", steps.ints(0, 0, p, p, 0, 0, p, p)) if p else "input"
    return steps("Reshape", padded, steps.ints(0, groups, geometry.channels // groups, height + 2 * p, width + 2 * p))


def _columns(steps: Steps, geometry: Geometry) -> str:
    """Return the taps of each column of the window at once, and sum the columns shifted.

    The rows that the taps of a column meet are laid side by side once for all columns; instead of shifting that map
    for each column, the kernels are shifted the other way, being C / G times smaller, and the sums are shifted back.
    A few groups are done at a time, so that what one step hands to the next stays in the cache.
    """
    window, (height, width) = geometry.window, geometry.out
    K, groups, channels = window.kernel_size, geometry.groups, geometry.channels // geometry.groups
    padded = _padded(steps, geometry)
    kernels = steps("Reshape", _kernels(steps, geometry), steps.ints(0, groups, 1, K, K, height, width))
    assert geometry.size is not None
    room = channels * K * height * (geometry.size[1] + 2 * window.padding) // window.stride
    most = max(1, STEP // room)
    sizes = [min(most, groups - first) for first in range(0, groups, most)]
    parts = zip(steps.split(padded, 1, sizes), steps.split(kernels, 1, sizes), strict=True)
    sums = [_columns_of(steps, geometry, map, weights) for map, weights in parts]
    whole = steps("Concat", *sums, axis=1) if len(sums) > 1 else sums[0]
    return steps("Reshape", whole, steps.ints(0, geometry.channels, height, width))


def _columns_of(steps: Steps, geometry: Geometry, padded: str, kernels: str) -> str:
    window, (height, width) = geometry.window, geometry.out
    K, stride, dilation = window.kernel_size, window.stride, window.dilation
    assert geometry.size is not None
    full = geometry.size[1] + 2 * window.padding
    rows = steps.ints(*(u * dilation + y * stride for u in range(K) for y in range(height)))
    rows = steps("Reshape", rows, steps.ints(K, height))
    phases: dict[int, str] = {}  # by the columns' remainder by the stride
    total = ""
    for v, weights in enumerate(steps.split(kernels, 4, [1] * K)):
        shift, phase = divmod(v * dilation, stride)
        length = (full - phase + stride - 1) // stride
        if phase not in phases:
            cut = (steps.ints(phase), steps.ints(full), steps.ints(4), steps.ints(stride))
            phases[phase] = steps("Gather", steps("Slice", padded, *cut) if stride > 1 else padded, rows, axis=3)
        weights = steps("Squeeze", weights, steps.ints(4))
        beside = (shift, length - shift - width)
        if any(beside):
            weights = steps("Pad", weights, steps.ints(0, 0, 0, 0, 0, beside[0], 0, 0, 0, 0, 0, beside[1]))
        part = steps("ReduceSum", steps("Mul", phases[phase], weights), steps.ints(3), keepdims=0)
        if any(beside):
            part = steps("Slice", part, steps.ints(shift), steps.ints(shift + width), steps.ints(4))
        total = steps("Add", total, part) if total else part
    return total


def _finish(steps: Steps, result: str, bounds: tuple[float, float]) -> str:
    column = steps.ints(-1, 1, 1)
    result = steps("Mul", result, steps("Reshape", "scale", column))
    result = steps("Add", result, steps("Reshape", "bias", column))
    if bounds == (0.0, float("inf")):
        return steps("Relu", result)
    low, high = ("" if abs(bound) == float("inf") else steps("Constant", value_float=bound) for bound in bounds)
    return steps("Clip", result, low, high) if low or high else result
