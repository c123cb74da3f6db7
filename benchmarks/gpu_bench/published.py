"""The published mapping as a contestant: compiled anew for every shape, by CuPy on a GPU and by g++ elsewhere."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gpu_bench.model import Shape
from gpu_bench.operands import Operands, Steps

HERE = Path(__file__).parent
NAMES = ("forward", "grad_input", "grad_kernels")
THREADS = 1024  # of a block, as published
Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object]


def macros(shape: Shape) -> tuple[str, ...]:
    """Return the sizes as compiler options."""
    kernel, stride, dilation, padding = shape.geometry
    sizes = {"BATCH": shape.batch, "CHANNELS": shape.channels, "GROUPS": shape.groups}
    sizes |= {"HEIGHT": shape.size, "WIDTH": shape.size, "OUT_HEIGHT": shape.out, "OUT_WIDTH": shape.out}
    sizes |= {"KERNEL": kernel, "STRIDE": stride, "DILATION": dilation, "PADDING": padding}
    return tuple(f"-D{name}={value}" for name, value in sizes.items())


@functools.cache
def on_host(shape: Shape) -> dict[str, Call]:
    """Return the three kernels built by g++ and run in loops."""
    if shutil.which("g++") is None:
        raise RuntimeError("there is no g++ to build the published mapping for this processor")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "published.so"
        flags = ["-O1", "-w", "-shared", "-fPIC", *macros(shape)]
        subprocess.run(["g++", *flags, str(HERE / "published_host.cpp"), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))

    def call(name: str) -> Call:
        function = getattr(loaded, f"run_published_{name}")
        function.argtypes = [ctypes.c_void_p] * 3
        return lambda *tensors: function(*(tensor.data_ptr() for tensor in tensors))

    return {name: call(name) for name in NAMES}


@functools.cache
def module(shape: Shape) -> Any:
    """Return the CuPy module of this shape."""
    import cupy

    return cupy.RawModule(code=(HERE / "published.cu").read_text(), options=macros(shape))


@functools.cache
def on_device(shape: Shape) -> dict[str, Call]:
    """Return the three kernels compiled by CuPy for this shape; each launches on torch's stream."""
    import cupy

    def call(name: str) -> Call:
        kernel = module(shape).get_function(f"published_{name}")

        def launch(first: torch.Tensor, second: torch.Tensor, result: torch.Tensor) -> None:
            blocks = (result.numel() + THREADS - 1) // THREADS
            with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
                kernel((blocks,), (THREADS,), tuple(t.data_ptr() for t in (first, second, result)))

        return launch

    return {name: call(name) for name in NAMES}


def steps(shape: Shape, given: Operands) -> Steps:
    """Return the three directions over contiguous copies of the operands, which are made here, not timed."""
    x, kernels, grad = (tensor.contiguous() for tensor in (given.x, given.kernels, given.grad))
    calls = on_device(shape) if x.is_cuda else on_host(shape)

    def step(name: str, first: torch.Tensor, second: torch.Tensor, like: torch.Tensor) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            result = torch.empty_like(like)
            calls[name](first, second, result)
            return result

        return run

    return {
        "forward": step("forward", x, kernels, grad),
        "grad_input": step("grad_input", grad, kernels, x),
        "grad_kernels": step("grad_kernels", grad, x, kernels),
    }
