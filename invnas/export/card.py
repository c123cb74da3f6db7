"""The model card: README.md of an exported folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.dense import DenseNet, backbone_of
from invnas.errors import BadInput
from invnas.export.code import DECODE, code, words
from invnas.export.description import SPACE, Description
from invnas.export.formats import ABOUT, BOXES, FILES, WITH
from invnas.export.preprocess import POSTPROCESS, Used
from invnas.head import Head
from invnas.hybrid import HybridNet
from invnas.masks import IGNORED
from invnas.measurement import MAC_CONVENTION
from invnas.postprocessing import LARGEST_GROWTH, PixelClasses, Postprocessing
from invnas.task import load_task

__all__ = ["card"]

#: What the error of a file is one of that begins with an image or ends in an answer, by the kind of its rules.
_ERRORS = {
    type(None): "in a probability",
    Postprocessing: "in a score, or in a box of the longer side of the image",
    PixelClasses: "of its largest score where the class of a pixel is another",
}


def card(
    description: Description,
    architecture: Architecture,
    errors: Mapping[str, float],
    facts: Mapping[str, str],
    own_types: Sequence[str],
    known: Used,
    said: Mapping[str, str],
    own: float,
) -> str:
    """Return the Markdown of a model card.

    Args:
        description: What is exported.
        architecture: The same as a value.
        errors: The parity error of each exported format.
        facts: What the caller knows: data set, accuracy, run, seeds, versions.
        own_types: Names of the user's own types in it.
        known: What is done to images, and the names of the classes.
        said: What was found of a format beside its parity, by name.
        own: The error of the network itself in float32.
    """
    shape, task = description.input_shape, load_task(description.task)
    sections = {
        f"{type(architecture.network).__name__} {architecture.fingerprint}": [
            f"A network for {task.name} ({architecture.kind}) exported by invnas {description.invnas}, "
            "neural architecture search over hybrids of convolution and involution.",
            _table(
                {
                    "input `images`": f"(batch, {shape[0]}, {shape[1]}, {shape[2]}): channels, height, width; float32",
                    "output `scores`": task.output(description.facts),
                    **task.describe(description.facts),
                    **_price(architecture, shape, description.head),
                }
            ),
            f"{MAC_CONVENTION}. Activation bytes are the peak of feature maps alive at once, float32.",
        ],
        "Layers": ["\n".join(f"- {line}" for line in _layers(architecture))],
        "Input": list(_input(known)),
        "Boxes": list(_boxes(known.rules)),
        "Mask": list(_mask(known.rules)),
        "Facts": [_table(facts) if facts else "None were given."],
        "Files": list(_files(errors, description, own_types, known, said)),
        "Classes": [", ".join(f"{i} {_cell(name)}" for i, name in enumerate(description.class_names or ()))],
        "Limits": [
            f"- What enters the network must be {shape[1]} x {shape[2]}; only the batch size is free"
            f"{', and in ExecuTorch one' if 'pte' in errors else ''}.{_any_size(architecture, errors)}\n"
            "- Accuracy is known only where the facts above state it, on images like those of that data set.\n"
            f"- Parity was checked in float32 on a CPU, against the network in float64, from which the network itself "
            f"in float32 differs by {own:.1g}; half precision and other hardware differ more."
        ],
    }
    if not description.class_names:
        del sections["Classes"]
    if not isinstance(known.rules, Postprocessing):
        del sections["Boxes"]
    if not isinstance(known.rules, PixelClasses):
        del sections["Mask"]
    texts = ["\n\n".join(["# " + title, *body]) for title, body in sections.items()]
    return texts[0] + "".join(f"\n\n#{text}" for text in texts[1:]) + "\n"


def _any_size(architecture: Architecture, errors: Mapping[str, float]) -> str:
    """Return which files of a network for dense prediction take images of any size."""
    free = [f"`{FILES[name]}`" for name in ("onnx", "pt2") if name in errors]
    if not free or not isinstance(architecture.network, DenseNet):
        return ""
    return (
        f" {' and '.join(free)} also take{'s' * (len(free) == 1)} other heights and widths, from the largest stride on."
    )


def _price(architecture: Architecture, shape: tuple[int, int, int], head: Head) -> dict[str, str]:
    try:
        price = cost(architecture, shape, head)
    except BadInput as error:  # an operator nobody priced is no reason to withhold the model
        return {"multiply-adds": f"unknown: {error}"}
    return {
        "multiply-adds (MACs) of one image": f"{price.macs:,}",
        "parameters": f"{price.parameters:,}",
        "activation bytes of one image": f"{price.activation_bytes:,}",
    }


def _layers(architecture: Architecture) -> Iterator[str]:
    network = backbone_of(architecture.network)
    if not isinstance(network, HybridNet):
        yield f"`{network}`"
        return
    yield f"stem: `{network.stem}`"
    for number, stage in enumerate(network.stages, start=1):  # as the report counts
        for block, same in groupby(stage.blocks):
            yield f"stage {number} (width {stage.width}, stride {stage.stride}): {len(list(same))} x `{block}`"
    if not isinstance(architecture.network, DenseNet):
        yield "global average pool and a linear layer"
        return
    if architecture.network.neck is not None:
        yield f"neck: `{architecture.network.neck}`"
    yield f"head: `{architecture.network.head}`"


def _input(known: Used) -> Iterator[str]:
    yield words(known.preprocessing)
    if known.missing:
        yield (
            f"**Not known:** {known.missing}. Prepare images as the data module of the run does: what stands here "
            "is not enough to have the accuracy of the run on image files. The module can say it by an attribute "
            "`preprocessing`, before an export."
        )
    elif known.preprocessing.span is not None:
        low, high = known.preprocessing.span
        yield f"In images of floats or 32-bit integers {low:g} is black and {high:g} is white."


def _mask(rules: Postprocessing | PixelClasses | None) -> Iterator[str]:
    """Yield how a mask comes of the scores of a segmenter."""
    if isinstance(rules, PixelClasses):
        yield (
            "A mask as large as an image is made of its scores by scaling those of each class (bilinear, corners not "
            "aligned) to the part of the image that the network has seen, its sides rounded to whole pixels; the class "
            f"of a pixel is that of the largest score, the first of equal ones, and {IGNORED} what was cropped. "
            f"`{POSTPROCESS}` and the metadata of the ONNX file say the same."
        )


def _boxes(rules: Postprocessing | PixelClasses | None) -> Iterator[str]:
    """Yield what the numbers of a detector are, and how detections come of them."""
    if not isinstance(rules, Postprocessing):
        return
    height, width = rules.size
    yield (
        f"`scores` is (batch, {sum(rules.counts):,}, {rules.classes + 4}) for images of {width} x {height} pixels: for "
        f"each anchor {rules.classes} scores, of which a sigmoid makes 0..1 for each class by itself, then four "
        "offsets. Anchors are in the order of levels, rows, columns, and anchors of a position. The position of a row "
        "and a column is (column x stride, row x stride) pixels, and an anchor is given as left, top, right and bottom "
        "from there:"
    )
    lines = ["| level | grid, rows x columns | stride, down x across | anchors of a position |", "|---|---|---|---|"]
    for number, level in enumerate(rules.levels, start=1):
        cells = "; ".join(", ".join(f"{side:g}" for side in anchor) for anchor in level.anchors)
        lines.append(
            f"| {number} | {' x '.join(map(str, level.grid))} | {' x '.join(map(str, level.stride))} | {cells} |"
        )
    yield "\n".join(lines)
    yield (
        "Offsets (dx, dy, dw, dh) move an anchor with the centre (cx, cy) and the sides (w, h) to the centre "
        f"(cx + dx w, cy + dy h) and the sides (w exp(min(dw, {LARGEST_GROWTH:.4f})), h exp(min(dh, "
        f"{LARGEST_GROWTH:.4f}))), where {LARGEST_GROWTH:.4f} is log(1000 / 16). Detections are those of torchvision's "
        f"RetinaNet: of each level the best {rules.candidates:,} pairs of anchor and class with a score above "
        f"{rules.score_threshold:g}, clipped to the image; of boxes of one class that overlap by more than "
        f"{rules.overlap:g} (intersection over union) the best; of these the best {rules.detections}. "
        f"`{POSTPROCESS}` and the metadata of the ONNX file hold the same as data. Images of another size have other "
        "grids, and the same anchors at a position. All boxes of an image, by numpy:"
    )
    yield f"```python\n{DECODE}\n```"


def _files(
    errors: Mapping[str, float],
    description: Description,
    own_types: Sequence[str],
    known: Used,
    said: Mapping[str, str],
) -> Iterator[str]:
    beside = SPACE in description.sha256
    space = ", trust=True" if beside else ', space="my_space.py"' if own_types else ""
    codes = code(known, description.input_shape, space, classifies=description.task == "classification")
    for name, error in errors.items():
        of = _ERRORS[type(known.rules)] if name in (WITH, BOXES) else "of its largest score"
        yield f"`{FILES[name]}`: {ABOUT[name]}. Differs from the network by {error:.1g} {of}." + (
            f" {said[name]}." if name in said else ""
        )
        yield f"```python\n{codes[name]}\n```"
        if own_types and name == "safetensors":
            yield (
                f"**`{SPACE}` is code.** It defines {', '.join(own_types)}, and `load_model` executes it, with "
                "`trust=True` only: read it first, if you do not trust whoever gave you this folder. A space file of "
                'your own may take its place: `load_model(".", space="my_space.py")`.'
                if beside
                else f"`my_space.py` is the space file that defines {', '.join(own_types)}."
            )
    if "onnx" in errors:
        yield (
            "Where invnas is installed, its C++ loops run involution in onnxruntime: give the session `onnxruntime."
            "SessionOptions()` on which `register_custom_ops_library(invnas.onnx_library())` was called."
        )
    if "Image.open" in "".join(codes.values()):
        yield (
            "The lines with `Image.open` take images of 8 bits a channel: of 16 bits, floats or 32-bit integers "
            "Pillow's `convert` keeps no more than the lowest 256 tones. `predict` of `invnas.load_model` takes all."
        )


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())])


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
