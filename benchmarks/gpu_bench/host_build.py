"""The CUDA text of invnas built for this processor, as its tests do, for the part that needs no GPU."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu_bench.model import Shape
from gpu_bench.operands import Operands, Steps
from invnas.ops.geometry import Window

HARNESS = Path(__file__).resolve().parents[2] / "tests" / "ops" / "cuda" / "host.py"


@functools.cache
def built() -> tuple[Any, Path]:
    """Return the tests' module that runs the text, and the library it has built, once for this process."""
    if shutil.which("g++") is None:
        raise RuntimeError("there is no g++ to build the kernels for this processor")
    spec = importlib.util.spec_from_file_location("invnas_host_build", HARNESS)
    if spec is None or spec.loader is None or not HARNESS.is_file():
        raise RuntimeError("the host build lies in the tests, which are not here")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    folder = tempfile.TemporaryDirectory(prefix="invnas_")
    atexit.register(folder.cleanup)
    return module, module.build(Path(folder.name))


def steps(shape: Shape, given: Operands) -> Steps:
    """Return the three directions, computed in loops by the text that a GPU runs in parallel."""
    module, library = built()
    window, size = Window(*shape.geometry), (shape.size, shape.size)

    def run(*call: Any, **given: Any) -> Any:
        return module.run(library, module.call(*call, **given))

    return {
        "forward": lambda: run("forward", given.x, given.kernels, window),
        "grad_input": lambda: run("grad_input", given.grad, given.kernels, window, size=size),
        "grad_kernels": lambda: run("grad_kernels", given.grad, given.x, window, groups=shape.groups),
    }
