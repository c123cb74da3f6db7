"""Involution nodes of every shape, and what they compute in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from invnas.ops import onnx as node
from invnas.ops import reference
from invnas.ops.geometry import Window, same_padding

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
helper = pytest.importorskip("onnx.helper")

from invnas.export import onnx_body  # noqa: E402
from invnas.export.onnx_steps import Geometry  # noqa: E402

INFINITE = float("inf")


@dataclass(frozen=True)
class Case:
    geometry: Geometry
    batch: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kernel_size, dilation = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    padding = draw(st.sampled_from((0, 1, same_padding(kernel_size, dilation), kernel_size + 1)))
    window = Window(kernel_size, draw(st.integers(1, 4)), dilation, padding)
    least = max(1, dilation * (kernel_size - 1) + 1 - 2 * padding)
    size = (least + draw(st.integers(0, 9)), least + draw(st.integers(0, 34)))
    groups, group_channels = draw(st.integers(1, 4)), draw(st.sampled_from((1, 2, 3, 5, 16, 21, 40)))
    bounds = draw(st.sampled_from((None, (0.0, INFINITE), (-INFINITE, INFINITE), (-0.5, 0.75), (-INFINITE, 0.5))))
    hidden = draw(st.sampled_from((None, 1, 7)))
    return Case(Geometry(window, groups, groups * group_channels, size, bounds, hidden), draw(st.integers(1, 2)))


Feed = dict[str, np.ndarray]


def feed(case: Case, dtype: type = np.float32) -> Feed:
    """Return the inputs of a node by name, those that it has."""
    at, random = case.geometry, np.random.default_rng(0)
    spanned = at.groups * at.window.taps
    shapes = {
        "input": (case.batch, at.channels, *at.size),
        "kernels": (case.batch, at.hidden or spanned, *at.out),
        **({"scale": (at.channels,), "bias": (at.channels,)} if at.bounds else {}),
        **({"span": (at.groups, at.hidden, at.window.taps), "span_bias": (spanned,)} if at.hidden else {}),
    }
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def truth(case: Case, inputs: Feed) -> np.ndarray:
    at = case.geometry
    given = {name: torch.from_numpy(value).double() for name, value in inputs.items()}
    kernels = given["kernels"]
    if at.hidden:
        kernels = torch.einsum("gct,bchw->bgthw", given["span"], kernels).flatten(1, 2)
        kernels = kernels + given["span_bias"].view(-1, 1, 1)
    kernels = kernels.reshape(case.batch, at.groups, at.window.taps, *at.out)
    result = reference.involution2d(given["input"], kernels, at.window)
    if at.bounds:
        result = (result * given["scale"].view(-1, 1, 1) + given["bias"].view(-1, 1, 1)).clamp(*at.bounds)
    return result.numpy()


def model(case: Case, inputs: Feed, **changed: Any) -> Any:
    """Return a file of one node."""
    at, window = case.geometry, case.geometry.window
    attributes = {**vars(window), "groups": at.groups}
    if at.bounds:
        attributes |= dict(zip(("low", "high"), at.bounds, strict=True))
    names = [name if name in inputs else "" for name in onnx_body.INPUTS]
    while not names[-1]:
        names.pop()
    made = helper.make_node("Involution1", names, ["output"], domain="invnas", **{**attributes, **changed})
    double = inputs["input"].dtype == np.float64
    kind = onnx.TensorProto.DOUBLE if double else onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, value.shape) for name, value in inputs.items()]
    result = helper.make_tensor_value_info("output", kind, ["batch", at.channels, "height", "width"])
    graph = helper.make_graph([made], "one", values, [result])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("invnas", 1)]
    functions = [onnx_body.body("Involution1", at, 18)]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8)


def run(found: Any, inputs: Feed, library: bool, threads: int = 1) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, threads
    if library:
        assert node.register(options) is None
    session = onnxruntime.InferenceSession(found.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    tolerance = 1e-5 if found.dtype == np.float32 else 1e-13
    assert np.abs(found - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max())


POINT = Case(Geometry(Window(3, padding=1), 1, 1, (1, 1)), 1)
LARGER_THAN_THE_MAP = Case(Geometry(Window(7, padding=3), 2, 8, (2, 3), (0.0, 6.0), 3), 2)
BETWEEN_ROWS = Case(Geometry(Window(5, 3, 2, 4), 2, 34, (30, 41), None, 5), 1)
EDGES = [POINT, LARGER_THAN_THE_MAP, BETWEEN_ROWS]
