"""Involution on CPUs in C++: float32 and float64 over channels-last memory, threads of torch.

Memory is what invnas.ops.layout says. Half precision is computed in float32: its operands and its result are cast, one
copy each.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch

from invnas.errors import BadInput, InvnasError
from invnas.ops.geometry import Window
from invnas.ops.layout import check_sizes, dense_kernels, dense_map, workspace

Tensor = torch.Tensor

_PRECISE = (torch.float32, torch.float64)


def library_path() -> Path | None:
    """Return where the compiled library lies, or None when the package was built without it."""
    found = importlib.util.find_spec("invnas.ops.cpu._involution")
    return Path(found.origin) if found and found.origin else None


@functools.cache
def library() -> ctypes.CDLL | str:
    """Return the loaded library, or the reason why there is none, which is also a warning in the log, once."""
    path = library_path()
    if path is None:
        reason = "this installation has no compiled library: no C++ compiler was found when invnas was built"
    else:
        try:
            return _typed(ctypes.CDLL(str(path)))
        except (OSError, AttributeError) as problem:
            reason = f"the compiled library does not load: {problem}"
    logging.getLogger("invnas").warning("involution on the CPU runs as shift-and-accumulate: %s", reason)
    return reason


def _typed(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name in ("forward", "grad_input", "grad_kernels"):
        for dtype in ("float32", "float64"):
            getattr(loaded, f"invnas_{name}_{dtype}").argtypes = [ctypes.c_void_p] * 4
    for dtype in ("float32", "float64"):
        folded = [ctypes.c_void_p] * 6 + [ctypes.c_double] * 2
        getattr(loaded, f"invnas_folded_{dtype}").argtypes = folded
        getattr(loaded, f"invnas_spanned_{dtype}").argtypes = [*folded, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 2]
    loaded.invnas_instruction_set.restype = ctypes.c_char_p
    return loaded


def why_not() -> str | None:
    """Return why this backend cannot run here, or None when it can."""
    loaded = library()
    return loaded if isinstance(loaded, str) else None


def instruction_set(at_most: int = -1) -> str:
    """Return the name of the instruction set in use.

    Args:
        at_most: 0 (baseline), 1 (AVX2) or 2 (AVX-512) narrows it for the whole process, for tests; -1 leaves it.
    """
    name: bytes = _loaded().invnas_instruction_set(at_most)
    return name.decode()


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if isinstance(loaded, str):
        raise InvnasError(f"the CPU backend of involution cannot run: {loaded}")
    return loaded


@functools.cache
def _function(name: str, dtype: torch.dtype) -> Any:
    return getattr(_loaded(), f"invnas_{name}_{str(dtype).removeprefix('torch.')}")


def forward(input: Tensor, kernels: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the involution of `input` by `kernels` into `output`; `geometry` is (K, stride, dilation, padding)."""
    shapes = (input.shape, kernels.shape, output.shape, geometry)
    _run("forward", dense_map(_precise(input)), dense_kernels(_precise(kernels)), output, shapes)


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
    scale, bias = (_precise(tensor).contiguous() for tensor in (scale, bias))
    finish = (scale.data_ptr(), bias.data_ptr(), *limits)
    _run("folded", dense_map(_precise(input)), dense_kernels(_precise(kernels)), output, shapes, finish)


class Linear(NamedTuple):
    """A linear map of each pixel: weight (inputs, outputs), dense, and bias (outputs,)."""

    weight: Tensor
    bias: Tensor


def spanned(
    input: Tensor,
    map: Tensor,
    layers: tuple[Linear | None, Linear],
    finish: tuple[Tensor, Tensor, float, float],
    output: Tensor,
    geometry: tuple[int, ...],
) -> None:
    """Write the folded involution of `input` by kernels that are made from a map as they are used.

    Args:
        input: (B, C, H, W), float32 or float64, as all that follow.
        map: (B, M, H', W'); the kernels are span(relu(reduce(map))), or span(map) without reduce.
        layers: Reduce, or None, and span, whose outputs are the K * K taps of group after group.
        finish: Scale and bias of each channel, the least and the largest value of the result.
        output: (B, C, H', W').
        geometry: (K, stride, dilation, padding).
    """
    reduce, span = layers
    shapes = (input.shape, _kernel_shape(map.shape, reduce and reduce.weight.shape, span.weight.shape, geometry[0]))
    scale, bias, low, high = finish
    linear = (*(_pointers(reduce) if reduce else (None, None)), *_pointers(span), map.shape[1], len(span.weight))
    more = (scale.data_ptr(), bias.data_ptr(), low, high, *linear)
    _run("spanned", dense_map(input), dense_map(map), output, (*shapes, output.shape, geometry), more)


def _pointers(layer: Linear) -> tuple[int, int]:
    return layer.weight.data_ptr(), layer.bias.data_ptr()


@functools.lru_cache(maxsize=1024)
def _kernel_shape(map: torch.Size, reduce: torch.Size | None, span: torch.Size, kernel_size: int) -> torch.Size:
    """Return the shape of the kernels that layers make of a map."""
    inputs = map[1] if reduce is None else reduce[1]
    taps = kernel_size**2
    if (reduce is not None and reduce[0] != map[1]) or span[0] != inputs or span[1] % taps:
        raise BadInput(f"layers of {reduce} and {span} make no kernels of {taps} taps from a map of {tuple(map)}")
    return torch.Size((map[0], span[1] // taps, taps, *map[2:]))


def grad_input(grad: Tensor, kernels: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the gradient of the input into `output` from that of the result."""
    shapes = (output.shape, kernels.shape, grad.shape, geometry)
    _run("grad_input", dense_map(_precise(grad)), dense_kernels(_precise(kernels)), output, shapes)


def grad_kernels(grad: Tensor, input: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the gradient of the kernels into `output` from that of the result."""
    shapes = (input.shape, output.shape, grad.shape, geometry)
    _run("grad_kernels", dense_map(_precise(grad)), dense_map(_precise(input)), output, shapes)


@functools.lru_cache(maxsize=1024)
def _sizes(
    input: torch.Size, kernels: torch.Size, output: torch.Size, geometry: tuple[int, ...], threads: int
) -> tuple[Any, int]:
    """Return the sizes as the library reads them, and their address.

    The library trusts them, so they are checked here, once for every set of shapes.
    """
    check_sizes(input, kernels, output, Window(*geometry))
    sizes = (*input[:2], kernels[1], *input[2:], *output[2:], *geometry, threads)
    array = (ctypes.c_int64 * len(sizes))(*sizes)
    return array, ctypes.addressof(array)


def _precise(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype in _PRECISE else tensor.to(torch.float32)


def _run(
    name: str, first: Tensor, second: Tensor, output: Tensor, shapes: tuple[Any, ...], more: tuple[Any, ...] = ()
) -> None:
    if first.dtype != second.dtype:
        raise BadInput(f"the tensors of involution must share one dtype, but got {first.dtype} and {second.dtype}")
    sizes, address = _sizes(*shapes, torch.get_num_threads())
    written = workspace(output, first.dtype)
    if _function(name, first.dtype)(first.data_ptr(), second.data_ptr(), written.data_ptr(), address, *more):
        raise MemoryError(f"involution had no memory for its bookkeeping at sizes {tuple(sizes)}")
    if written is not output:
        output.copy_(written)
