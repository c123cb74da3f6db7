"""The node of onnxruntime, by the kernels of the library and by its body, against the definition in float64."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.errors import InvnasError
from invnas.ops import onnx as node
from invnas.ops import reference
from invnas.ops.geometry import Window, same_padding

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
helper = pytest.importorskip("onnx.helper")

from invnas.export import onnx_body  # noqa: E402
from invnas.export.onnx_body import Geometry  # noqa: E402

native = pytest.mark.skipif(node.library_path() is None, reason="this installation has no library for onnxruntime")
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


@native
@pytest.mark.parametrize("case", EDGES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_of_the_library(case: Case, dtype: type) -> None:
    inputs = feed(case, dtype)
    assert_close(run(model(case, inputs), inputs, library=True), truth(case, inputs))


@native
@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_the_library_computes_the_definition(case: Case) -> None:
    inputs = feed(case)
    assert_close(run(model(case, inputs), inputs, library=True), truth(case, inputs))


@pytest.mark.parametrize("case", EDGES)
def test_edges_of_the_body(case: Case) -> None:
    inputs = feed(case)
    assert_close(run(model(case, inputs), inputs, library=False), truth(case, inputs))


@given(case=cases(), few=st.sampled_from((0, 10**9)), step=st.sampled_from((1, 10**9)))
@settings(max_examples=60, deadline=None)
def test_every_form_of_the_body_computes_the_definition(case: Case, few: int, step: int) -> None:
    inputs = feed(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_body, "FEW_POSITIONS", few)
        patch.setattr(onnx_body, "STEP", step)
        assert_close(run(model(case, inputs), inputs, library=False), truth(case, inputs))


@native
def test_a_result_does_not_depend_on_the_threads() -> None:
    inputs = feed(BETWEEN_ROWS)
    one, three = (run(model(BETWEEN_ROWS, inputs), inputs, library=True, threads=threads) for threads in (1, 3))
    assert np.array_equal(one, three)


@native
def test_an_empty_batch_gives_an_empty_batch() -> None:
    case = replace(POINT, batch=0)
    inputs = feed(case)
    assert run(model(case, inputs), inputs, library=True).shape == (0, 1, 1, 1)


@native
def test_wide_maps_that_need_more_room_than_a_cache() -> None:
    case = Case(Geometry(Window(9, padding=4), 1, 24, (3, 700), (0.0, INFINITE), 2), 1)
    inputs = feed(case)
    assert_close(run(model(case, inputs), inputs, library=True), truth(case, inputs))


@native
@pytest.mark.parametrize(
    ("changed", "wrong", "said"),
    [
        ({"groups": 3}, {}, "do not fit 3 groups and a window of 7"),
        ({"padding": 2}, {}, r"a map of \(2, 8, 2, 3\) and kernels of \(2, 3, 2, 3\) do not fit"),
        ({"stride": 0}, {}, "stride, dilation and groups must be at least 1"),
        ({}, {"scale": (7,)}, r"scale must have the shape \(8\), but has \(7\)"),
        ({}, {"bias": (7,)}, r"bias must have the shape \(8\), but has \(7\)"),
        ({}, {"span": (2, 3, 48)}, r"span must have the shape \(2, 3, 49\), but has \(2, 3, 48\)"),
        ({}, {"span_bias": (1,)}, r"span_bias must have the shape \(98\), but has \(1\)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changed: dict[str, int], wrong: dict[str, Any], said: str) -> None:
    case = LARGER_THAN_THE_MAP
    inputs = feed(case) | {name: np.zeros(shape, np.float32) for name, shape in wrong.items()}
    with pytest.raises(Exception, match=f"invnas involution: .*{said}"):
        run(model(case, inputs, **changed), inputs, library=True)


def test_without_a_compiled_library_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node, "library_path", lambda: None)
    node._warn.cache_clear()
    with pytest.raises(InvnasError, match="has no library for onnxruntime: no C"):
        node.onnx_library()
    options = onnxruntime.SessionOptions()
    for _ in range(2):
        assert node.register(options) == "this installation has no library for onnxruntime"
    assert [record.message for record in caplog.records] == [
        "involution in onnxruntime runs by standard operators: this installation has no library for onnxruntime"
    ]


def test_a_library_of_another_machine_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "_node.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(node, "library_path", lambda: str(broken))
    reason = node.register(onnxruntime.SessionOptions())
    assert reason is not None
    assert "onnxruntime does not take the library" in reason
    assert "\n" not in reason


CXX = shutil.which("g++")


@pytest.mark.skipif(CXX is None, reason="needs g++")
def test_an_older_runtime_is_told_so(tmp_path: Path) -> None:
    """The interface of a runtime that knows version 16 at most, played in C++."""
    source = tmp_path / "old.cpp"
    source.write_text(f"""
        #include <cstdio>
        #include "{Path(node.__file__).parent / "interface.h"}"
        extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions*, const OrtApiBase*);
        static OrtStatus* status(int, const char* text) {{ std::puts(text); return nullptr; }}
        static void* const table[] = {{reinterpret_cast<void*>(status)}};
        int main() {{
            OrtApiBase base{{[](std::uint32_t version) {{
                return version > 16 ? nullptr : reinterpret_cast<const OrtApi*>(table); }}, [] {{ return "1.16.3"; }}}};
            RegisterCustomOps(nullptr, &base);
        }}""")
    binary = tmp_path / "old"
    sources = [str(source), str(Path(node.__file__).parent / "node.cpp")]
    built = subprocess.run([str(CXX), "-std=c++17", *sources, "-o", str(binary)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    said = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    assert said == "the kernels of invnas need onnxruntime 1.17 or newer, but this is 1.16.3\n"


@pytest.mark.skipif(CXX is None, reason="needs g++")
def test_no_report_from_the_sanitizers(tmp_path: Path) -> None:
    binary, folder = tmp_path / "driver", Path(__file__).parent
    command = [str(CXX), "-O1", "-std=c++17", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = f"-I{Path(node.__file__).parent}"
    built = subprocess.run([*command, include, str(folder / "planes_driver.cpp"), "-o", str(binary)],
                           capture_output=True, text=True)  # fmt: skip
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip("the compiler comes without sanitizers")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([binary], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
