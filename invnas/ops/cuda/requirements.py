"""What the CUDA backend needs of a machine: the facts, gathered in one place, and the sentence for what is missing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch

import invnas.ops.cuda.compiler as compiler
import invnas.ops.cuda.plan as plan
from invnas.errors import InvnasError
from invnas.ops.geometry import Window

OLDEST = 80  # compute capability, 10 * major + minor: copies to shared memory that run aside, and bfloat16


@dataclass(frozen=True)
class Facts:
    """What was found on a machine; later facts are looked for only where the earlier ones allow it.

    Attributes:
        torch_cuda: The CUDA torch was built for, such as "13.0", or None.
        device: Whether torch finds a CUDA device.
        capability: Compute capability of the device, 10 * major + minor.
        cupy: Version of CuPy, or None where it does not import.
        cupy_problem: Why CuPy does not import; None where it is not installed at all.
        cupy_cuda: The CUDA CuPy was built for, 1000 * major + 10 * minor.
        driver_cuda: The newest CUDA the driver knows, likewise.
        architectures: The compute capabilities NVRTC compiles for, the oldest first.
        nvrtc_problem: Why NVRTC does not load.
    """

    torch_cuda: str | None
    device: bool
    capability: int = 0
    cupy: str | None = None
    cupy_problem: str | None = None
    cupy_cuda: int = 0
    driver_cuda: int = 0
    architectures: tuple[int, ...] = ()
    nvrtc_problem: str | None = None


def gather(index: int | None) -> Facts:
    """Return the facts about one GPU of this machine; None is the current one."""
    facts = Facts(torch.version.cuda, torch.cuda.is_available())
    if facts.torch_cuda is None or not facts.device:
        return facts
    major, minor = torch.cuda.get_device_capability(index)
    return with_cupy(replace(facts, capability=10 * major + minor))


def with_cupy(facts: Facts) -> Facts:
    """Return the same facts with those that only CuPy can tell."""
    try:
        found = compiler.versions()
    except Exception as problem:  # a broken installation raises what it likes
        missing = isinstance(problem, ModuleNotFoundError) and problem.name == "cupy"
        return replace(facts, cupy_problem=None if missing else said(problem))
    facts = replace(facts, cupy=found.cupy, cupy_cuda=found.built_for, driver_cuda=found.driver)
    try:
        return replace(facts, architectures=compiler.architectures())
    except Exception as problem:
        return replace(facts, nvrtc_problem=said(problem))


def reason(facts: Facts) -> str | None:
    """Return in one sentence what the CUDA backend misses, or None."""
    if facts.torch_cuda is None:
        return "this torch is built without CUDA"
    if not facts.device:
        return "torch finds no CUDA device on this machine"
    oldest = max((OLDEST, *facts.architectures[:1]))
    if facts.capability < oldest:
        has, needs = (f"{number // 10}.{number % 10}" for number in (facts.capability, oldest))
        return f"the GPU has compute capability {has}, and these kernels need at least {needs}"
    install = f"pip install 'invnas[cuda{facts.torch_cuda.partition('.')[0]}]'"
    if facts.cupy_problem:
        return f"CuPy is installed but does not import ({facts.cupy_problem}): run {install}"
    if facts.cupy is None:
        return f"CuPy is not installed: run {install}"
    if facts.driver_cuda // 1000 < facts.cupy_cuda // 1000:
        known = f"{facts.driver_cuda // 1000}.{facts.driver_cuda % 1000 // 10}"
        return (
            f"the driver knows CUDA up to {known}, and this CuPy is built for CUDA "
            f"{facts.cupy_cuda // 1000}: update the driver or run pip install 'invnas[cuda{facts.driver_cuda // 1000}]'"
        )
    if facts.nvrtc_problem:
        return f"NVRTC, the compiler CuPy uses, does not load ({facts.nvrtc_problem}): run {install}"
    return None


def try_out(index: int) -> str | None:
    """Compile and load a kernel of each kind; return in one sentence why that fails, or None."""
    try:
        for kernel, K in itertools.product(plan.KERNELS, (1, 3)):  # K read at run time, and compiled in
            one = plan.plan(kernel, "float32", 1, 4, 1, (K, K), (1, 1), Window(K), 16)
            compiler.load(one.variant, index)
    except compiler.NotCompiled as problem:
        return str(problem)
    except InvnasError:  # the capture of a CUDA graph, which passes
        raise
    except Exception as problem:  # the errors of the driver are RuntimeErrors of CuPy
        return f"the compiled kernels do not load ({said(problem)})"
    return None


def said(problem: BaseException) -> str:
    """Return the first line of an error that says something, of its cause where it has one."""
    problem = problem.__cause__ or problem
    return f"{type(problem).__name__}: {compiler.first_error(str(problem))}"
