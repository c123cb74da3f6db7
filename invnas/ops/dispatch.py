"""The library of registered operators, and who computes them on which device.

On CPUs the C++ of invnas.ops.cpu computes them, on NVIDIA GPUs the kernels of invnas.ops.cuda, and where one of them
cannot run, shift-and-accumulate. The environment variable INVNAS_BACKEND, read once at import, asks for one of them:
`shift` for it everywhere; `cpu` or `cuda`, which is then an error to miss.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

import invnas.ops.cpu as cpu
import invnas.ops.cuda as cuda
from invnas.errors import BadInput

Tensor = torch.Tensor

GEOMETRY = "int kernel_size, int stride, int dilation, int padding"
library = torch.library.Library("invnas", "DEF")

_SWITCH = "INVNAS_BACKEND"  # shift, cpu or cuda, read once: for benchmarks and debugging


def why_not(device: str | torch.device) -> str | None:
    """Return why the native backend does not compute involution on a device, or None when it does."""
    where = torch.device(device)
    if where.type not in ("cpu", "cuda"):
        return f"there is no native backend for {where.type} devices"
    if forced == "shift":
        return f"{_SWITCH}=shift asks for shift-and-accumulate"
    return cpu.why_not() if where.type == "cpu" else cuda.why_not(where)


def backend_of(device: str | torch.device) -> str:
    """Return the name of the backend that computes involution on a device."""
    where = torch.device(device)
    if why_not(where):
        return "shift (pure torch)"
    return f"cpu (C++, {cpu.instruction_set()})" if where.type == "cpu" else cuda.name(where)


def native(tensor: Tensor) -> Any:
    """Return the backend that computes on the device of a tensor, or None."""
    if tensor.is_cuda:
        return None if cuda.why_not(tensor.device) else cuda
    return None if cpu.why_not() else cpu


def register(name: str, anywhere: Callable[..., Tensor], where_native: Callable[..., Tensor]) -> None:
    """Register what computes a defined operator on any device, and where a native backend may, and its autocast."""
    library.impl(name, anywhere, "CompositeExplicitAutograd")
    if forced != "shift":
        library.impl(name, where_native, "CPU")
        library.impl(name, where_native, "CUDA")
    for kind in ("cpu", "cuda"):
        _cast_under_autocast(name, kind)


def _cast_under_autocast(name: str, device: str) -> None:
    """Register the rule of convolution: all operands in the dtype of autocast, except that float64 stays.

    torch.library.register_autocast knows one dtype only, whatever the region asks for.
    """
    key = f"Autocast{device.upper()}"
    operator = getattr(torch.ops.invnas, name).default

    def cast(value: Any) -> Any:
        keep = not isinstance(value, Tensor) or value.dtype == torch.float64 or value.device.type != device
        return value if keep else value.to(torch.get_autocast_dtype(device))

    def ruled(*operands: Any) -> Tensor:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))):
            result: Tensor = operator(*map(cast, operands))
        return result

    library.impl(name, ruled, key)


def _forced_backend() -> str:
    wanted = os.environ.get(_SWITCH, "")
    if wanted not in ("", "shift", "cpu", "cuda"):
        raise BadInput(f"`{_SWITCH}` must be shift, cpu or cuda, but got `{wanted}`")
    missing = {"cpu": cpu.why_not, "cuda": lambda: cuda.why_not(torch.device("cuda"))}
    if wanted in missing and (reason := missing[wanted]()):
        raise BadInput(f"`{_SWITCH}` asks for `{wanted}`, but {reason}")
    return wanted


forced = _forced_backend()
