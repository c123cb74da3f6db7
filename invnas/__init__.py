"""invnas: neural architecture search over hybrids of convolution and involution."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invnas.architecture import Architecture
    from invnas.backbones import backbone
    from invnas.blocks import BasicBlock, Bottleneck, InvertedResidual, PointwiseBlock
    from invnas.commands import confirm_front, resume_search, run_search
    from invnas.dense import ConvolutionFPN, DenseNet, InvolutionFPN, SemanticFPN, UPerNetHead
    from invnas.detectors import RCNNHeads, RetinaHead
    from invnas.experiment import DataSource, Experiment, Recipe
    from invnas.export import load_model
    from invnas.hybrid import DeepStem, HybridNet, PlainStem, Stage
    from invnas.latency.settings import Latency
    from invnas.measurement import Cost, Measurement, Trial
    from invnas.nn.folding import fold
    from invnas.notebook import show_report
    from invnas.operators import Convolution, DepthwiseConvolution, Involution, LocalAttention
    from invnas.ops.onnx import onnx_library
    from invnas.preprocessing import Preprocessing
    from invnas.results import export_model, retrain, write_report
    from invnas.run import Run
    from invnas.space import Space
    from invnas.using import evaluate_model

    def Choice(*options: Any, labels: tuple[str, ...] | None = None) -> Any:  # noqa: N802
        """What a choice becomes fits wherever it stands, so a type checker lets it stand anywhere."""

    def Repeat(item: Any, times: Any = 1, shared: bool = False) -> Any:  # noqa: N802
        """Likewise: it becomes a tuple."""


__version__ = "0.1.0"

# The public names, each with its module: imported on use, since torch takes more than a second.
_PUBLIC = {
    **dict.fromkeys(("Choice", "Repeat"), "choice"),
    "Architecture": "architecture",
    **dict.fromkeys(("BasicBlock", "Bottleneck", "InvertedResidual", "PointwiseBlock"), "blocks"),
    **dict.fromkeys(("DeepStem", "HybridNet", "PlainStem", "Stage"), "hybrid"),
    **dict.fromkeys(("ConvolutionFPN", "DenseNet", "InvolutionFPN", "SemanticFPN", "UPerNetHead"), "dense"),
    **dict.fromkeys(("RCNNHeads", "RetinaHead"), "detectors"),
    **dict.fromkeys(("Convolution", "DepthwiseConvolution", "Involution", "LocalAttention"), "operators"),
    "Preprocessing": "preprocessing",
    "Space": "space",
    "Latency": "latency.settings",
    **dict.fromkeys(("DataSource", "Experiment", "Recipe"), "experiment"),
    **dict.fromkeys(("Cost", "Measurement", "Trial"), "measurement"),
    "Run": "run",
    **dict.fromkeys(("confirm_front", "resume_search", "run_search"), "commands"),
    **dict.fromkeys(("export_model", "retrain", "write_report"), "results"),
    "show_report": "notebook",
    "load_model": "export",
    "fold": "nn.folding",
    "backbone": "backbones",
    "evaluate_model": "using",
    "onnx_library": "ops.onnx",
}

__all__ = [
    "Architecture",
    "BasicBlock",
    "Bottleneck",
    "Choice",
    "Convolution",
    "ConvolutionFPN",
    "Cost",
    "DataSource",
    "DeepStem",
    "DenseNet",
    "DepthwiseConvolution",
    "Experiment",
    "HybridNet",
    "InvertedResidual",
    "Involution",
    "InvolutionFPN",
    "Latency",
    "LocalAttention",
    "Measurement",
    "PlainStem",
    "PointwiseBlock",
    "Preprocessing",
    "RCNNHeads",
    "Recipe",
    "Repeat",
    "RetinaHead",
    "Run",
    "SemanticFPN",
    "Space",
    "Stage",
    "Trial",
    "UPerNetHead",
    "backbone",
    "confirm_front",
    "evaluate_model",
    "export_model",
    "fold",
    "load_model",
    "onnx_library",
    "resume_search",
    "retrain",
    "run_search",
    "show_report",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'invnas' has no attribute '{name}'")
    return getattr(importlib.import_module(f"invnas.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
