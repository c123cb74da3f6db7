"""Correct first: every direction of a contestant against float64, from poisoned memory. A wrong one is never timed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from gpu_bench.contestants import Contestant, with_backward
from gpu_bench.model import Shape
from gpu_bench.operands import Operands, Tensor, error, leave_nan_behind, operands, poisoned

Truth = Callable[[Shape, Operands], dict[str, Tensor]]


class WrongResult(Exception):
    """A contestant whose result is not what it says it computes."""


@functools.lru_cache(maxsize=1)  # contestants that share a truth follow one another
def _known(truth: Truth, shape: Shape, dtype: str, device: str, seed: int) -> tuple[Operands, dict[str, Tensor]]:
    given = operands(shape, dtype, device, seed)
    return given, truth(shape, given)


def errors(contestant: Contestant, shape: Shape, dtype: str, device: str, seed: int = 0) -> dict[str, float]:
    """Return the relative error of every direction; raises WrongResult with the worst one over its limit."""
    given, truth = _known(contestant.truth, shape, dtype, device, seed)
    steps = with_backward(contestant.steps(shape, given))
    found: dict[str, float] = {}
    for direction, step in steps.items():
        wanted = [truth[name] for name in (("grad_input", "grad_kernels") if direction == "backward" else (direction,))]
        for tensor in wanted:
            leave_nan_behind(tensor.to(given.x.dtype))
        with nullcontext() if contestant.compiled else poisoned():
            got = step()
        results = got if isinstance(got, tuple) else (got,)
        found[direction] = max(error(value, want) for value, want in zip(results, wanted, strict=True))
    worst = max(found, key=lambda name: found[name])
    if not found[worst] <= contestant.limit(dtype):
        raise WrongResult(f"wrong: the error of {worst} is {found[worst]:.1e}, over {contestant.limit(dtype):.0e}")
    return found


def first_line(problem: BaseException) -> str:
    """Return a problem as one line of a table."""
    text = next(iter(str(problem).splitlines()), "")
    return text if isinstance(problem, WrongResult) else f"{type(problem).__name__}: {text}"


def titled(contestant: Contestant, shape: Shape, dtype: str) -> dict[str, Any]:
    """Return a row that says whose it is, and nothing else yet."""
    return {"shape": shape.text, "name": shape.name, "dtype": dtype, "contestant": contestant.name}
