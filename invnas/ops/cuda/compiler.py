"""The one file that imports CuPy: text to machine code, machine code to functions on a GPU, and their launches.

Of CuPy only the bindings of NVRTC and of the driver are used. No CuPy array is ever made, so its memory pool stays
empty, and its headers, its own cache and its context tricks are not in the way. Machine code is kept on disk, under
what it was made from: a new batch size or resolution compiles nothing, and neither does a new process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from invnas.errors import InvnasError
from invnas.ops.cuda.plan import FIELDS, Launch, Variant, source

# Addresses of the first and the second argument and of the result; of a folded kernel also those of scale and bias, and
# the two limits.
Call = Callable[..., None]

_Addresses = ctypes.c_void_p * 3
_Arguments = ctypes.c_void_p * 4


class Told(ctypes.Structure):
    """`struct Told` of the kernels: the sizes of a launch, then what a folded kernel ends with."""

    _fields_ = (
        ("sizes", ctypes.c_int64 * len(FIELDS)),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("low", ctypes.c_double),
        ("high", ctypes.c_double),
    )


class NotCompiled(InvnasError):
    """NVRTC refuses the text of the kernels."""


@dataclass(frozen=True)
class Versions:
    """What CuPy says of itself and of the driver; versions of CUDA as 1000 * major + 10 * minor."""

    cupy: str
    built_for: int
    driver: int


def versions() -> Versions:
    """Return the versions of CuPy; raises whatever its import raises."""
    import cupy
    from cupy.cuda import driver, runtime

    return Versions(cupy.__version__, driver.get_build_version(), runtime.driverGetVersion())


@functools.cache
def architectures() -> tuple[int, ...]:
    """Return the compute capabilities that NVRTC compiles for, as 10 * major + minor; raises when it does not load."""
    from cupy.cuda import nvrtc

    return tuple(sorted(nvrtc.getSupportedArchs()))


def options(variant: Variant, capability: tuple[int, int], known: tuple[int, ...]) -> tuple[str, ...]:
    """Return what NVRTC is told: machine code for this GPU, or PTX where the GPU is newer than NVRTC.

    Args:
        variant: What is compiled in.
        capability: Compute capability of the GPU.
        known: Capabilities that NVRTC compiles for.
    """
    wanted = 10 * capability[0] + capability[1]
    target = f"sm_{wanted}" if wanted in known else f"compute_{max(one for one in known if one < wanted)}"
    return ("--std=c++17", f"-arch={target}", *variant.defines)


def compile_text(text: str, chosen: tuple[str, ...]) -> bytes:
    """Return the machine code (or PTX) of a text; raises NotCompiled with the first error of its log."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, "involution.cu", (), ())
    try:
        nvrtc.compileProgram(program, chosen)
        native = any(option.startswith("-arch=sm_") for option in chosen)
        code: bytes = nvrtc.getCUBIN(program) if native else nvrtc.getPTX(program)
        return code
    except nvrtc.NVRTCError as problem:
        log = nvrtc.getProgramLog(program) or str(problem)
        raise NotCompiled(f"NVRTC does not compile the kernels: {first_error(log)}") from None
    finally:
        nvrtc.destroyProgram(program)


def first_error(log: str) -> str:
    """Return the first line of a log that names an error, else its first line.

    >>> first_error("a.cu(1): warning: dull\\na.cu(2): error: bad\\n")
    'a.cu(2): error: bad'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip(" =-\t\0")] or ["no reason was given"]
    return next((line for line in lines if "error" in line.lower()), lines[0])


def cache_folder() -> Path:
    """Return where machine code is kept: $INVNAS_CACHE_DIR, else invnas in the user's folder for caches."""
    if chosen := os.environ.get("INVNAS_CACHE_DIR"):
        return Path(chosen) / "cuda"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "invnas" / "cuda"


def cache_key(text: str, chosen: tuple[str, ...], compiler: tuple[int, int]) -> str:
    """Return the name of a piece of machine code: all that it was made from, as a digest."""
    return hashlib.sha256("\0".join((text, *chosen, repr(compiler))).encode()).hexdigest()


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """Return what the cache holds under a key, else what `make` makes, which is kept where the disk allows it."""
    try:
        path = cache_folder() / key
    except RuntimeError:  # a user without a home
        return make()
    with contextlib.suppress(OSError):
        found = path.read_bytes()
        if found[:32] == hashlib.sha256(found[32:]).digest():
            return found[32:]
    code = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not the result
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and moved: another process sees all of it or nothing.
        handle, aside = tempfile.mkstemp(dir=path.parent)
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(aside, path)
    return code


@functools.cache
def machine_code(variant: Variant, capability: tuple[int, int]) -> bytes:
    """Return the code of one variant for one kind of GPU, compiled once for all processes."""
    from cupy.cuda import nvrtc

    chosen = options(variant, capability, architectures())
    return kept(cache_key(source(), chosen, nvrtc.getVersion()), lambda: compile_text(source(), chosen))


@dataclass(frozen=True)
class Loaded:
    """A function on one GPU, and the context it lives in, as the driver names them."""

    function: int
    context: int


@functools.cache
def load(variant: Variant, index: int) -> Loaded:
    """Return one variant ready to be launched on one GPU."""
    from cupy.cuda import driver

    if torch.cuda.is_current_stream_capturing():
        raise InvnasError(
            f"{variant.function} is not loaded yet, which a CUDA graph cannot capture: run the network once before the "
            "capture, or call invnas.ops.cuda.warmup"
        )
    code = machine_code(variant, torch.cuda.get_device_capability(index))
    with torch.cuda.device(index):
        torch.cuda.mem_get_info(index)  # makes torch's context of this GPU current, also in a thread that has none yet
        return Loaded(driver.moduleGetFunction(driver.moduleLoadData(code), variant.function), driver.ctxGetCurrent())


def launcher(launch: Launch, index: int) -> Call:
    """Return a function that launches on one GPU, on the stream that is torch's current one at every call."""
    from cupy.cuda import driver

    loaded = load(launch.variant, index)
    # torch's own Triton launcher asks for the address of the stream like this: a Stream object costs two microseconds.
    return bind(driver, loaded, launch, functools.partial(torch._C._cuda_getCurrentRawStream, index))


def bind(driver: Any, loaded: Loaded, launch: Launch, stream: Callable[[], int]) -> Call:
    """Return the call of a loaded function with everything fixed but the three addresses and the stream.

    Args:
        driver: CuPy's binding of the driver.
        loaded: The function and its context.
        launch: Grid, block, shared memory, sizes.
        stream: Returns the current stream.
    """
    run, current, make_current = driver.launchKernel, driver.ctxGetCurrent, driver.ctxSetCurrent
    numbers = (loaded.function, *launch.grid, *launch.block, launch.shared_bytes)
    told = Told((ctypes.c_int64 * len(FIELDS))(*launch.sizes))
    context, address = loaded.context, ctypes.addressof

    def call(first: int, second: int, result: int, *finish: float) -> None:
        # New arrays at every call: two threads may launch at once, and the driver copies what they point to.
        addresses = _Addresses(first, second, result)
        at, sizes = address(addresses), told
        if finish:
            sizes = type(told).from_buffer_copy(told)
            sizes.scale, sizes.bias, sizes.low, sizes.high = finish
        arguments = _Arguments(at, at + 8, at + 16, address(sizes))
        # A thread may have another GPU current, or none yet: the driver wants the one the function lives on.
        before = current()
        if before == context:
            run(*numbers, stream(), address(arguments), 0)
            return
        make_current(context)
        try:
            run(*numbers, stream(), address(arguments), 0)
        finally:
            make_current(before)

    return call
