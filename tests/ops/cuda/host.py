"""The kernels' text built for the host, for machines without a GPU: the same arithmetic, threads as loops."""

from __future__ import annotations

import ctypes
import functools
import math
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from invnas.ops.cuda.plan import Launch, plan, source, variants
from invnas.ops.geometry import Window

Tensor = torch.Tensor
HERE = Path(__file__).parent
_OPTIONS = ["-std=c++17", "-fno-strict-aliasing", "-Wno-unknown-pragmas", "-Wno-attributes", f"-I{HERE}"]
_SANITIZED = ["-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DINVNAS_PROGRAM"]
_TAPS_LAST = (0, 3, 4, 1, 2)  # (B, G, K * K, H', W') to (B, H', W', G, K * K)


@dataclass(frozen=True)
class Call:
    """One call of an operator: its launch, its operands in the kernels' memory, and the shape of its result there.

    Of a folded kernel, also scale and bias, and the limits."""

    launch: Launch
    first: Tensor
    second: Tensor
    shape: tuple[int, ...]
    alignment: int
    finish: tuple[Tensor, ...] = ()
    limits: tuple[float, float] = (0.0, 0.0)


def build(folder: Path, sanitize: bool = False) -> Path:
    """Compile every variant with g++ into a program (sanitize) or a shared library, and return its path.

    Raises:
        subprocess.CalledProcessError: If g++ does not compile it, with its words in `stderr`.
    """
    entries = "\n".join(variant.entry for variant in variants())
    table = "".join(f'{{"{v.function}", reinterpret_cast<void (*)()>({v.function})}},\n' for v in variants())
    text = source() + entries
    table = f"const InvnasEntry invnas_table[] = {{{table}{{nullptr, nullptr}}}};"
    text = f'#include "shim.h"\n{text}\n#include "driver.h"\n{table}\n'
    written, built = folder / "involution.cpp", folder / ("involution" if sanitize else "involution.so")
    written.write_text(text)
    options = _SANITIZED if sanitize else ["-O1", "-shared", "-fPIC"]
    command = ["g++", *_OPTIONS, *options, str(written), "-o", str(built)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return built


def call(
    kernel: str,
    first: Tensor,
    second: Tensor,
    window: Window,
    *,
    size: tuple[int, int] | None = None,
    groups: int = 0,
    alignment: int = 16,
    shared_limit: int = 48 * 1024,
    finish: tuple[Tensor, ...] = (),
    limits: tuple[float, float] = (0.0, 0.0),
) -> Call:
    """Return a call on tensors in the operator's shapes: forward(input, kernels), grad_input(grad, kernels) of `size`,
    grad_kernels(grad, input) of `groups`, folded(input, kernels) with `finish` (scale, bias) and `limits`."""
    batch, channels = first.shape[:2]
    groups = groups or second.shape[1]
    size = size or tuple((first if kernel in ("forward", "folded") else second).shape[2:])
    out = (window.out(size[0]), window.out(size[1]))
    dtype = str(first.dtype).removeprefix("torch.")
    launch = plan(kernel, dtype, batch, channels, groups, size, out, window, alignment, shared_limit)
    shape = {
        "forward": (batch, *out, channels),
        "folded": (batch, *out, channels),
        "grad_input": (batch, *size, channels),
        "grad_kernels": (batch, *out, groups, window.taps),
    }[kernel]
    return Call(launch, _memory(first), _memory(second), shape, alignment, finish, limits)


def run(library: Path, one: Call) -> Tensor:
    """Return what a kernel computes, in the operator's shape, by the shared library of `build`."""
    result = torch.full(one.shape, math.nan, dtype=one.first.dtype)
    name, numbers = one.launch.variant.function.encode(), _numbers(one)
    array = (ctypes.c_int64 * len(numbers))(*numbers)
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (one.first, one.second, result)]
    if _loaded(library).invnas_launch(name, *pointers, array):
        raise LookupError(f"the host build has no {name.decode()}")
    return shaped(result)


def run_program(program: Path, calls: list[Call]) -> list[Tensor]:
    """Return what the kernels compute, in the operator's shapes, by the sanitized program of `build`.

    Raises:
        AssertionError: With the report of the sanitizers.
    """
    requests, answers = program.with_suffix(".in"), program.with_suffix(".out")
    requests.write_bytes(b"".join(_request(one) for one in calls))
    ran = subprocess.run([program, requests, answers], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]
    rest, results = bytearray(answers.read_bytes()), []
    for one in calls:
        length = math.prod(one.shape) * one.first.element_size()
        results.append(shaped(torch.frombuffer(rest[:length], dtype=one.first.dtype).view(one.shape)))
        rest = rest[length:]
    assert not rest
    return results


def shaped(result: Tensor) -> Tensor:
    """Return a result of the kernels in the operator's shape."""
    return result.permute(0, 3, 1, 2) if result.dim() == 4 else result.permute(0, 3, 4, 1, 2)


def _memory(tensor: Tensor) -> Tensor:
    return tensor.permute((0, 2, 3, 1) if tensor.dim() == 4 else _TAPS_LAST).contiguous()


def _numbers(one: Call) -> tuple[int, ...]:
    launch = one.launch
    assert launch.grid[1:] == (1, 1)
    finish = [tensor.data_ptr() for tensor in one.finish] or [0, 0]
    limits = struct.unpack("=2q", struct.pack("=2d", *one.limits))
    return (*launch.sizes, *finish, *limits, launch.grid[0], *launch.block, launch.shared_bytes)


def _request(one: Call) -> bytes:
    name, numbers = one.launch.variant.function.encode(), _numbers(one)
    tensors = (one.first, one.second, *one.finish)
    first, second, *finish = (bytes(tensor.flatten().view(torch.uint8).numpy()) for tensor in tensors)
    length = math.prod(one.shape) * one.first.element_size()
    head = struct.pack("=6q", len(name), len(first), len(second), length, one.alignment, len(numbers))
    head += struct.pack("=q", len(finish[0]) if finish else 0)
    return head + name + struct.pack(f"={len(numbers)}q", *numbers) + first + second + b"".join(finish)


@functools.cache
def _loaded(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
    loaded.invnas_launch.argtypes = [ctypes.c_char_p, *[ctypes.c_void_p] * 3, ctypes.POINTER(ctypes.c_int64)]
    return loaded
