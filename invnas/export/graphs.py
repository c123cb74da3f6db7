"""The forms of a network as a graph: how each is written, run by its own runtime, and which packages that needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from invnas.errors import MissingExtra
from invnas.export.onnx_graph import OPSET, run_onnx, write_onnx
from invnas.export.openvino_ir import run_openvino, write_openvino
from invnas.export.program import run_pt2, write_pt2
from invnas.export.pte import run_pte, write_pte


class Writer(Protocol):
    """Writes a network in eval mode for images (batch, channels, height, width), or for a batch of any size."""

    def __call__(self, network: nn.Module, images: torch.Tensor, path: Path, *, any_batch: bool = True) -> None:
        """Write it."""
        ...


@dataclass(frozen=True)
class Graph:
    """One form of a network as a graph.

    Attributes:
        file: Its file; where there are two, the one that is opened.
        about: What it is.
        write: Writes a network.
        run: Returns the scores of a file for each batch.
        packages: What is needed for that beside torch.
        extra: What installs them.
        beside: The file beside it; empty where there is none.
    """

    file: str
    about: str
    write: Writer
    run: Callable[[Path, list[torch.Tensor]], list[torch.Tensor]]
    packages: tuple[str, ...] = ()
    extra: str = ""
    beside: str = ""

    def need(self) -> None:
        """Raise MissingExtra unless its packages are installed."""
        for package in self.packages:
            if find_spec(package) is None:
                raise MissingExtra(package, self.extra)


#: Every graph by the name of its format.
GRAPHS: Mapping[str, Graph] = {
    "onnx": Graph(
        "model.onnx",
        f"ONNX, opset {OPSET}: standard operators, and involution as a function made of them",
        write_onnx,
        run_onnx,
        ("onnxruntime", "onnx", "onnxscript"),
        "onnx",
        "model.onnx.data",
    ),
    "pt2": Graph("model.pt2", "a torch.export program; needs torch, not invnas", write_pt2, run_pt2),
    "pte": Graph(
        "model.pte",
        "an ExecuTorch program for one image at a time, by XNNPACK; needs executorch, not invnas",
        write_pte,
        run_pte,
        ("executorch", "torchao"),
        "executorch",
    ),
    "openvino": Graph(
        "model.xml",
        "OpenVINO's form, with model.bin beside it, in standard operators; needs openvino, not invnas",
        write_openvino,
        run_openvino,
        ("openvino", "onnx", "onnxscript"),
        "openvino",
        "model.bin",
    ),
}
