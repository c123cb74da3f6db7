"""Involution on CPUs in C++: float32 and float64 over channels-last memory, threads of torch.

One rule for memory: the loops read and write maps as (B, H, W, C) and kernels as (B, H', W', G, K * K). A
channels_last map, and the channels_last result of a 1x1 convolution seen as (B, G, K * K, H', W'), are that already
and are used where they lie. Anything else is copied into it once, and a result that must be contiguous is copied out
once. Half precision is computed in float32: its operands and its result are cast, one copy each.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
from pathlib import Path
from typing import Any

import torch

from invnas.errors import InvnasError

Tensor = torch.Tensor


def library_path() -> Path | None:
    """Return where the compiled library lies, or None when the package was built without it."""
    found = importlib.util.find_spec("invnas.ops.cpu._involution")
    return Path(found.origin) if found and found.origin else None


@functools.cache
def library() -> ctypes.CDLL | str:
    """Return the loaded library, or the reason why there is none, which is also logged once."""
    path = library_path()
    if path is None:
        reason = "this installation has no compiled library: no C++ compiler was found when invnas was built"
    else:
        try:
            return _typed(ctypes.CDLL(str(path)))
        except (OSError, AttributeError) as problem:
            reason = f"the compiled library does not load: {problem}"
    logging.getLogger("invnas").info("involution on the CPU runs as shift-and-accumulate: %s", reason)
    return reason


def _typed(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name in ("forward", "grad_input", "grad_kernels"):
        for dtype in ("float32", "float64"):
            getattr(loaded, f"invnas_{name}_{dtype}").argtypes = [ctypes.c_void_p] * 4
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


@functools.lru_cache(maxsize=1024)
def _sizes(*sizes: int) -> tuple[Any, int]:
    """Return the sizes as the library reads them; the array is kept, so its address stays valid."""
    array = (ctypes.c_int64 * len(sizes))(*sizes)
    return array, ctypes.addressof(array)


def forward(input: Tensor, kernels: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the involution of `input` by `kernels` into `output`; `geometry` is (K, stride, dilation, padding)."""
    sizes = (*input.shape[:2], kernels.shape[1], *input.shape[2:], *output.shape[2:], *geometry)
    _run("forward", _map(input), _kernels(kernels), _map(output), sizes)


def grad_input(grad: Tensor, kernels: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the gradient of the input into `output` from that of the result."""
    sizes = (*grad.shape[:2], kernels.shape[1], *output.shape[2:], *grad.shape[2:], *geometry)
    _run("grad_input", _map(grad), _kernels(kernels), _map(output), sizes)


def grad_kernels(grad: Tensor, input: Tensor, output: Tensor, geometry: tuple[int, ...]) -> None:
    """Write the gradient of the kernels into `output` from that of the result."""
    sizes = (*grad.shape[:2], output.shape[1], *input.shape[2:], *grad.shape[2:], *geometry)
    _run("grad_kernels", _map(grad), _map(input), _kernels(output), sizes)


def _map(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1)


def _kernels(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 4, 1, 2)


def _run(name: str, first: Tensor, second: Tensor, output: Tensor, sizes: tuple[int, ...]) -> None:
    dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
    first, second = first.to(dtype).contiguous(), second.to(dtype).contiguous()
    in_place = output.dtype == dtype and output.is_contiguous()
    written = output if in_place else torch.empty(output.shape, dtype=dtype)
    array, address = _sizes(*sizes, torch.get_num_threads())
    if _function(name, dtype)(first.data_ptr(), second.data_ptr(), written.data_ptr(), address):
        raise MemoryError(f"involution had no memory for its bookkeeping at sizes {tuple(array)}")
    if not in_place:
        output.copy_(written)
