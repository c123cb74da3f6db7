"""A network as OpenVINO reads it: model.xml and, beside it, the weights in model.bin."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from invnas.errors import InvnasError
from invnas.export.onnx_graph import write_onnx
from invnas.export.program import first_line
from invnas.latency.runner import openvino_core

Tensor = torch.Tensor

#: OpenVINO computes in bfloat16 where a processor has it, unless it is told otherwise.
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


def write_openvino(network: nn.Module, images: Tensor, path: Path, *, any_batch: bool = True) -> None:
    """Write what OpenVINO makes of the ONNX file of a network, in float32; the arguments are those of `write_onnx`.

    Raises:
        InvnasError: If OpenVINO or ONNX cannot take the network.
    """
    import onnx
    import openvino
    from onnx.inliner import inline_local_functions

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        write_onnx(network, images, file, any_batch=any_batch)
        # OpenVINO knows no functions of a model's own: the node of an involution becomes its body.
        onnx.save(inline_local_functions(onnx.load(file, load_external_data=False)), file)
        try:
            model = openvino_core().read_model(file)
            openvino.save_model(model, path, compress_to_fp16=False)
        except Exception as error:  # OpenVINO has no class of its own
            raise InvnasError(f"OpenVINO cannot run the network: {first_line(error)}") from error


def run_openvino(path: Path, images: list[Tensor]) -> list[Tensor]:
    """Return the scores for each batch, on the CPU in float32."""
    model: Any = openvino_core().compile_model(path, "CPU", FLOAT32)
    return [torch.from_numpy(model(batch.numpy())["scores"].copy()) for batch in images]
