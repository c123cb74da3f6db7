"""The node of onnxruntime, by the kernels of the library, against the definition in float64."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from onnx_cases import (
    BETWEEN_ROWS,
    EDGES,
    INFINITE,
    LARGER_THAN_THE_MAP,
    POINT,
    Case,
    assert_close,
    cases,
    feed,
    model,
    run,
    truth,
)

from invnas.errors import InvnasError
from invnas.ops import onnx as node
from invnas.ops.geometry import Window

pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from invnas.export.onnx_steps import Geometry  # noqa: E402

native = pytest.mark.skipif(node.library_path() is None, reason="this installation has no library for onnxruntime")


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
