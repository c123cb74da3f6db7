from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from export_cases import DIGITS, trained

from invnas import Preprocessing
from invnas.errors import BadInput
from invnas.export import export
from invnas.export.int8 import Judges, Quantised

HOW = Preprocessing((8, 8), 1, 1.0, (0.5,), (0.25,))


def judged(network: torch.nn.Module, max_drop: float = 1.0) -> Judges:
    """Images whose label is what the float network says: it is always right."""
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = network.eval()(images).argmax(1)
    return Judges([(images[:40], labels[:40]), (images[40:], labels[40:])], max_drop)


def test_convolutions_are_int8_and_involution_is_not_and_the_loss_is_said(tmp_path: Path) -> None:
    network = trained(DIGITS, (1, 8, 8), 10)
    judges = judged(network)
    entries = export(network, DIGITS, (1, 8, 8), 10, tmp_path / "out", ("onnx",), preprocessing=HOW, judges=judges)
    assert [one.format for one in entries] == ["onnx", "int8"]
    said = entries[1].said
    assert "where float has 1.0000 on 64 validation images" in said
    assert said in (tmp_path / "out" / "README.md").read_text()
    model = onnx.load(tmp_path / "out" / "model_int8.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("DequantizeLinear") > kinds.count("Conv") > 3
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model_int8.onnx", providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["preprocess"]) == HOW.to_dict()
    right = sum(
        int((session.run(["scores"], {"images": images.numpy()})[0].argmax(1) == labels.numpy()).sum())
        for images, labels in judges.batches
    )
    assert f"accuracy {right / 64:.4f} where" in said
    assert right > 48


def test_what_is_slower_or_loses_too_much_is_said_to_be_so() -> None:
    assert Quantised(0.9, 0.895, 10, 0.5, 1.0, 0).said.endswith("0.50 x the time (one image, one thread)")
    assert Quantised(0.9, 0.88, 10, 1.2, 1.0, 0).said.endswith(
        ": it loses more than 1 percentage points and it is not faster"
    )
    assert Quantised(0.9, 0.88, 10, 0.5, 2.5, 0).said.endswith("thread)")


def test_int8_needs_the_onnx_file_and_a_classifier(tmp_path: Path) -> None:
    network = trained(DIGITS, (1, 8, 8), 10)
    with pytest.raises(BadInput, match="made of the ONNX file or of the ExecuTorch program: add onnx or pte"):
        export(network, DIGITS, (1, 8, 8), 10, tmp_path / "out", ("pt2",), judges=judged(network))
