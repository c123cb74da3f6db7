"""A network as a graph of standard operators: torch.export programs and ONNX files, with a batch of any size.

Involution is registered as one operator, which nobody without invnas knows. Here it becomes what it is: for each tap
a slice of the padded map times a kernel, summed. In both graphs nothing K * K times the map is ever in memory.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from invnas.errors import InvnasError, MissingExtra
from invnas.ops.geometry import Window

#: The operator set of every ONNX file, the oldest that has all that is needed.
OPSET = 18

_Tensor = torch.Tensor


class _Taps(TorchFunctionMode):
    """Traces involution as one multiply-add for each tap."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ops = torch.ops.invnas
        plain = {
            ops.involution2d: _taps,
            ops.involution2d_folded: _folded_taps,
            ops.involution2d_grad_kernels: _products,
        }
        return plain.get(getattr(func, "overloadpacket", func), func)(*args, **(kwargs or {}))


def _taps(input: _Tensor, kernels: _Tensor, *geometry: int) -> _Tensor:
    """Return the involution by as few nodes as can be: tracing and loading cost milliseconds for each."""
    window, (groups, _, *size) = Window(*geometry), kernels.shape[1:]
    weights = kernels.unsqueeze(2).unbind(3)
    total: _Tensor | None = None
    for weight, tap in zip(weights, _shifted(input, window, groups, size), strict=True):
        total = tap * weight if total is None else torch.addcmul(total, tap, weight)
    assert total is not None
    return total.flatten(1, 2)


def _folded_taps(
    input: _Tensor, kernels: _Tensor, scale: _Tensor, bias: _Tensor, low: float, high: float, *geometry: int
) -> _Tensor:
    """Return the involution times scale, plus bias, kept between the limits there are."""
    output = _taps(input, kernels, *geometry) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)
    limits = [limit if math.isfinite(limit) else None for limit in (low, high)]
    return output if limits == [None, None] else output.clamp(*limits)


def _products(queries: _Tensor, keys: _Tensor, *sizes: int) -> _Tensor:
    """Return the product of each position with every tap of its window, summed over the channels of a group."""
    *geometry, groups = sizes
    grouped = queries.unflatten(1, (groups, queries.shape[1] // groups))
    taps = _shifted(keys, Window(*geometry), groups, list(queries.shape[2:]))
    return torch.stack([(tap * grouped).sum(2) for tap in taps], 2)


def _shifted(input: _Tensor, window: Window, groups: int, size: list[int]) -> Iterator[_Tensor]:
    """Yield what each tap meets of a map: (B, G, C / G, *size)."""
    padded = F.pad(input, (window.padding,) * 4).unflatten(1, (groups, input.shape[1] // groups))
    starts = range(0, window.kernel_size * window.dilation, window.dilation)
    rows = [padded[:, :, :, window.span(u, size[0])] for u in starts]
    for row, v in product(rows, starts):
        yield row[..., window.span(v, size[1])]


def _taps_onnx(input: Any, kernels: Any, kernel_size: int, stride: int, dilation: int, padding: int) -> Any:
    """Return the same as `_taps` in ONNX operators, at once: torch would trace each of them four times."""
    from onnxscript import opset18 as op

    window = Window(kernel_size, stride, dilation, padding)
    groups, _, *size = list(kernels.shape)[1:]
    weights = op.Split(kernels, axis=2, num_outputs=window.taps) if window.taps > 1 else [kernels]
    total: Any = None
    for weight, tap in zip(weights, _shifted_onnx(input, window, groups, size), strict=True):
        part = op.Mul(tap, weight)
        total = part if total is None else op.Add(total, part)
    return op.Reshape(total, _ints(0, input.shape[1], *size))


def _folded_taps_onnx(
    input: Any,
    kernels: Any,
    scale: Any,
    bias: Any,
    low: float,
    high: float,
    kernel_size: int,
    stride: int,
    dilation: int,
    padding: int,
) -> Any:
    from onnxscript import opset18 as op

    total = _taps_onnx(input, kernels, kernel_size, stride, dilation, padding)
    scale, bias = (op.Reshape(values, _ints(-1, 1, 1)) for values in (scale, bias))
    total = op.Add(op.Mul(total, scale), bias)
    if math.isfinite(low):
        total = op.Max(total, op.Constant(value_float=low))
    return op.Min(total, op.Constant(value_float=high)) if math.isfinite(high) else total


def _products_onnx(
    queries: Any, keys: Any, kernel_size: int, stride: int, dilation: int, padding: int, groups: int
) -> Any:
    from onnxscript import opset18 as op

    window = Window(kernel_size, stride, dilation, padding)
    channels, *size = list(queries.shape)[1:]
    grouped = op.Reshape(queries, _ints(0, groups, channels // groups, *size))
    channel = _ints(2)
    taps = _shifted_onnx(keys, window, groups, size)
    return op.Concat(*(op.ReduceSum(op.Mul(tap, grouped), channel, keepdims=1) for tap in taps), axis=2)


def _shifted_onnx(input: Any, window: Window, groups: int, size: list[int]) -> Iterator[Any]:
    from onnxscript import opset18 as op

    channels, *sides = list(input.shape)[1:]
    margins, axes, steps = _ints(*(0, 0, window.padding, window.padding) * 2), _ints(3, 4), _ints(*[window.stride] * 2)
    grouped = _ints(0, groups, channels // groups, *(side + 2 * window.padding for side in sides))
    padded = op.Reshape(op.Pad(input, margins), grouped)
    for u, v in window.offsets():
        rows, columns = window.span(u, size[0]), window.span(v, size[1])
        yield op.Slice(padded, _ints(rows.start, columns.start), _ints(rows.stop, columns.stop), axes, steps)


def _ints(*values: int) -> Any:
    from onnxscript import opset18 as op

    return op.Constant(value_ints=values)


def write_pt2(network: nn.Module, images: _Tensor, path: Path) -> None:
    """Write a torch.export program that needs torch alone."""
    with _Taps():
        program = _trace(network, images)
    with _quiet():
        torch.export.save(program, path)


def run_pt2(path: Path, images: list[_Tensor]) -> list[_Tensor]:
    """Return the scores of a program for each batch."""
    with _quiet(), torch.no_grad():
        module = torch.export.load(path).module()
        return [module(batch) for batch in images]


def write_onnx(network: nn.Module, images: _Tensor, path: Path, metadata: Mapping[str, str] = {}) -> None:
    """Write an ONNX file with the input `images` and the output `scores`; data beside it only above 2 GB."""
    program = _trace(network, images)
    with _quiet():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["scores"],
                custom_translation_table={
                    torch.ops.invnas.involution2d.default: _taps_onnx,
                    torch.ops.invnas.involution2d_folded.default: _folded_taps_onnx,
                    torch.ops.invnas.involution2d_grad_kernels.default: _products_onnx,
                },
                optimize=False,  # half a minute for RedNet-26, and onnxruntime does the same when it loads
            )
        except Exception as error:
            raise InvnasError(f"the network cannot become ONNX: {_first_line(error)}") from error
        assert exported is not None
        if exported.model.functions:
            exported.optimize()  # dissolves helper functions of the exporter into standard operators
        _tidy(exported.model)
        exported.model.metadata_props.update(metadata)
        size = sum(value.nbytes for value in network.state_dict().values())
        exported.save(path, external_data=size > 2**31 - 2**24)


def run_onnx(path: Path, images: list[_Tensor]) -> list[_Tensor]:
    """Return the scores of an ONNX file in onnxruntime on the CPU for each batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(["scores"], {"images": batch.numpy()})[0]) for batch in images]


def need_onnx() -> None:
    """Raise MissingExtra unless the packages for ONNX are installed."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, "onnx") from None


def _trace(network: nn.Module, images: _Tensor) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(network, (images,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # whatever a user's own module does
        raise InvnasError(f"torch.export cannot trace the network for any batch size: {_first_line(error)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _tidy(model: Any) -> None:
    """Name the batch dimension and drop the exporter's notes, which hold paths of this machine."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape[0] = "batch"
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
    model.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
