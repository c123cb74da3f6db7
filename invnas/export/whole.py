"""One ONNX file from the bytes of an image of any size to the name of its class, the objects in it, or a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from invnas.data.normalisation import Normalisation
from invnas.data.preparing import GivenPictures, batch_of, prepared
from invnas.errors import BadInput
from invnas.export.detections import add_detections, padded
from invnas.export.masks import add_mask
from invnas.export.nodes import DOUBLE, FLOAT, INT64, RAW, STRING, UINT8, Nodes, Side, rewired, session
from invnas.export.preprocess import Used
from invnas.postprocessing import PixelClasses, Postprocessing
from invnas.preprocessing import Preprocessing

#: Sizes (height, width, channels) of the random images that a file is checked with.
CHECKED = ((61, 45, 3), (300, 200, 4), (19, 23, 1))

#: How Pillow makes grey of red, green and blue, in 65,536ths.
_GREY = (19595, 38470, 7471)

#: Bits behind the point of Pillow's weights.
_BITS = 22


def write_whole(onnx_file: Path, used: Used, path: Path) -> None:
    """Write the file beside an ONNX file of a classifier, a detector of one stage or a segmenter, that takes an image.

    Input `image`: uint8 (height, width, channels) of any size, upright; 1 channel is grey, 2 grey with transparency, 3
    RGB, 4 RGB with transparency, which is dropped. Outputs of a classifier: `probabilities` (classes), `class` (its
    number) and, where classes have names, `name`. Of a detector, best first: `boxes` (n, 4) of left, top, right and
    bottom in pixels of the image that was given, `scores` (n) in 0..1, `labels` (n) and, where classes have names,
    `names`; n is 0 where nothing is found. Of a segmenter: `mask` (height, width) of the image that was given, uint8,
    the class of each pixel, 255 where the network has not seen the image (what was cropped).

    Standard operators only: the image is scaled by two products with the weights of Pillow's bilinear filter, in whole
    numbers as there, rows first. Every pixel is that of a Pillow that goes the same way (measured: no difference in
    206 wide images); Pillow 13 scales columns first where an image is tall enough, and then up to a third of the
    pixels differ by 1 of 255, the largest difference of all. A photo of 12 million pixels takes 0.3 GB meanwhile.

    Raises:
        BadInput: If it is not known how images are prepared.
    """
    import onnx

    onnx.save(whole(onnx_file, used), path)


def whole(onnx_file: Path, used: Used) -> Any:
    """Return the model that `write_whole` writes."""
    import onnx

    if used.missing:
        raise BadInput(f"a file with preprocessing cannot be made: {used.missing}")
    model = onnx.load(onnx_file, load_external_data=False)
    nodes = Nodes()
    place = _prepare(nodes, used.preprocessing)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    nodes.network(model.graph, RAW if isinstance(used.rules, Postprocessing) else "scores")
    match used.rules:
        case Postprocessing():
            outputs = _objects(nodes, used, used.rules, place)
        case PixelClasses():
            outputs = _mask(nodes, place, classes)
        case None:
            outputs = _class(nodes, used, classes)
    return rewired(model, nodes, {"image": (UINT8, ["height", "width", "channels"])}, outputs)


def _class(nodes: Nodes, used: Used, classes: int) -> Mapping[str, Side]:
    """Add what a classifier says, and return the outputs."""
    probabilities = nodes("Softmax", "scores", axis=1)
    nodes("Squeeze", probabilities, [0], output="probabilities")
    nodes("ArgMax", "probabilities", axis=0, keepdims=0, output="class")
    outputs: dict[str, Side] = {"probabilities": (FLOAT, [classes]), "class": (INT64, [])}
    if used.class_names is not None:
        nodes("Gather", np.array(used.class_names, dtype=object), "class", output="name")
        outputs["name"] = (STRING, [])
    return outputs


def _objects(nodes: Nodes, used: Used, rules: Postprocessing, place: Place) -> Mapping[str, Side]:
    """Add what a detector says of the image that was given, and return the outputs."""
    inner = {name: f"seen_{name}" for name in padded(rules)}
    add_detections(nodes, rules, inner)
    rows, columns = used.preprocessing.size
    scale = nodes("Div", nodes("Concat", *(place.across, place.down) * 2, axis=0), np.array([columns, rows] * 2, float))
    corner = nodes("Concat", *(place.left, place.top) * 2, axis=0)
    seen = nodes("Mul", nodes("Cast", inner["boxes"], to=DOUBLE), scale)
    inner["boxes"] = nodes("Cast", nodes("Add", seen, corner), to=FLOAT)
    outputs: dict[str, Side] = {"boxes": (FLOAT, ["n", 4]), "scores": (FLOAT, ["n"]), "labels": (INT64, ["n"])}
    for name in outputs:
        one = nodes("Squeeze", inner[name], [0])
        nodes("Slice", one, [0], inner["number"], [0], output=name)
    if used.class_names is not None:
        nodes("Gather", np.array(used.class_names, dtype=object), "labels", output="names")
        outputs["names"] = (STRING, ["n"])
    return outputs


def _mask(nodes: Nodes, place: Place, classes: int) -> Mapping[str, Side]:
    """Add what a segmenter says of the image that was given, and return the output."""
    image = nodes("Cast", nodes("Slice", nodes("Shape", "image"), [0], [2]), to=DOUBLE)
    corner, sides = (nodes("Concat", *both, axis=0) for both in ((place.top, place.left), (place.down, place.across)))
    return add_mask(nodes, image, corner, sides, classes)


class Place(NamedTuple):
    """Names of what is kept of an image, in its pixels: where it begins, and how large it is."""

    left: str
    top: str
    across: str
    down: str


def _prepare(nodes: Nodes, how: Preprocessing) -> Place:
    """Add what makes `images` (1, C, H, W) of `image` (height, width, channels), and return what is kept of it."""
    assert how.crop is not None
    rows, columns = how.size
    size = nodes("Shape", "image")
    height, width = (nodes("Cast", nodes("Gather", size, [place]), to=DOUBLE) for place in (0, 1))
    across = nodes("Mul", nodes("Min", width, nodes("Mul", height, [columns / rows])), [how.crop])
    down = nodes("Mul", across, [rows / columns])
    coloured = nodes("Cast", nodes("GreaterOrEqual", nodes("Gather", size, [2]), [3]), to=INT64)
    planes = nodes("Gather", nodes("Transpose", "image", perm=[2, 0, 1]), nodes("Mul", [0, 1, 2], coloured), axis=0)
    planes = nodes("Cast", planes, to=DOUBLE)
    if how.channels == 1:
        shares = np.array(_GREY, np.float64)[:, None, None]
        planes = _rounded(nodes, nodes("ReduceSum", nodes("Mul", planes, shares), [0], keepdims=1), 16)
    narrow = nodes("MatMul", planes, nodes("Transpose", _weights(nodes, width, across, columns), perm=[1, 0]))
    small = nodes("MatMul", _weights(nodes, height, down, rows), _rounded(nodes, narrow, _BITS))
    small = nodes("Div", nodes("Cast", _rounded(nodes, small, _BITS), to=FLOAT), np.float32(255))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (how.mean, how.std))
    normal = nodes("Div", nodes("Sub", small, mean), std)
    nodes("Unsqueeze", normal, [0], output="images")
    left, top = (nodes("Mul", nodes("Sub", *sides), [0.5]) for sides in ((width, across), (height, down)))
    return Place(left, top, across, down)


def _rounded(nodes: Nodes, sums: str, bits: int) -> str:
    """Add the bytes of sums with so many bits behind the point; no sum reaches 2**53, so all is exact."""
    return nodes("Floor", nodes("Mul", nodes("Add", sums, [2.0 ** (bits - 1)]), [2.0**-bits]))


def _weights(nodes: Nodes, length: str, kept: str, size: int) -> str:
    """Add the weights (size, length) by which a side becomes `size` pixels of the centred part that is kept,
    as whole numbers in double.

    Source: precompute_coeffs of Pillow's Resample.c with its triangle; a box is float32 there.
    """
    half, one = [0.5], [1.0]
    low = nodes("Mul", nodes("Sub", length, kept), half)
    low, high = (nodes("Cast", nodes("Cast", end, to=FLOAT), to=DOUBLE) for end in (low, nodes("Add", low, kept)))
    scale = nodes("Div", nodes("Sub", high, low), [float(size)])
    reach = nodes("Max", scale, one)
    centre = nodes("Add", nodes("Mul", (np.arange(size) + 0.5)[:, None], scale), low)
    begin = nodes("Floor", nodes("Add", nodes("Sub", centre, reach), half))
    end = nodes("Floor", nodes("Add", nodes("Add", centre, reach), half))
    count = nodes("Squeeze", nodes("Cast", length, to=INT64))
    place = nodes("Cast", nodes("Range", np.int64(0), count, np.int64(1)), to=DOUBLE)
    away = nodes("Div", nodes("Abs", nodes("Add", nodes("Sub", place, centre), half)), reach)
    inside = nodes("And", nodes("GreaterOrEqual", place, begin), nodes("Less", place, end))
    share = nodes("Mul", nodes("Max", nodes("Sub", one, away), [0.0]), nodes("Cast", inside, to=DOUBLE))
    total = nodes("ReduceSum", share, [1], keepdims=1)
    return nodes("Floor", nodes("Add", nodes("Mul", nodes("Div", share, total), [2.0**_BITS]), half))


def check_whole(path: Path, network: nn.Module, used: Used) -> tuple[float, float]:
    """Run a file of a classifier in onnxruntime on random images.

    Returns:
        The largest difference of a pixel from Pillow's, in steps of 255, and the largest difference of a probability
        from the network's on the pixels that the file prepared.
    """
    run, pixels, parity = session(path, "images"), 0.0, 0.0
    for image in images_of_any_size():
        said = run(image=image)
        images = torch.from_numpy(said["images"])
        pixels = max(pixels, steps(images, image, used.preprocessing))
        with torch.no_grad():
            expected = network(images).softmax(dim=1)[0]
        parity = max(parity, float((torch.from_numpy(said["probabilities"]) - expected).abs().max()))
    return pixels, parity


def images_of_any_size() -> Iterator[np.ndarray]:
    """Yield the random images that a file is checked with."""
    generator = np.random.default_rng(0)
    yield from (generator.integers(0, 256, shape, np.uint8) for shape in CHECKED)


def steps(images: torch.Tensor, image: np.ndarray, how: Preprocessing) -> float:
    """Return the largest difference of a prepared pixel from Pillow's, in steps of 255."""
    normalisation = Normalisation(how.mean or (), how.std or ())
    truth = batch_of([prepared(GivenPictures([image]), 0, how)], normalisation)
    return float(((images - truth) * 255 * torch.tensor(normalisation.std)[:, None, None]).abs().max())
