"""One ONNX file from the bytes of an image of any size to the name of its class: preprocessing, network, softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from invnas.data.normalisation import Normalisation
from invnas.data.preparing import GivenPictures, batch_of, prepared
from invnas.errors import BadInput
from invnas.export.preprocess import Used
from invnas.preprocessing import Preprocessing

#: Sizes (height, width, channels) of the random images that a file is checked with.
CHECKED = ((61, 45, 3), (300, 200, 4), (19, 23, 1))

#: How Pillow makes grey of red, green and blue, in 65,536ths.
_GREY = (19595, 38470, 7471)

#: Bits behind the point of Pillow's weights.
_BITS = 22

_FLOAT, _INT64, _DOUBLE = 1, 7, 11  # types of ONNX


class _Nodes:
    """Nodes as they are added; an array among the inputs becomes a constant."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        from onnx import helper

        output = attributes.pop("output", f"prepare_{len(self.nodes)}")
        names = [one if isinstance(one, str) else self._constant(np.asarray(one)) for one in inputs]
        self.nodes.append(helper.make_node(kind, names, [output], f"{output}_node", **attributes))
        return str(output)

    def _constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"prepare_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def write_whole(onnx_file: Path, used: Used, path: Path) -> None:
    """Write the second file beside an ONNX file of a classifier.

    Input `image`: uint8 (height, width, channels) of any size, upright; 1 channel is grey, 2 grey with transparency, 3
    RGB, 4 RGB with transparency, which is dropped. Outputs: `probabilities` (classes), `class` (its number) and, where
    classes have names, `name`. Standard operators only: the image is scaled by two products with the weights of
    Pillow's bilinear filter, in whole numbers as there, rows first. Every pixel is that of a Pillow that goes the same
    way (measured: no difference in 206 wide images); Pillow 13 scales columns first where an image is tall enough,
    and then up to a third of the pixels differ by 1 of 255, the largest difference of all. A photo of 12 million pixels
    takes 0.3 GB meanwhile.

    Raises:
        BadInput: If it is not known how images are prepared.
    """
    import onnx
    from onnx import TensorProto, helper

    if used.missing:
        raise BadInput(f"a file with preprocessing cannot be made: {used.missing}")
    model = onnx.load(onnx_file, load_external_data=False)
    graph, nodes = model.graph, _Nodes()
    _prepare(nodes, used.preprocessing)
    network = list(graph.node)
    before = len(nodes.nodes)
    probabilities = nodes("Softmax", "scores", axis=1)
    nodes("Squeeze", probabilities, [0], output="probabilities")
    nodes("ArgMax", "probabilities", axis=0, keepdims=0, output="class")
    shape = graph.output[0].type.tensor_type.shape
    outputs = {"probabilities": (TensorProto.FLOAT, [shape.dim[1].dim_value]), "class": (TensorProto.INT64, [])}
    if used.class_names is not None:
        nodes("Gather", np.array(used.class_names, dtype=object), "class", output="name")
        outputs["name"] = (TensorProto.STRING, [])
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*nodes.nodes[:before], *network, *nodes.nodes[before:]])
    graph.initializer.extend(nodes.constants)
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", "channels"]))
    graph.output.extend(helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items())
    onnx.save(model, path)


def _prepare(nodes: _Nodes, how: Preprocessing) -> str:
    """Add what makes `images` (1, C, H, W) of `image` (height, width, channels)."""
    assert how.crop is not None
    rows, columns = how.size
    size = nodes("Shape", "image")
    height, width = (nodes("Cast", nodes("Gather", size, [place]), to=_DOUBLE) for place in (0, 1))
    across = nodes("Mul", nodes("Min", width, nodes("Mul", height, [columns / rows])), [how.crop])
    down = nodes("Mul", across, [rows / columns])
    coloured = nodes("Cast", nodes("GreaterOrEqual", nodes("Gather", size, [2]), [3]), to=_INT64)
    planes = nodes("Gather", nodes("Transpose", "image", perm=[2, 0, 1]), nodes("Mul", [0, 1, 2], coloured), axis=0)
    planes = nodes("Cast", planes, to=_DOUBLE)
    if how.channels == 1:
        shares = np.array(_GREY, np.float64)[:, None, None]
        planes = _rounded(nodes, nodes("ReduceSum", nodes("Mul", planes, shares), [0], keepdims=1), 16)
    narrow = nodes("MatMul", planes, nodes("Transpose", _weights(nodes, width, across, columns), perm=[1, 0]))
    small = nodes("MatMul", _weights(nodes, height, down, rows), _rounded(nodes, narrow, _BITS))
    small = nodes("Div", nodes("Cast", _rounded(nodes, small, _BITS), to=_FLOAT), np.float32(255))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (how.mean, how.std))
    normal = nodes("Div", nodes("Sub", small, mean), std)
    return nodes("Unsqueeze", normal, [0], output="images")


def _rounded(nodes: _Nodes, sums: str, bits: int) -> str:
    """Add the bytes of sums with so many bits behind the point; no sum reaches 2**53, so all is exact."""
    return nodes("Floor", nodes("Mul", nodes("Add", sums, [2.0 ** (bits - 1)]), [2.0**-bits]))


def _weights(nodes: _Nodes, length: str, kept: str, size: int) -> str:
    """Add the weights (size, length) by which a side becomes `size` pixels of the centred part that is kept,
    as whole numbers in double.

    Source: precompute_coeffs of Pillow's Resample.c with its triangle; a box is float32 there.
    """
    half, one = [0.5], [1.0]
    low = nodes("Mul", nodes("Sub", length, kept), half)
    low, high = (nodes("Cast", nodes("Cast", end, to=_FLOAT), to=_DOUBLE) for end in (low, nodes("Add", low, kept)))
    scale = nodes("Div", nodes("Sub", high, low), [float(size)])
    reach = nodes("Max", scale, one)
    centre = nodes("Add", nodes("Mul", (np.arange(size) + 0.5)[:, None], scale), low)
    begin = nodes("Floor", nodes("Add", nodes("Sub", centre, reach), half))
    end = nodes("Floor", nodes("Add", nodes("Add", centre, reach), half))
    count = nodes("Squeeze", nodes("Cast", length, to=_INT64))
    place = nodes("Cast", nodes("Range", np.int64(0), count, np.int64(1)), to=_DOUBLE)
    away = nodes("Div", nodes("Abs", nodes("Add", nodes("Sub", place, centre), half)), reach)
    inside = nodes("And", nodes("GreaterOrEqual", place, begin), nodes("Less", place, end))
    share = nodes("Mul", nodes("Max", nodes("Sub", one, away), [0.0]), nodes("Cast", inside, to=_DOUBLE))
    total = nodes("ReduceSum", share, [1], keepdims=1)
    return nodes("Floor", nodes("Add", nodes("Mul", nodes("Div", share, total), [2.0**_BITS]), half))


def check_whole(path: Path, network: nn.Module, used: Used) -> tuple[float, float]:
    """Run a file in onnxruntime on random images.

    Returns:
        The largest difference of a pixel from Pillow's, in steps of 255, and the largest difference of a probability
        from the network's on the pixels that the file prepared.
    """
    how, generator = used.preprocessing, np.random.default_rng(0)
    normalisation = Normalisation(how.mean or (), how.std or ())
    scale = 255 * torch.tensor(normalisation.std)[:, None, None]
    pixels = parity = 0.0
    run = _with_images(path)
    for shape in CHECKED:
        image = generator.integers(0, 256, shape, np.uint8)
        images, probabilities = run(image)
        truth = batch_of([prepared(GivenPictures([image]), 0, how)], normalisation)
        pixels = max(pixels, float(((images - truth) * scale).abs().max()))
        with torch.no_grad():
            expected = network(images).softmax(dim=1)[0]
        parity = max(parity, float((probabilities - expected).abs().max()))
    return pixels, parity


def _with_images(path: Path) -> Any:
    """Return what runs a file on an image and gives what the network sees, and the probabilities."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda image: tuple(map(torch.from_numpy, session.run(["images", "probabilities"], {"image": image})))
