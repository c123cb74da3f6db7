"""From a trained network to files others can run: graphs for several runtimes, and weights, each checked against it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.errors import BadInput, InvnasError, nearest
from invnas.export.around import TOLERANCE, check_can_be, rules_of, write_around
from invnas.export.card import card
from invnas.export.description import SPACE, checksum, describe
from invnas.export.folder import CARD, replacing
from invnas.export.formats import BESIDE, FILES, FORMATS, NAMES
from invnas.export.graphs import GRAPHS
from invnas.export.int8 import INT8, Judges
from invnas.export.load import load_model, rebuild
from invnas.export.onnx_graph import write_onnx
from invnas.export.parity import ExportMismatch, Truth, truth_of
from invnas.export.preprocess import Used, used
from invnas.head import Head, check_output
from invnas.nn import build, fold
from invnas.preprocessing import Preprocessing
from invnas.settings import names as names_of
from invnas.space import Space
from invnas.weights import check_shapes, save_weights

__all__ = ["FORMATS", "TOLERANCE", "ExportMismatch", "Exported", "export", "load_model"]

#: Batch sizes each file is checked with.
BATCHES = (1, 3)


@dataclass(frozen=True)
class Exported:
    """One file of an export.

    Attributes:
        format: One of `FORMATS`; "onnx with preprocessing" for the second ONNX file; "int8" for the ONNX file in int8,
            "int8 pte" for the ExecuTorch program in it.
        path: The file.
        parity_error: Largest difference of a score from the network's in float64, over the largest score; with
            preprocessing that of a probability from the network's in float32, or by how much the class of a pixel is
            below the best; in int8 that of a score from the float file's.
        bytes: Size of the file, with the data beside it if there is any.
        said: What was found of it beside that, as a sentence; of int8 accuracy and time.
    """

    format: str
    path: Path
    parity_error: float
    bytes: int
    said: str = ""


def export(
    network: nn.Module,
    architecture: Architecture,
    input_shape: tuple[int, int, int],
    classes: int,
    folder: str | Path,
    formats: Sequence[str] = ("onnx", "pt2", "safetensors"),
    facts: Mapping[str, str] = {},
    class_names: Sequence[str] | None = None,
    task: str = "classification",
    preprocessing: Preprocessing | None = None,
    with_preprocessing: bool = False,
    judges: Judges | None = None,
    space_text: str | None = None,
) -> tuple[Exported, ...]:
    """Write a trained network in each format, check each against it, and describe it in a model card.

    The folder appears whole or not at all; a previous export in it is replaced. The network is left as it is: what
    is exported is a copy in eval mode, float32, on the CPU, folded (`invnas.fold`) in the formats that are graphs.

    Args:
        network: What `build` made of the architecture, trained.
        architecture: What the network is.
        input_shape: (channels, height, width) of one image.
        classes: Number of classes.
        folder: Where to; new, empty, or a previous export.
        formats: Any of `FORMATS`.
        facts: For the model card, such as data set, accuracy, run, seeds.
        class_names: One for each class.
        task: What the network is trained for.
        preprocessing: What is done to images before the network sees them; None: unknown.
        with_preprocessing: Also write an ONNX file that takes the bytes of an image of any size, and for a detector of
            one stage one that goes from images to boxes; both end in its detections, that of a segmenter in a mask.
        judges: Also write the ONNX file and the ExecuTorch program in int8, calibrated and judged by these images.
        space_text: The text of the space file; written beside the weights where it defines types of the network.

    Returns:
        One entry for each format, in the order asked for.

    Raises:
        BadInput: If a format is unknown, the folder holds other files or cannot be written, the network does not
            fit the architecture, or a file with preprocessing cannot be made.
        MissingExtra: If the packages for a format are not installed.
        ExportMismatch: If a file computes other scores than the network; nothing is written then.
        InvnasError: If the network cannot be traced.
    """
    formats = _known(formats)
    names = None if class_names is None else tuple(class_names)
    head = describe(architecture, input_shape, classes, names, {}, task).head
    known = used(input_shape, names, preprocessing)
    if with_preprocessing:
        check_can_be(formats, known, task)
    if judges is not None:
        _check_int8_can_be(formats, task)
    _check_is(network, architecture, input_shape, head)
    types = Space(architecture.network).types
    with replacing(Path(folder), NAMES) as staging:
        frozen = _frozen(network)
        truth = _truth(frozen, input_shape, head)
        known = replace(known, rules=rules_of(frozen, input_shape, task, with_preprocessing))
        folded = fold(frozen)  # the weights stay as they were trained
        _write(formats, staging, frozen, folded, truth.images[-1], known)
        known.write(staging)
        if types and space_text is not None and "safetensors" in formats:  # the other formats stand alone
            (staging / SPACE).write_text(space_text, encoding="utf-8", newline="")
        extra = write_around(staging, frozen, known, truth) if with_preprocessing else {}
        said = {}
        if judges is not None:
            for source, int8 in ((name, INT8[name]) for name in formats if name in INT8):
                found = int8.quantise(staging / FORMATS[source], folded, staging / int8.file, judges)
                extra[int8.name], said[int8.name] = found.error, f"{int8.name}: {found.said}"
        sums = {path.name: checksum(path) for path in sorted(staging.iterdir())}
        description = describe(architecture, input_shape, classes, names, sums, task)
        description.write(staging)
        runners = {name: GRAPHS[name].run for name in formats if name in GRAPHS}
        runners["safetensors"] = lambda path, images: truth_of(rebuild(path.parent, types), images).scores
        errors = {name: _parity(name, runners[name], staging, truth) for name in formats} | extra
        text = card(description, architecture, errors, facts, tuple(types), known, said, truth.own)
        (staging / CARD).write_text(text, encoding="utf-8")
    return tuple(_exported(name, Path(folder), error, said.get(name, "")) for name, error in errors.items())


def _write(
    formats: Sequence[str], folder: Path, frozen: nn.Module, folded: nn.Module, images: torch.Tensor, known: Used
) -> None:
    for name in formats:
        path = folder / FORMATS[name]
        if name == "safetensors":
            save_weights(frozen, path)
        elif name == "onnx":
            write_onnx(folded, images, path, known.metadata)
        else:
            GRAPHS[name].write(folded, images, path)


def _known(formats: Sequence[str]) -> tuple[str, ...]:
    formats = names_of(formats, "formats")
    for name in formats:
        if name not in FORMATS:
            raise BadInput(f"unknown export format '{name}'; {nearest(name, FORMATS)}")
    if not formats:
        raise BadInput(f"`formats` names no format; {nearest('', FORMATS)}")
    for name in formats:
        if name in GRAPHS:
            GRAPHS[name].need()
    return tuple(dict.fromkeys(formats))


def _check_int8_can_be(formats: Sequence[str], task: str) -> None:
    if not any(name in INT8 for name in formats):
        raise BadInput(
            "an int8 file is made of the ONNX file or of the ExecuTorch program: add onnx or pte to the formats"
        )
    if task != "classification":
        raise BadInput(f"an int8 file is judged by its accuracy, which the task '{task}' has not")


def _check_is(network: nn.Module, architecture: Architecture, input_shape: tuple[int, int, int], head: Head) -> None:
    with torch.device("meta"):
        built = build(architecture, input_shape, head)
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_shapes(built, found, "a network that is not of the given architecture")


def _frozen(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network).cpu().float().eval()
    except Exception as error:  # a user's own module may hold what cannot be copied
        raise InvnasError(f"the network cannot be copied for export: {type(error).__name__}: {error}") from error


def _truth(network: nn.Module, input_shape: tuple[int, int, int], head: Head) -> Truth:
    """Return what a network makes of a batch of each size in `BATCHES`."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(size, *input_shape, generator=generator) for size in BATCHES]
    try:
        truth = truth_of(network, images)
    except Exception as error:
        raise BadInput(f"the network does not take images of shape {input_shape}: {error}") from error
    for batch, result in zip(images, truth.scores, strict=True):
        if result.shape[:1] != (len(batch),):
            raise BadInput(f"the network must return one output for each image, but returns {tuple(result.shape)}")
        check_output(head, input_shape, tuple(result.shape[1:]), refusal=BadInput)
        if not result.isfinite().all():
            raise BadInput("the network returns scores that are not finite: its weights diverged")
    return truth


def _parity(
    name: str, run: Callable[[Path, list[torch.Tensor]], list[torch.Tensor]], folder: Path, truth: Truth
) -> float:
    try:
        found = run(folder / FORMATS[name], truth.images)
    except BadInput:
        raise
    except Exception as failure:  # a runtime that refuses the file
        raise ExportMismatch(f"the {name} file does not run: {type(failure).__name__}: {failure}") from failure
    error = truth.error(found)
    if not error <= truth.limit:
        raise ExportMismatch(
            f"the {name} file differs from the network in float64 by {error:.1g} of its largest score, more than "
            f"{truth.limit:.1g} (the network in float32 by {truth.own:.1g}); nothing was exported"
        )
    return error


def _exported(name: str, folder: Path, error: float, said: str) -> Exported:
    path = folder / FILES[name]
    files = [path, folder / BESIDE[path.name]] if path.name in BESIDE else [path]
    size = sum(file.stat().st_size for file in files if file.exists())
    return Exported(name, path, error, size, said)
