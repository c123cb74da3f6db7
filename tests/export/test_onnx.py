"""Involution as one node of an ONNX file: by the kernels of the library, and by the body in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_cases import DIGITS, KERNELS, ODD, close, images, scores, trained
from torch import nn

from invnas import fold, zoo
from invnas.nn import build
from invnas.nn.involution import Involution2d
from invnas.ops import onnx as node

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from invnas.export.onnx_graph import write_onnx  # noqa: E402

native = pytest.mark.skipif(node.library_path() is None, reason="this installation has no library for onnxruntime")

CASES = {"digits": (DIGITS, (1, 8, 8)), "odd": (ODD, (3, 9, 7)), "kernels": (KERNELS, (2, 11, 10))}


def session(path: Path, library: bool, profile: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    if library:
        options.register_custom_ops_library(node.onnx_library())
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Any, Path]:
    architecture, shape = CASES[request.param]
    network, path = trained(architecture, shape, 4).eval(), tmp_path_factory.mktemp(request.param) / "model.onnx"
    write_onnx(fold(network), images(shape, 2), path)
    return network, shape, path


@pytest.mark.parametrize("library", [pytest.param(True, marks=native), False])
def test_scores_are_those_of_the_network_either_way(case: tuple[nn.Module, Any, Path], library: bool) -> None:
    network, shape, path = case
    runtime = session(path, library)
    for batch in (1, 2, 5):
        x = images(shape, batch)
        assert close(runtime.run(["scores"], {"images": x.numpy()})[0], network, x)


@native
def test_the_library_runs_every_involution_and_nothing_of_its_bodies(
    case: tuple[nn.Module, Any, Path], tmp_path: Path
) -> None:
    _, shape, path = case
    model = onnx.load(path)
    runtime = session(path, library=True, profile=tmp_path / "profile")
    runtime.run(["scores"], {"images": images(shape, 2).numpy()})
    events = json.loads(Path(runtime.end_profiling()).read_text())
    ran = [event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time")]
    written = [node.op_type for node in model.graph.node if node.domain == "invnas"]
    assert sorted(name for name in ran if name.startswith("Involution")) == sorted(written)


@native
def test_a_wrong_body_is_only_met_without_the_library(case: tuple[nn.Module, Any, Path], tmp_path: Path) -> None:
    network, shape, path = case
    model = onnx.load(path)
    for function in model.functions:
        last = function.node[-1].output[0]
        function.node[-1].output[0] = "right"
        function.node.append(onnx.helper.make_node("Sub", ["right", "right"], [last]))
    onnx.save(model, tmp_path / "wrong.onnx")
    x = images(shape, 2)
    right, wrong = (
        session(tmp_path / "wrong.onnx", library).run(None, {"images": x.numpy()})[0] for library in (True, False)
    )
    wanted = scores(network, x)
    assert close(right, network, x)
    assert np.abs(wrong - wanted).max() > 1e-2 * np.abs(wanted).max()


def test_a_1x1_convolution_that_gives_the_kernels_is_within_the_node(tmp_path: Path) -> None:
    for layer, convolutions in ((Involution2d(8, 3, 1, 4, 2), 1), (Involution2d(8, 3, 1, 4, 2, softmax=True), 2)):
        write_onnx(fold(layer), torch.zeros(2, 8, 6, 5), tmp_path / "layer.onnx")
        nodes = [node.op_type for node in onnx.load(tmp_path / "layer.onnx").graph.node]
        assert nodes.count("Conv") == convolutions
        assert nodes.count("Involution1") == 1


def test_nodes_of_one_shape_share_a_body_and_other_shapes_have_theirs(tmp_path: Path) -> None:
    layers = nn.Sequential(*(Involution2d(8, 3, stride, 4, 2) for stride in (1, 1, 2, 1)))
    write_onnx(fold(layers), torch.zeros(2, 8, 6, 6), tmp_path / "layers.onnx")
    model = onnx.load(tmp_path / "layers.onnx")
    names = [node.op_type for node in model.graph.node if node.domain == "invnas"]
    assert names == ["Involution1", "Involution1", "Involution2", "Involution3"]
    assert sorted(function.name for function in model.functions) == sorted(set(names))


def test_rednet_has_few_nodes(tmp_path: Path) -> None:
    network = fold(build(zoo.by_name("rednet50"), (3, 32, 32), 10).eval())
    write_onnx(network, torch.zeros(2, 3, 32, 32), tmp_path / "rednet50.onnx")
    model = onnx.load(tmp_path / "rednet50.onnx", load_external_data=False)
    assert len(model.graph.node) <= 160
    assert sum(node.domain == "invnas" for node in model.graph.node) == 17
