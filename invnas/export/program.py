"""A network as a torch.export program, with a batch of any size.

Involution is registered as one operator, which nobody without invnas knows. In a program it becomes what it is: for
each tap a slice of the padded map times a kernel, summed, so that nothing K * K times the map is ever in memory.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from invnas.errors import InvnasError
from invnas.ops.geometry import Window

Tensor = torch.Tensor


class Replaced(TorchFunctionMode):
    """Traces functions and operators, by themselves, as what another function makes of their arguments."""

    def __init__(self, by: Mapping[Any, Callable[..., Tensor]]) -> None:
        super().__init__()
        self._by = by

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what stands for `func`."""
        return self._by.get(getattr(func, "overloadpacket", func), func)(*args, **(kwargs or {}))


def write_pt2(network: nn.Module, images: Tensor, path: Path, *, any_batch: bool = True) -> None:
    """Write a torch.export program that needs torch alone, for any batch size or for that of the images."""
    program = plain_program(network, images, any_batch=any_batch)
    with quiet():
        torch.export.save(program, path)


def plain_program(network: nn.Module, images: Tensor, *, any_batch: bool = True) -> torch.export.ExportedProgram:
    """Return the program of a network in operators of torch alone; raises as `trace` does."""
    ops = torch.ops.invnas
    plain: dict[Any, Callable[..., Tensor]] = {
        ops.involution2d: _taps,
        ops.involution2d_folded: _folded_taps,
        ops.involution2d_grad_kernels: _products,
    }
    with Replaced(plain):
        return trace(network, images, any_batch=any_batch)


def run_pt2(path: Path, images: list[Tensor]) -> list[Tensor]:
    """Return the scores of a program for each batch."""
    with quiet(), torch.no_grad():
        module = torch.export.load(path).module()
        return [module(batch) for batch in images]


def trace(network: nn.Module, images: Tensor, *, any_batch: bool = True) -> torch.export.ExportedProgram:
    """Return the program of a network for any batch size, of at least two images; or for theirs alone, sooner.

    One whose output is as large as its images takes images of any size, too, from the largest stride on.

    Raises:
        InvnasError: If the network cannot be traced.
    """
    shapes: Any = {0: torch.export.Dim("batch", min=1)} if any_batch else {}
    if any_batch and getattr(getattr(network, "head", None), "takes_size", False):
        shapes |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(
                network, (images,), dynamic_shapes=(shapes,) if shapes else None, strict=False
            )
    except Exception as error:  # whatever a user's own module does
        raise InvnasError(f"torch.export cannot trace the network for any batch size: {first_line(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch says about itself while it exports."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")  # torchvision is not installed
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
            warnings.filterwarnings("ignore", message="No complete tensor found in the group", category=UserWarning)
            yield
    finally:
        logger.setLevel(level)


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


def _taps(input: Tensor, kernels: Tensor, *geometry: int) -> Tensor:
    """Return the involution by as few nodes as can be: tracing and loading cost milliseconds for each."""
    window, (groups, _, *size) = Window(*geometry), kernels.shape[1:]
    weights = kernels.unsqueeze(2).unbind(3)
    total: Tensor | None = None
    for weight, tap in zip(weights, _shifted(input, window, groups, size), strict=True):
        total = tap * weight if total is None else torch.addcmul(total, tap, weight)
    assert total is not None
    return total.flatten(1, 2)


def _folded_taps(
    input: Tensor, kernels: Tensor, scale: Tensor, bias: Tensor, low: float, high: float, *geometry: int
) -> Tensor:
    """Return the involution times scale, plus bias, kept between the limits there are."""
    output = _taps(input, kernels, *geometry) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)
    limits = [limit if math.isfinite(limit) else None for limit in (low, high)]
    return output if limits == [None, None] else output.clamp(*limits)


def _products(queries: Tensor, keys: Tensor, *sizes: int) -> Tensor:
    """Return the product of each position with every tap of its window, summed over the channels of a group."""
    *geometry, groups = sizes
    grouped = queries.unflatten(1, (groups, queries.shape[1] // groups))
    taps = _shifted(keys, Window(*geometry), groups, list(queries.shape[2:]))
    return torch.stack([(tap * grouped).sum(2) for tap in taps], 2)


def _shifted(input: Tensor, window: Window, groups: int, size: list[int]) -> Iterator[Tensor]:
    """Yield what each tap meets of a map: (B, G, C / G, *size)."""
    padded = F.pad(input, (window.padding,) * 4).unflatten(1, (groups, input.shape[1] // groups))
    starts = range(0, window.kernel_size * window.dilation, window.dilation)
    rows = [padded[:, :, :, window.span(u, size[0])] for u in starts]
    for row, v in product(rows, starts):
        yield row[..., window.span(v, size[1])]
