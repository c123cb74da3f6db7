"""What a call of involution costs beyond an empty torch operator: one pixel, one channel, one thread, on the CPU.

    python benchmarks/call.py

The empty operators are registered as involution is, from Python with a gradient, and compute nothing. Each figure is
the shortest of several runs: on a busy machine the others measure its neighbours.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from invnas.ops import backend_of, involution2d

RESULTS = Path(__file__).parent / "results" / "call.json"

_library = torch.library.Library("invnas_empty", "DEF")
_library.define("nothing(Tensor input, Tensor kernels, int a, int b, int c, int d) -> Tensor")
_library.impl("nothing", lambda input, kernels, *_: torch.empty_like(input), "CPU")
torch.library.register_autograd(
    "invnas_empty::nothing",
    lambda ctx, grad: (grad, None, None, None, None, None),
    setup_context=lambda ctx, inputs, output: None,
    lib=_library,
)


def microseconds(calls: list[Callable[[], Any]], number: int = 1000, repeat: int = 15) -> list[float]:
    """Return the shortest time of each call, all of them measured in turns."""
    laps = [[timeit.timeit(call, number=number) for call in calls] for _ in range(repeat)]
    return [min(column) / number * 1e6 for column in zip(*laps, strict=True)]


def measure(grad: bool) -> dict[str, float]:
    x = torch.randn(1, 1, 1, 1, requires_grad=grad)
    kernels = torch.randn(1, 1, 1, 1, 1, requires_grad=grad)
    relu, empty, ours = microseconds(
        [
            lambda: torch.relu(x),
            lambda: torch.ops.invnas_empty.nothing(x, kernels, 1, 1, 1, 0),
            lambda: involution2d(x, kernels, 1),
        ]
    )
    return {"relu_us": relu, "empty_us": empty, "involution2d_us": ours, "beyond_empty_us": ours - empty}


def main() -> None:
    torch.set_num_threads(1)
    rows = {"no gradient wanted": measure(False), "gradient wanted": measure(True)}
    for name, row in rows.items():
        print(f"{name:<20}", "  ".join(f"{key} {value:.1f}" for key, value in row.items()))
    document = {"torch": torch.__version__, "backend": backend_of("cpu"), **rows}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
