"""The bodies of involution nodes, in standard operators, against the definition in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_cases import EDGES, INFINITE, Case, assert_close, cases, feed, model, run, truth

from invnas.ops.geometry import Window

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from onnx.reference import ReferenceEvaluator  # noqa: E402

from invnas.export import onnx_band, onnx_body  # noqa: E402
from invnas.export.onnx_steps import Geometry  # noqa: E402

NARROWER_THAN_A_TILE = Case(Geometry(Window(3, padding=1), 2, 32, (5, 2), None, 4), 1)
A_TILE_AND_A_POSITION = Case(Geometry(Window(2, 1, 3, 2), 3, 60, (4, 8), (-0.5, INFINITE), 20), 2)
COLUMNS_NO_TILE_MEETS = Case(Geometry(Window(3, 4, 1, 0), 1, 16, (7, 6), None, None), 1)
A_ROW_OF_TILES = Case(Geometry(Window(7, 2, 1, 3), 2, 32, (1, 45), (0.0, INFINITE), 3), 3)
SHAPES = [*EDGES, NARROWER_THAN_A_TILE, A_TILE_AND_A_POSITION, COLUMNS_NO_TILE_MEETS, A_ROW_OF_TILES]

#: Each form by what makes every shape take it: the bounds of its choice, and of the channels it is made directly from.
FORMS = {"columns": (0, 10**9, 0), "band of kernels": (10**9, 0, 0), "band of their map": (10**9, 0, 10**9)}


@contextmanager
def written_as(form: str, step: int = onnx_band.STEP, most: int = onnx_band.MOST_PARTS) -> Iterator[None]:
    names = ("FEW_POSITIONS", "LEAST_WIDTH", "MOST_HIDDEN")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(names, FORMS[form], strict=True):
            patch.setattr(onnx_band, name, value)
        patch.setattr(onnx_band, "MOST_PARTS", most)
        for module in (onnx_band, onnx_body):
            patch.setattr(module, "STEP", step)
        yield


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_edges(case: Case, form: str) -> None:
    inputs = feed(case)
    with written_as(form):
        written = model(case, inputs)
    assert_close(run(written, inputs, library=False), truth(case, inputs))


@given(
    case=cases(), form=st.sampled_from(list(FORMS)), step=st.sampled_from((1, 10**9)), most=st.sampled_from((1, 2, 64))
)
@settings(max_examples=120, deadline=None)
def test_every_form_computes_the_definition(case: Case, form: str, step: int, most: int) -> None:
    inputs = feed(case)
    with written_as(form, step, most):
        written = model(case, inputs)
    assert_close(run(written, inputs, library=False), truth(case, inputs))


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_the_definition_of_onnx_says_the_same(case: Case, form: str) -> None:
    inputs = feed(case)
    with written_as(form):
        written = model(case, inputs, low=-INFINITE, high=INFINITE)  # it looks for all attributes of a function
    onnx.checker.check_model(written, full_check=True)
    assert_close(ReferenceEvaluator(written).run(None, inputs)[0], truth(case, inputs))


def test_the_form_follows_from_the_shape() -> None:
    shapes = {
        "_columns": [(Window(1), 1, 64, (7, 7)), (Window(7, padding=3), 8, 32, (28, 28))],
        "_taps": [(Window(7, padding=3), 1, 16, None)],
        "band": [(Window(7, padding=3), 1, 16, (28, 28)), (Window(7, padding=3), 8, 32, (8, 8))],
    }
    for form, geometries in shapes.items():
        assert [onnx_body._form(Geometry(*at)).__name__ for at in geometries] == [form] * len(geometries)


def test_a_large_map_is_done_in_no_more_parts_than_are_allowed() -> None:
    geometry = Geometry(Window(7, padding=3), 3, 48, (600, 500), None, 12)
    products = [node.op_type for node in onnx_body.body("Involution1", geometry, 18).node].count("MatMul")
    assert products == 2 * 3 * len(range(0, 600, -(-600 // (onnx_band.MOST_PARTS // 3))))


@pytest.mark.parametrize("hidden", [16, 24])
def test_what_depends_on_weights_alone_is_done_as_a_file_is_loaded(hidden: int, tmp_path: Path) -> None:
    case = Case(Geometry(Window(7, padding=3), 2, 32, (6, 8), None, hidden), 1)
    inputs = feed(case)
    written = model(case, inputs)
    for name in ("span", "span_bias"):
        written.graph.initializer.append(onnx.numpy_helper.from_array(inputs.pop(name), name))
    given = [value for value in written.graph.input if value.name in inputs]
    del written.graph.input[:]
    written.graph.input.extend(given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(written.SerializeToString(), options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "loaded.onnx")
    constants = {tensor.name for tensor in loaded.graph.initializer}
    assert not [node.op_type for node in loaded.graph.node if all(name in constants for name in node.input)]
