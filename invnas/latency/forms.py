"""From an architecture to what a runtime reads: untrained, folded, for one size of batch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.errors import InvalidArchitecture, InvnasError
from invnas.export.graphs import GRAPHS
from invnas.head import Head
from invnas.nn import build, fold

Shape = tuple[int, int, int]

#: The format of a file that a runtime reads.
FORMS: Mapping[str, str] = {"torch": "pt2", "onnxruntime": "onnx", "executorch": "pte", "openvino": "openvino"}


def inference_network(architecture: Architecture, input_shape: Shape, head: Head | int) -> nn.Module:
    """Return the network as it is deployed, with first weights, which do not count; no random number is drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return fold(build(architecture, input_shape, head).eval())


def model_bytes(network: nn.Module, runtime: str, shape: Sequence[int]) -> bytes:
    """Return the file of a network that a runtime reads; where there are two, a zero byte lies between them.

    Args:
        network: In eval mode.
        runtime: One of `FORMS`.
        shape: (batch, channels, height, width) of what it will be given.

    Raises:
        InvalidArchitecture: If it cannot become such a file, with the reason.
    """
    graph = GRAPHS[FORMS[runtime]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, graph.file)
        try:
            graph.write(network, torch.zeros(*shape), path, any_batch=False)  # any batch would take twice as long
        except InvnasError as error:
            raise InvalidArchitecture(f"no {runtime} can run it: {error}") from None
        beside = Path(folder, graph.beside)
        return b"\0".join(file.read_bytes() for file in (path, beside) if file.is_file())
