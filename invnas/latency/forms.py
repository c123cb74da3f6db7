"""From an architecture to what a runtime reads: untrained, folded, for one size of batch."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.errors import InvalidArchitecture, InvnasError, MissingExtra
from invnas.export.onnx_graph import write_onnx
from invnas.export.program import write_pt2
from invnas.head import Head
from invnas.nn import build, fold

Shape = tuple[int, int, int]


def inference_network(architecture: Architecture, input_shape: Shape, head: Head | int) -> nn.Module:
    """Return the network as it is deployed, with first weights, which do not count; no random number is drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return fold(build(architecture, input_shape, head).eval())


def model_bytes(network: nn.Module, runtime: str, shape: Sequence[int]) -> bytes:
    """Return the file of a network that a runtime reads.

    Args:
        network: In eval mode.
        runtime: onnxruntime, torch or executorch.
        shape: (batch, channels, height, width) of what it will be given.

    Raises:
        InvalidArchitecture: If it cannot become such a file, with the reason.
    """
    write = {"onnxruntime": write_onnx, "torch": write_pt2, "executorch": _write_pte}[runtime]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx" if runtime == "onnxruntime" else "model.pt2")
        try:
            write(network, torch.zeros(*shape), path, any_batch=False)  # any batch would take twice as long
        except MissingExtra:
            raise
        except InvnasError as error:
            raise InvalidArchitecture(f"no {runtime} can run it: {error}") from None
        return path.read_bytes()


def _write_pte(network: nn.Module, images: torch.Tensor, path: Path, *, any_batch: bool) -> None:
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ImportError:
        raise MissingExtra("executorch", "executorch") from None
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    write_pt2(plain, images, path, any_batch=any_batch)
    program = torch.export.load(path)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)
