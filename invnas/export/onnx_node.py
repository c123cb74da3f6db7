"""Involution in an ONNX graph: one node of the domain `invnas`, whose body is a function within the file.

A runtime inlines the body. Where the kernels of invnas.onnx_library() are registered, onnxruntime runs them instead: a
kernel of a node's name is asked for before its body. Bodies differ with the shapes and a function is found by its name
alone (onnxruntime 1.23 still overlooks its `overload`), so nodes of one body share a name, Involution1, Involution2 and
so on, and the library has one kernel under the first 64 of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from invnas.export.onnx_body import ATTRIBUTES, body
from invnas.export.onnx_steps import Geometry
from invnas.ops.geometry import Window

Tensor = torch.Tensor

DOMAIN = "invnas"


def node(input: Tensor, kernels: Tensor, *geometry: int) -> Tensor:
    """Return the involution, traced as a node."""
    return _node((input, kernels), geometry, {})


def folded_node(
    input: Tensor, kernels: Tensor, scale: Tensor, bias: Tensor, low: float, high: float, *geometry: int
) -> Tensor:
    """Return clamp(involution * scale + bias, low, high), traced as a node."""
    return _node((input, kernels, scale, bias), geometry, {"low": low, "high": high})


def _node(inputs: tuple[Tensor, ...], geometry: tuple[int, ...], bounds: dict[str, float]) -> Tensor:
    input, kernels, *finish = inputs
    attributes: dict[str, Any] = {**dict(zip(ATTRIBUTES, (*geometry, kernels.shape[1]), strict=False)), **bounds}
    shape, dtype = (*input.shape[:2], *kernels.shape[3:]), input.dtype
    operands = (input, kernels.flatten(1, 2), *finish)
    return torch.onnx.ops.symbolic(f"{DOMAIN}::Involution", operands, attributes, dtype=dtype, shape=shape, version=1)


def add_bodies(model: Any, opset: int) -> None:
    """Name the involution nodes of an onnx_ir.Model by their bodies, and add these.

    Where the kernels come straight from a 1 x 1 convolution, it moves into the node: they are K * K / 16 times the map,
    and within the node they need not go through memory.
    """
    import onnx_ir

    names: dict[Geometry, str] = {}
    for node in model.graph.all_nodes():
        if node.domain == DOMAIN:
            _absorb_span(model.graph, node)
            node.op_type = names.setdefault(_geometry(node), f"Involution{len(names) + 1}")
    for geometry, name in names.items():
        function = onnx_ir.from_proto(body(name, geometry, opset))
        model.functions[function.identifier()] = function
    if names:
        model.graph.opset_imports[DOMAIN] = 1


def _absorb_span(graph: Any, node: Any) -> None:
    """Make the map before the 1 x 1 convolution that gives the kernels an input, and its weights as well."""
    import onnx_ir

    kernels = node.inputs[1]
    while (made := kernels.producer()) is not None and made.op_type == "Reshape" and made.domain == "":
        kernels = made.inputs[0]
    if made is None or not _is_span(made, node.inputs[1]):
        return
    hidden, weight, bias = made.inputs
    groups, taps = node.attributes["groups"].as_int(), node.attributes["kernel_size"].as_int() ** 2
    turned = weight.const_value.numpy().reshape(groups, taps, -1).transpose(0, 2, 1)
    name = f"{weight.name}.by_group"
    if name not in graph.initializers:
        tensor = onnx_ir.tensor(np.ascontiguousarray(turned), name=name)
        kind, shape = onnx_ir.TensorType(tensor.dtype), onnx_ir.Shape(turned.shape)
        value = onnx_ir.Value(name=name, shape=shape, type=kind, const_value=tensor)
        graph.register_initializer(value)
    finish = list(node.inputs[2:4]) or [None, None]
    node.resize_inputs(6)
    for index, value in enumerate((hidden, *finish, graph.initializers[name], bias), start=1):
        node.replace_input_with(index, value)


def _is_span(conv: Any, kernels: Any) -> bool:
    """Tell whether a node is a 1 x 1 convolution with known weights and a bias that gives just these kernels."""
    if conv.op_type != "Conv" or conv.domain != "" or len(conv.inputs) < 3 or conv.inputs[2] is None:
        return False
    weight, at = conv.inputs[1].const_value, {name: value.value for name, value in conv.attributes.items()}
    if (
        weight is None
        or conv.inputs[2].const_value is None
        or list(weight.shape[1:]) != [conv.inputs[0].shape[1], 1, 1]
    ):
        return False
    plain = at.get("group", 1) == 1 and set(at.get("strides", (1,))) == {1} and set(at.get("pads", (0,))) == {0}
    return plain and list(conv.outputs[0].shape[1:]) == list(kernels.shape[1:])


def _geometry(node: Any) -> Geometry:
    at = {name: attribute.value for name, attribute in node.attributes.items()}
    window = Window(at["kernel_size"], at["stride"], at["dilation"], at["padding"])
    _, channels, height, width = node.inputs[0].shape
    bounds = (at.get("low", -math.inf), at.get("high", math.inf)) if node.inputs[2:] and node.inputs[2] else None
    hidden = node.inputs[1].shape[1] if len(node.inputs) > 4 else None
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return Geometry(window, at["groups"], channels, size, bounds, hidden)


def products(queries: Any, keys: Any, kernel_size: int, stride: int, dilation: int, padding: int, groups: int) -> Any:
    """Return the products of local attention in operators of ONNX: torch would trace each of them four times."""
    from onnxscript import opset18 as op

    window = Window(kernel_size, stride, dilation, padding)
    channels, *size = list(queries.shape)[1:]
    grouped = op.Reshape(queries, _ints(0, groups, channels // groups, *size))
    channel = _ints(2)
    taps = _shifted(keys, window, groups, size)
    return op.Concat(*(op.ReduceSum(op.Mul(tap, grouped), channel, keepdims=1) for tap in taps), axis=2)


def _shifted(input: Any, window: Window, groups: int, size: list[int]) -> Iterator[Any]:
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
