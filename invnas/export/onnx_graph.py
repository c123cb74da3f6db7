"""A network as an ONNX file, with a batch of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from invnas.errors import InvnasError
from invnas.export.onnx_node import add_bodies, folded_node, node, products
from invnas.export.program import Replaced, first_line, quiet, trace
from invnas.ops.onnx import register

#: The operator set of every ONNX file, the oldest that has all that is needed.
OPSET = 18

#: The form of the file, the oldest that has functions and this operator set.
IR_VERSION = 8

Tensor = torch.Tensor


def write_onnx(
    network: nn.Module, images: Tensor, path: Path, metadata: Mapping[str, str] = {}, *, any_batch: bool = True
) -> None:
    """Write an ONNX file with the input `images` and the output `scores`; data beside it only above 2 GB.

    Args:
        network: In eval mode.
        images: (batch, channels, height, width), at least two where the batch may be any.
        path: Where to.
        metadata: What the file says of itself.
        any_batch: False for this size of batch alone, which takes half the time.
    """
    ops = torch.ops.invnas
    nodes: dict[Any, Any] = {
        ops.involution2d: node,
        ops.involution2d_folded: folded_node,
        F.adaptive_avg_pool2d: _average,
    }
    with Replaced(nodes):
        program = trace(network, images, any_batch=any_batch)
    with quiet():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["scores"],
                custom_translation_table={torch.ops.invnas.involution2d_grad_kernels.default: products},
                optimize=False,  # half a minute for RedNet-26, and onnxruntime does the same when it loads
            )
        except Exception as error:
            raise InvnasError(f"the network cannot become ONNX: {first_line(error)}") from error
        assert exported is not None
        if exported.model.functions:
            exported.optimize()  # dissolves helper functions of the exporter into standard operators
        add_bodies(exported.model, OPSET)
        _tidy(exported.model, any_batch)
        exported.model.metadata_props.update(metadata)
        size = sum(value.nbytes for value in network.state_dict().values())
        exported.save(path, external_data=size > 2**31 - 2**24)


def _average(x: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return the averages; of whole maps as one mean, which torch would trace as a dozen nodes."""
    return x.mean((2, 3), keepdim=True) if size in (1, (1, 1)) else F.adaptive_avg_pool2d(x, size)


def run_onnx(path: Path, images: list[Tensor]) -> list[Tensor]:
    """Return the scores of an ONNX file in onnxruntime on the CPU for each batch, by invnas's kernels if it can."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    register(options)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(["scores"], {"images": batch.numpy()})[0]) for batch in images]


def _tidy(model: Any, any_batch: bool) -> None:
    """Name a batch of any size, drop what nobody reads, and the notes that hold paths of this machine."""
    from onnx_ir.passes import common

    for tidying in (common.RemoveUnusedNodesPass(), common.LiftConstantsToInitializersPass(True, 0)):
        tidying(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        if any_batch:
            value.shape[0] = "batch"
        for place, name in ((2, "height"), (3, "width")):
            if len(value.shape) == 4 and not isinstance(value.shape[place], int):
                value.shape[place] = name
        value.metadata_props.clear()
    for one in model.graph.all_nodes():
        one.metadata_props.clear()
    model.metadata_props.clear()
    model.ir_version = IR_VERSION
