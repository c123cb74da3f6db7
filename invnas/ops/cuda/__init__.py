"""Involution on NVIDIA GPUs: float32, float64, float16 and bfloat16 on torch's stream, device and memory.

Memory is what invnas.ops.layout says, half types are summed in float32, and nothing is summed by atomics: the same
numbers in give the same bits out. CuPy compiles the kernels and launches them, in `compiler.py` alone; where it cannot,
`why_not` says why and shift-and-accumulate computes instead.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import operator
from collections.abc import Iterable

import torch

from invnas.errors import BadInput
from invnas.ops.cuda import compiler, plan, requirements
from invnas.ops.geometry import Window, same_padding
from invnas.ops.layout import check_sizes, dense_kernels, dense_map, workspace

Tensor = torch.Tensor

_NAMES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


def why_not(device: torch.device) -> str | None:
    """Return why this backend cannot run on a device, or None when it can; on a GPU, a warning once."""
    index = device.index
    if index is None and torch.cuda.is_available():
        index = torch.cuda.current_device()
    return _reason(index)


@functools.cache
def _reason(index: int | None) -> str | None:
    reason = requirements.reason(requirements.gather(index))
    if reason is None and index is not None:
        reason = requirements.try_out(index)
    if reason:
        level = logging.INFO if index is None else logging.WARNING  # without a GPU nothing is missed
        logging.getLogger("invnas").log(level, "involution on CUDA devices runs as shift-and-accumulate: %s", reason)
    return reason


def name(device: torch.device) -> str:
    """Return what is recorded of a run on a device where this backend runs."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda (CuPy {compiler.versions().cupy}, compute capability {major}.{minor})"


def forward(input: Tensor, kernels: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the involution of `input` by `kernels` into `output`; `geometry` is (K, stride, dilation, padding)."""
    shapes = (input.shape, kernels.shape, output.shape, geometry)
    _run("forward", dense_map(input), dense_kernels(kernels), output, shapes)


def folded(
    input: Tensor,
    kernels: Tensor,
    scale: Tensor,
    bias: Tensor,
    limits: tuple[float, float],
    output: Tensor,
    geometry: tuple[int, ...],
) -> None:
    """Write the involution of `input` by `kernels`, times scale, plus bias, kept between the limits, into `output`."""
    shapes = (input.shape, kernels.shape, output.shape, geometry)
    _run(
        "folded",
        dense_map(input),
        dense_kernels(kernels),
        output,
        shapes,
        (scale.contiguous(), bias.contiguous()),
        limits,
    )


def grad_input(grad: Tensor, kernels: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the gradient of the input into `output` from that of the result."""
    shapes = (output.shape, kernels.shape, grad.shape, geometry)
    _run("grad_input", dense_map(grad), dense_kernels(kernels), output, shapes)


def grad_kernels(grad: Tensor, input: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the gradient of the kernels into `output` from that of the result."""
    shapes = (input.shape, output.shape, grad.shape, geometry)
    _run("grad_kernels", dense_map(grad), dense_map(input), output, shapes)


_Shapes = tuple[torch.Size, torch.Size, torch.Size, tuple[int, ...]]  # input, kernels, output, geometry


def _run(
    kernel: str,
    first: Tensor,
    second: Tensor,
    output: Tensor,
    shapes: _Shapes,
    finish: tuple[Tensor, ...] = (),
    limits: tuple[float, ...] = (),
) -> None:
    if first.dtype != second.dtype or first.device != second.device:
        kinds = f"{first.dtype} on {first.device} and {second.dtype} on {second.device}"
        raise BadInput(f"the tensors of involution must share one dtype and one device, but got {kinds}")
    written = workspace(output, first.dtype)
    addresses = first.data_ptr(), second.data_ptr(), written.data_ptr(), *(value.data_ptr() for value in finish)
    odd = functools.reduce(operator.or_, addresses) & 15
    # The largest power of two, up to 16, that divides every address decides how wide a load may be.
    call = _prepared(kernel, first.dtype, first.device.index, *shapes, odd & -odd or 16)
    if call is None:
        output.zero_()
        return
    call(*addresses, *limits)
    if written is not output:
        output.copy_(written)


@functools.lru_cache(maxsize=1024)
def _prepared(
    kernel: str,
    dtype: torch.dtype,
    index: int,
    input: torch.Size,
    kernels: torch.Size,
    output: torch.Size,
    geometry: tuple[int, ...],
    alignment: int,
) -> compiler.Call | None:
    """Return what launches a kernel at these sizes, or None where there is nothing to sum."""
    window = Window(*geometry)
    check_sizes(input, kernels, output, window)
    if dtype not in _NAMES:
        raise BadInput(f"involution on CUDA devices computes {', '.join(_NAMES.values())}, but got {dtype}")
    if 0 in input:
        return None
    batch, channels, height, width = input
    size, out = (height, width), (output[2], output[3])
    launch = plan.plan(kernel, _NAMES[dtype], batch, channels, kernels[1], size, out, window, alignment)
    return compiler.launcher(launch, index)


def warmup(
    dtypes: Iterable[torch.dtype] = (torch.float32,),
    kernel_sizes: Iterable[int] = (7,),
    device: str | torch.device = "cuda",
    *,
    group_channels: Iterable[int] = (16,),
    strides: Iterable[int] = (1, 2),
) -> None:
    """Compile, load and run once what involution of these kinds needs, forward and backward.

    A CUDA graph can then be captured at any batch size and resolution: nothing is compiled or loaded in the capture.
    Where this backend cannot run there is nothing to compile, and nothing is done.

    Args:
        dtypes: The dtypes the operator will meet; that of autocast, under autocast.
        kernel_sizes: K of the windows.
        device: A CUDA device.
        group_channels: Channels that share one kernel, C / G.
        strides: Strides of the windows.
    """
    where = torch.device(device)
    if where.type != "cuda":
        raise BadInput(f"`device` of warmup must be a CUDA device, but got `{device}`")
    if why_not(where):
        return
    for dtype, K, channels, stride in itertools.product(dtypes, kernel_sizes, group_channels, strides):
        _once(dtype, where, channels, Window(K, stride, padding=same_padding(K)))


def _once(dtype: torch.dtype, device: torch.device, channels: int, window: Window) -> None:
    side = window.kernel_size + 1  # an even window with its padding must fit
    out = window.out(side)
    x = torch.zeros((1, side, side, channels), dtype=dtype, device=device).permute(0, 3, 1, 2)
    y = torch.zeros((1, out, out, channels), dtype=dtype, device=device).permute(0, 3, 1, 2)
    kernels = torch.zeros((1, out, out, 1, window.taps), dtype=dtype, device=device).permute(0, 3, 4, 1, 2)
    geometry = (window.kernel_size, window.stride, window.dilation, window.padding)
    forward(x, kernels, torch.empty_like(y), geometry)
    one = torch.ones(channels, dtype=dtype, device=device)
    folded(x, kernels, one, one, (-math.inf, math.inf), torch.empty_like(y), geometry)
    grad_input(y, kernels, torch.empty_like(x), geometry)
    grad_kernels(y, x, torch.empty_like(kernels), geometry)
