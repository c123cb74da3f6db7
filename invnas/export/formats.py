"""The files of an export by the names of their formats."""

from __future__ import annotations

from collections.abc import Mapping

from invnas.export.description import FILE, SPACE
from invnas.export.folder import CARD
from invnas.export.graphs import GRAPHS
from invnas.export.int8 import INT8
from invnas.export.load import WEIGHTS
from invnas.export.preprocess import POSTPROCESS, PREPROCESS

#: The format of the second ONNX file, which takes the bytes of an image.
WITH = "onnx with preprocessing"

#: The format of the ONNX file of a detector that goes from images to boxes.
BOXES = "onnx with postprocessing"

#: Every format that can be asked for, with its file.
FORMATS: Mapping[str, str] = {**{name: graph.file for name, graph in GRAPHS.items()}, "safetensors": WEIGHTS}

#: Every file of a network, by name.
FILES: Mapping[str, str] = {
    **FORMATS,
    BOXES: "model_with_postprocessing.onnx",
    WITH: "model_with_preprocessing.onnx",
    **{one.name: one.file for one in INT8.values()},
}

#: The file beside a file.
BESIDE: Mapping[str, str] = {graph.file: graph.beside for graph in GRAPHS.values() if graph.beside}

#: What a format is, by name.
ABOUT: Mapping[str, str] = {
    **{name: graph.about for name, graph in GRAPHS.items()},
    "safetensors": "weights, rebuilt by invnas from architecture.json without unpickling anything",
    BOXES: "the same ONNX with what makes boxes of its numbers behind it: takes images as the network sees them",
    WITH: "the same ONNX behind the preprocessing: takes uint8 (height, width, channels) of any size, upright",
    **{
        one.name: f"the same {one.of} with convolutions and linear layers in int8, involution in float"
        for one in INT8.values()
    },
}

#: Every name that a file in the folder of an export can have.
NAMES = frozenset({*FILES.values(), *BESIDE.values(), PREPROCESS, POSTPROCESS, FILE, SPACE, CARD})
