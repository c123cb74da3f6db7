"""Where images come from: each source is a LightningDataModule, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invnas.data.box_folder import BoxFolder
    from invnas.data.cifar import Cifar
    from invnas.data.coco_files import CocoFiles
    from invnas.data.digits import Digits, HardDigits
    from invnas.data.folder import ImageFolder
    from invnas.data.hugging_face import HuggingFace
    from invnas.data.hugging_face_masks import HuggingFaceMasks
    from invnas.data.mask_folder import MaskFolder
    from invnas.data.scenes import Scenes
    from invnas.data.source import describe, load_data
    from invnas.facts import DataFacts

__all__ = [
    "BoxFolder", "Cifar", "CocoFiles", "DataFacts", "Digits", "HardDigits", "HuggingFace", "HuggingFaceMasks",
    "ImageFolder", "MaskFolder", "Scenes", "describe", "load_data",
]  # fmt: skip

_HOME = {
    "BoxFolder": "invnas.data.box_folder",
    "Cifar": "invnas.data.cifar",
    "CocoFiles": "invnas.data.coco_files",
    "DataFacts": "invnas.facts",
    "Digits": "invnas.data.digits",
    "HardDigits": "invnas.data.digits",
    "HuggingFace": "invnas.data.hugging_face",
    "ImageFolder": "invnas.data.folder",
    "HuggingFaceMasks": "invnas.data.hugging_face_masks",
    "MaskFolder": "invnas.data.mask_folder",
    "Scenes": "invnas.data.scenes",
    "describe": "invnas.data.source",
    "load_data": "invnas.data.source",
}


def __getattr__(name: str) -> Any:
    # Torch and Lightning take seconds to import: only who asks for a source pays.
    if name not in _HOME:
        raise AttributeError(f"module 'invnas.data' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
