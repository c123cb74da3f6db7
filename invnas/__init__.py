"""invnas: neural architecture search over hybrids of convolution and involution."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invnas.architecture import Bottleneck, Convolution, DeepStem, HybridNet, Involution, PlainStem, Stage
    from invnas.choice import Choice, Repeat
    from invnas.commands import run_search
    from invnas.experiment import Experiment
    from invnas.export import load_model
    from invnas.results import export_model, write_report
    from invnas.space import Space

__version__ = "0.1.0"

# The public names, each with its module: imported on use, since torch takes more than a second.
_PUBLIC = {
    **dict.fromkeys(("Choice", "Repeat"), "choice"),
    **dict.fromkeys(
        ("Bottleneck", "Convolution", "DeepStem", "HybridNet", "Involution", "PlainStem", "Stage"), "architecture"
    ),
    "Space": "space",
    "Experiment": "experiment",
    "run_search": "commands",
    **dict.fromkeys(("write_report", "export_model"), "results"),
    "load_model": "export",
}

__all__ = [
    "Bottleneck",
    "Choice",
    "Convolution",
    "DeepStem",
    "Experiment",
    "HybridNet",
    "Involution",
    "PlainStem",
    "Repeat",
    "Space",
    "Stage",
    "export_model",
    "load_model",
    "run_search",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'invnas' has no attribute '{name}'")
    return getattr(importlib.import_module(f"invnas.{_PUBLIC[name]}"), name)
