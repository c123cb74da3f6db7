from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_cases import ALL, close, images, scores

from invnas.cost import cost
from invnas.export import load_model
from invnas.export.description import FILE
from invnas.measurement import MAC_CONVENTION


def test_every_format_agrees_and_the_network_is_left_as_it_was(case: Any) -> None:
    assert [entry.format for entry in case.exported] == list(ALL)
    for entry in case.exported:
        assert entry.parity_error <= 1e-5
        assert entry.bytes == entry.path.stat().st_size > 0
    assert [module.training for module in case.network.modules()] == case.modes
    for name, value in case.network.state_dict().items():
        assert torch.equal(value, case.state[name])
    assert torch.equal(torch.random.get_rng_state(), case.random)
    assert {path.name for path in case.folder.iterdir()} == {
        "README.md", FILE, "preprocess.json", "model.onnx", "model.pt2", "model.safetensors"
    }  # fmt: skip
    assert {path.name for path in case.folder.parent.iterdir()} <= {"out", "own.py"}


def test_the_onnx_file_takes_any_batch_and_is_made_of_standard_operators(case: Any) -> None:
    model = onnx.load(case.folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    involutions = {node.op_type for node in model.graph.node if node.domain == "invnas"}
    assert {node.domain for node in model.graph.node} <= {"", "invnas"}
    assert {function.name for function in model.functions} == involutions
    assert {node.domain for function in model.functions for node in function.node} <= {""}
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 18
    assert "Constant" not in {node.op_type for node in model.graph.node}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    session = onnxruntime.InferenceSession(case.folder / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3, 8):
        x = images(case.shape, batch)
        assert close(session.run(["scores"], {"images": x.numpy()})[0], case.network, x)


@pytest.mark.parametrize("case", ["digits"], indirect=True)
def test_the_pt2_file_runs_where_invnas_is_not(case: Any, tmp_path: Path) -> None:
    batches = {str(batch): images(case.shape, batch) for batch in (1, 3)}
    np.savez(tmp_path / "images.npz", **{key: x.numpy() for key, x in batches.items()})
    program = (
        "import sys; sys.modules['invnas'] = None\n"
        "import numpy, torch; torch.set_num_threads(1)\n"
        "network = torch.export.load(sys.argv[1]).module()\n"
        "found = {k: network(torch.from_numpy(x)).detach().numpy() for k, x in numpy.load(sys.argv[2]).items()}\n"
        "assert not [name for name in sys.modules if name.startswith('invnas.')]\n"
        "numpy.savez(sys.argv[3], **found)\n"
    )
    files = [case.folder / "model.pt2", tmp_path / "images.npz", tmp_path / "scores.npz"]
    subprocess.run([sys.executable, "-I", "-c", program, *map(str, files)], check=True, capture_output=True)
    with np.load(files[-1]) as found:
        for key, x in batches.items():
            assert close(found[key], case.network, x)


def test_load_model_rebuilds_the_very_network(case: Any) -> None:
    space = case.folder.parent / "own.py"
    before = torch.random.get_rng_state()
    network = load_model(case.folder, space if space.exists() else None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(module.training for module in network.modules())
    weight = next(value for value in network.parameters() if value.dim() == 4 and min(value.shape[1:]) > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    x = images(case.shape, 3)
    assert np.array_equal(scores(network, x), scores(case.network, x))


def test_the_card_states_the_cost_with_its_convention_and_its_code_runs(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (case.folder / "README.md").read_text()
    price = cost(case.architecture, case.shape, case.classes)
    for said in (f"{price.macs:,}", f"{price.parameters:,}", f"{price.activation_bytes:,}", MAC_CONVENTION):
        assert said in text
    assert "| seed | 7 |" in text
    assert "cropped in a way that is **unknown**" in text
    assert "normalised by a mean and a deviation that are **unknown**" in text
    assert "1 class 1" in text
    monkeypatch.chdir(case.folder)
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(codes) == 3
    for code in codes:
        assert len(code.splitlines()) == 3
        names: dict[str, Any] = {}
        exec(code.replace("my_space.py", "../own.py"), names)
        assert tuple(names["scores"].shape) == (1, case.classes)
