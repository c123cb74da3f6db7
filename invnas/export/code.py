"""The lines of a model card that use each file: from the file of an image to the name of its class, boxes or a mask."""

from __future__ import annotations

import json
from collections.abc import Mapping

from invnas.export.formats import BOXES, WITH
from invnas.export.graphs import GRAPHS
from invnas.export.int8 import INT8
from invnas.export.openvino_ir import FLOAT32
from invnas.export.preprocess import POSTPROCESS, PREPROCESS, Used
from invnas.postprocessing import PixelClasses
from invnas.preprocessing import Preprocessing

_PICTURE = "from PIL import Image, ImageOps"

#: What is done to a file of an image, by numpy and Pillow; it is opened first, as in invnas.data.pictures.
_PREPARE = """\
def classify(path):
    with open(path, "rb") as file:
        image = ImageOps.exif_transpose(Image.open(file)).convert("{mode}")
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


def _whole(name: str) -> str:
    """Return the lines that open the file with preprocessing, and a function of a path as far as the image is read."""
    return f"""\
import numpy, onnxruntime
{_PICTURE}
session = onnxruntime.InferenceSession("model_with_preprocessing.onnx")
def {name}(path):
    with open(path, "rb") as file:
        image = numpy.asarray(ImageOps.exif_transpose(Image.open(file)).convert("{{mode}}")){{axis}}
"""


_WITH = (
    _whole("classify")
    + """\
    probabilities, *answer = session.run(None, {{"image": image}})
    return {said}
print(classify("photo.jpg"))"""
)

_DETECT = (
    _whole("detect")
    + """\
    boxes, scores, *classes = session.run(None, {{"image": image}})  # labels, and names where there are any
    return list(zip(classes[-1].tolist(), scores.tolist(), boxes.tolist()))
print(detect("photo.jpg"))"""
)

_SEGMENT = (
    _whole("segment")
    + """\
    (mask,) = session.run(["mask"], {{"image": image}})
    return mask  # (height, width) of the image; 255 is what the network has not seen
classes, pixels = numpy.unique(segment("photo.jpg"), return_counts=True)
print(dict(zip(classes.tolist(), pixels.tolist())))"""
)

_BOXES = """\
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model_with_postprocessing.onnx")
boxes, scores, labels, number = session.run(None, {{"images": numpy.zeros({shape}, "float32")}})
first = boxes[0, : number[0]], scores[0, : number[0]], labels[0, : number[0]]"""

#: From the numbers of a detector to all boxes and their scores, by numpy.
DECODE = f"""\
import json, numpy
from pathlib import Path
rules = json.loads(Path("{POSTPROCESS}").read_text("utf-8"))
anchors = []
for level in rules["levels"]:
    (rows, columns), (down, across) = level["grid"], level["stride"]
    y, x = numpy.mgrid[:rows, :columns] * numpy.reshape([down, across], (2, 1, 1))
    places = numpy.stack([x, y, x, y], 2).reshape(-1, 1, 4)
    anchors.append((places + numpy.array(level["anchors"])).reshape(-1, 4))
anchors = numpy.concatenate(anchors)
def decode(scores):  # those of one image, scores[0]
    sides, offsets = anchors[:, 2:] - anchors[:, :2], scores[:, -4:]
    centres = anchors[:, :2] + sides / 2 + offsets[:, :2] * sides
    halves = numpy.exp(numpy.minimum(offsets[:, 2:], rules["largest_growth"])) * sides / 2
    boxes = numpy.concatenate([centres - halves, centres + halves], 1)
    return boxes, 1 / (1 + numpy.exp(-scores[:, :-4]))"""

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
    grey = known.preprocessing.channels == 1
    parts = {
        "mode": "L" if grey else "RGB",
        "axis": "[:, :, None]" if grey else "",
        "space": space,
        "float32": json.dumps(FLOAT32),
        "shape": (1, *shape),
    }
    if known.missing or not classifies:
        texts = {**_SCORES, BOXES: _BOXES, WITH: _SEGMENT if isinstance(known.rules, PixelClasses) else _DETECT}
        return _with_int8({name: text.format(**parts) for name, text in texts.items()})
    how, named = known.preprocessing, known.class_names is not None
    parts |= {
        "prepare": _PREPARE.format(mode=parts["mode"], box=_box(how), size=how.size[::-1]),
        "order": "[None]" if grey else ".transpose(2, 0, 1)",
        "name": "names[int(scores.argmax())]" if named else "int(scores.argmax())",
        "said": "str(answer[1])" if named else "int(answer[0])",
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
