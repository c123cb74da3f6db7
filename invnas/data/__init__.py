"""Where images come from: each source is a LightningDataModule, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invnas.data.cifar import Cifar
    from invnas.data.digits import Digits, HardDigits
    from invnas.data.folder import ImageFolder
    from invnas.data.hugging_face import HuggingFace
    from invnas.data.source import DataFacts, describe, load_data

__all__ = ["Cifar", "DataFacts", "Digits", "HardDigits", "HuggingFace", "ImageFolder", "describe", "load_data"]

_HOME = {
    "Cifar": "cifar",
    "DataFacts": "source",
    "Digits": "digits",
    "HardDigits": "digits",
    "HuggingFace": "hugging_face",
    "ImageFolder": "folder",
    "describe": "source",
    "load_data": "source",
}


def __getattr__(name: str) -> Any:
    # Torch and Lightning take seconds to import: only who asks for a source pays.
    if name not in _HOME:
        raise AttributeError(f"module 'invnas.data' has no attribute '{name}'")
    return getattr(import_module(f"invnas.data.{_HOME[name]}"), name)
