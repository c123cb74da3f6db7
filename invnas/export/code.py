"""The lines of a model card that use each file: from the file of an image to the name of its class."""

from __future__ import annotations

import json
from collections.abc import Mapping

from invnas.export.formats import WITH
from invnas.export.graphs import GRAPHS
from invnas.export.int8 import INT8
from invnas.export.openvino_ir import FLOAT32
from invnas.export.preprocess import PREPROCESS, Used
from invnas.preprocessing import Preprocessing

_PICTURE = "from PIL import Image, ImageOps"

#: What is done to a file of an image, by numpy and Pillow.
_PREPARE = """\
def classify(path):
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("{mode}")
    {box}
    left, top = (image.width - width) / 2, (image.height - height) / 2
    image = image.resize({size}, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    pixels = (numpy.asarray(image) / 255 - known["mean"]) / known["std"]"""

_ONNX = f"""\
import json, numpy, onnxruntime
{_PICTURE}
session = onnxruntime.InferenceSession("model.onnx")
told = session.get_modelmeta().custom_metadata_map
known, names = json.loads(told["preprocess"]), json.loads(told["class_names"])
{{prepare}}
    scores = session.run(["scores"], {{{{"images": numpy.float32(pixels{{order}})[None]}}}})[0]
    return {{name}}
print(classify("photo.jpg"))"""


def _beside(package: str, load: str, run: str) -> str:
    """Return the lines of a runtime that is given an array, and reads how images are prepared in the file beside."""
    return f"""\
import json, numpy, {package}
from pathlib import Path
{_PICTURE}
{load}
known = json.loads(Path("{PREPROCESS}").read_text("utf-8"))
names = known["class_names"]
{{prepare}}
    images = numpy.ascontiguousarray(pixels{{order}}[None], "float32")
    scores = {run}
    return {{name}}
print(classify("photo.jpg"))"""


_LOAD_PTE = """\
from executorch.runtime import Runtime
program = Runtime.get().load_program("model.pte")
method = program.load_method("forward")"""
_LOAD_OPENVINO = 'network = openvino.Core().compile_model("model.xml", "CPU", {float32})'

_PT2 = _beside("torch", 'network = torch.export.load("model.pt2").module()', "network(torch.from_numpy(images))")
_PTE = _beside("torch", _LOAD_PTE, "method.execute([torch.from_numpy(images)])[0]")
_OPENVINO = _beside("openvino", _LOAD_OPENVINO, 'network(images)["scores"]')

_WITH = f"""\
import numpy, onnxruntime
{_PICTURE}
session = onnxruntime.InferenceSession("model_with_preprocessing.onnx")
def classify(path):
    with Image.open(path) as file:
        image = numpy.asarray(ImageOps.exif_transpose(file).convert("{{mode}}")){{axis}}
    probabilities, *answer = session.run(None, {{{{"image": image}}}})
    return {{said}}
print(classify("photo.jpg"))"""

_OURS = """\
import invnas
model = invnas.load_model("."{space})
print(model.predict("photo.jpg").name)"""

#: Where images cannot be prepared: three lines that give scores.
_SCORES = {
    "onnx": """\
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
scores = session.run(["scores"], {{"images": numpy.zeros({shape}, "float32")}})[0]""",
    "pt2": """\
import torch
network = torch.export.load("model.pt2").module()
scores = network(torch.zeros({shape}))""",
    "pte": """\
import torch
from executorch.runtime import Runtime
program = Runtime.get().load_program("model.pte")
scores = program.load_method("forward").execute([torch.zeros({shape})])[0]""",
    "openvino": """\
import numpy, openvino
network = openvino.Core().compile_model("model.xml", "CPU", {float32})
scores = network(numpy.zeros({shape}, "float32"))["scores"]""",
    "safetensors": """\
import invnas, torch
network = invnas.load_model("."{space})
scores = network(torch.zeros({shape}))""",
}


def code(known: Used, shape: tuple[int, int, int], space: str, classifies: bool) -> Mapping[str, str]:
    """Return the Python that uses each format, by name.

    Args:
        known: Preprocessing and class names.
        shape: (channels, height, width).
        space: What `load_model` is told beside the folder, such as `, trust=True`.
        classifies: Whether the scores are those of classes.
    """
    if known.missing or not classifies:
        values = {"shape": (1, *shape), "space": space, "float32": json.dumps(FLOAT32)}
        return _with_int8({name: text.format(**values) for name, text in _SCORES.items()})
    how, named = known.preprocessing, known.class_names is not None
    grey = how.channels == 1
    parts = {
        "prepare": _PREPARE.format(mode="L" if grey else "RGB", box=_box(how), size=how.size[::-1]),
        "order": "[None]" if grey else ".transpose(2, 0, 1)",
        "name": "names[int(scores.argmax())]" if named else "int(scores.argmax())",
        "mode": "L" if grey else "RGB",
        "axis": "[:, :, None]" if grey else "",
        "said": "str(answer[1])" if named else "int(answer[0])",
        "space": space,
        "float32": json.dumps(FLOAT32),
    }
    texts = {"onnx": _ONNX, "pt2": _PT2, "pte": _PTE, "openvino": _OPENVINO, WITH: _WITH, "safetensors": _OURS}
    return _with_int8({name: text.format(**parts) for name, text in texts.items()})


def _with_int8(codes: Mapping[str, str]) -> Mapping[str, str]:
    """Add the lines for the int8 files, which are those of the float files."""
    return {**codes, **{one.name: codes[of].replace(GRAPHS[of].file, one.file) for of, one in INT8.items()}}


def _box(how: Preprocessing) -> str:
    rows, columns = how.size
    if rows == columns:
        return f"width = height = {how.crop} * min(image.size)"
    return (
        f"width = {how.crop} * min(image.width, image.height * {columns} / {rows}); height = width * {rows} / {columns}"
    )


def words(how: Preprocessing) -> str:
    """Return what is done to an image, as far as it is known, as one sentence."""
    rows, columns = how.size
    kind = {1: "made grey", 3: "made RGB"}.get(how.channels, f"given {how.channels} channels")
    crop = "cropped in a way that is **unknown**"
    if how.crop is not None:
        box = "square" if rows == columns else f"box of {columns}:{rows}"
        crop = f"cropped to {100 * how.crop:g} % of its largest centred {box}"
    scale = "normalised by a mean and a deviation that are **unknown**"
    if how.mean is not None and how.std is not None:
        mean, deviation = (", ".join(f"{value:.4f}" for value in values) for values in (how.mean, how.std))
        scale = f"normalised: minus the mean {mean}, over the deviation {deviation}"
    return (
        f"An image is turned upright by its EXIF notes, {kind}, {crop}, scaled to {columns} x {rows} pixels (bilinear "
        f"with antialiasing, as Pillow does it), brought to 0 (black) .. 1 (white), and {scale}. "
        f"`{PREPROCESS}` and the metadata of the ONNX file hold the same as data."
    )
