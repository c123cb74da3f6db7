"""From a trained network to files others can run: ONNX, torch.export and safetensors, each checked against it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.errors import BadInput, InvnasError, nearest
from invnas.export.card import WITH, card
from invnas.export.description import FILE, checksum, describe
from invnas.export.folder import CARD, replacing
from invnas.export.int8 import INT8, INT8_FILE, Judges, quantise
from invnas.export.load import WEIGHTS, load_model, rebuild
from invnas.export.onnx_graph import need_onnx, run_onnx, write_onnx
from invnas.export.preprocess import PREPROCESS, Used, used
from invnas.export.program import run_pt2, write_pt2
from invnas.head import Head, check_output
from invnas.nn import build, fold
from invnas.preprocessing import Preprocessing
from invnas.settings import names as names_of
from invnas.space import Space
from invnas.weights import check_shapes, save_weights

__all__ = ["FORMATS", "TOLERANCE", "ExportMismatch", "Exported", "export", "load_model"]

#: Every format by name, with its file.
FORMATS: Mapping[str, str] = {"onnx": "model.onnx", "pt2": "model.pt2", "safetensors": WEIGHTS}

#: Largest parity error that passes: float32 sums in another order stay below a hundredth of it.
TOLERANCE = 1e-4

#: Batch sizes each file is checked with.
BATCHES = (1, 3)

#: The second ONNX file, which takes the bytes of an image.
WHOLE = "model_with_preprocessing.onnx"

_FILES = frozenset({*FORMATS.values(), "model.onnx.data", WHOLE, INT8_FILE, PREPROCESS, FILE, CARD})


class ExportMismatch(InvnasError):
    """An exported file computes other scores than the network."""


@dataclass(frozen=True)
class Exported:
    """One file of an export.

    Attributes:
        format: "onnx", "pt2" or "safetensors"; "onnx with preprocessing" for the second ONNX file;
            "int8" for that in int8.
        path: The file.
        parity_error: Largest difference of a score from the network's, over the network's largest score; with
            preprocessing that of a probability.
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
        with_preprocessing: Also write an ONNX file that takes the bytes of an image of any size.
        judges: Also write an ONNX file in int8, calibrated and judged by these images.

    Returns:
        One entry for each format, in the order asked for.

    Raises:
        BadInput: If a format is unknown, the folder holds other files or cannot be written, the network does not
            fit the architecture, or a file with preprocessing cannot be made.
        MissingExtra: If the packages for ONNX are not installed.
        ExportMismatch: If a file computes other scores than the network; nothing is written then.
        InvnasError: If the network cannot be traced.
    """
    formats = _known(formats)
    names = None if class_names is None else tuple(class_names)
    head = describe(architecture, input_shape, classes, names, {}, task).head
    known = used(input_shape, names, preprocessing)
    if with_preprocessing:
        _check_whole_can_be(formats, known, task)
    if judges is not None:
        _check_int8_can_be(formats, task)
    _check_is(network, architecture, input_shape, head)
    types = Space(architecture.network).types
    with replacing(Path(folder), _FILES) as staging:
        frozen = _frozen(network)
        images, scores = _expected(frozen, input_shape, head)
        writers: dict[str, Callable[..., None]] = {
            "onnx": partial(write_onnx, metadata=known.metadata),
            "pt2": write_pt2,
        }
        folded = fold(frozen)  # the weights stay as they were trained
        for name in formats:
            path = staging / FORMATS[name]
            if name in writers:
                writers[name](folded, images[-1], path)
            else:
                save_weights(frozen, path)
        known.write(staging)
        extra = _write_whole(staging, frozen, known) if with_preprocessing else {}
        said = {}
        if judges is not None:
            found = quantise(staging / FORMATS["onnx"], staging / INT8_FILE, judges)
            extra[INT8], said[INT8] = found.error, found.said
        sums = {path.name: checksum(path) for path in sorted(staging.iterdir())}
        description = describe(architecture, input_shape, classes, names, sums, task)
        description.write(staging)
        runners = {
            "onnx": run_onnx,
            "pt2": run_pt2,
            "safetensors": lambda path, images: _scores(rebuild(path.parent, types), images),
        }
        errors = {name: _parity(name, runners[name], staging, images, scores) for name in formats} | extra
        text = card(description, architecture, errors, facts, tuple(types), known, said)
        (staging / CARD).write_text(text, encoding="utf-8")
    return tuple(_exported(name, Path(folder), error, said.get(name, "")) for name, error in errors.items())


def _known(formats: Sequence[str]) -> tuple[str, ...]:
    formats = names_of(formats, "formats")
    for name in formats:
        if name not in FORMATS:
            raise BadInput(f"unknown export format '{name}'; {nearest(name, FORMATS)}")
    if not formats:
        raise BadInput(f"`formats` names no format; {nearest('', FORMATS)}")
    if "onnx" in formats:
        need_onnx()
    return tuple(dict.fromkeys(formats))


def _check_whole_can_be(formats: Sequence[str], known: Used, task: str) -> None:
    if "onnx" not in formats:
        raise BadInput("the file with preprocessing is a second ONNX file: add onnx to the formats")
    if task != "classification":
        raise BadInput(f"the file with preprocessing names the class of an image, which the task '{task}' does not")
    if known.missing:
        raise BadInput(f"the file with preprocessing cannot be made: {known.missing}")


def _check_int8_can_be(formats: Sequence[str], task: str) -> None:
    if "onnx" not in formats:
        raise BadInput("the int8 file is made of the ONNX file: add onnx to the formats")
    if task != "classification":
        raise BadInput(f"an int8 file is judged by its accuracy, which the task '{task}' has not")


def _write_whole(folder: Path, network: nn.Module, known: Used) -> dict[str, float]:
    """Write the file that takes the bytes of an image, check it, and return its parity error."""
    from invnas.export.whole import check_whole, write_whole

    write_whole(folder / FORMATS["onnx"], known, folder / WHOLE)
    steps, error = check_whole(folder / WHOLE, network, known)
    if not (steps <= 1.01 and error <= TOLERANCE):
        raise ExportMismatch(
            f"the onnx file with preprocessing differs by {steps:.2g} of 255 in a pixel and by {error:.1g} in a "
            "probability; nothing was exported"
        )
    return {WITH: error}


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


def _expected(
    network: nn.Module, input_shape: tuple[int, int, int], head: Head
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return a batch of each size in `BATCHES`, and the scores of the network."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(size, *input_shape, generator=generator) for size in BATCHES]
    try:
        scores = _scores(network, images)
    except Exception as error:
        raise BadInput(f"the network does not take images of shape {input_shape}: {error}") from error
    for batch, result in zip(images, scores, strict=True):
        if result.shape[:1] != (len(batch),):
            raise BadInput(f"the network must return one output for each image, but returns {tuple(result.shape)}")
        check_output(head, input_shape, tuple(result.shape[1:]), refusal=BadInput)
        if not result.isfinite().all():
            raise BadInput("the network returns scores that are not finite: its weights diverged")
    return images, scores


def _scores(network: nn.Module, images: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return [network(batch) for batch in images]


def _parity(
    name: str,
    run: Callable[[Path, list[torch.Tensor]], list[torch.Tensor]],
    folder: Path,
    images: list[torch.Tensor],
    scores: list[torch.Tensor],
) -> float:
    try:
        found = run(folder / FORMATS[name], images)
    except BadInput:
        raise
    except Exception as error:  # a runtime that refuses the file
        raise ExportMismatch(f"the {name} file does not run: {type(error).__name__}: {error}") from error
    scale = max(float(batch.abs().max()) for batch in scores) or 1.0
    pairs = list(zip(scores, found, strict=True))
    # The maximum of a tensor is NaN when one of its values is; that of Python may lose it.
    worst = float(torch.stack([(a - b).abs().max() for a, b in pairs]).max()) / scale
    if not worst <= TOLERANCE:
        raise ExportMismatch(
            f"the {name} file differs from the network by {worst:.1g} of its largest score, more than {TOLERANCE:g}; "
            "nothing was exported"
        )
    return worst


def _exported(name: str, folder: Path, error: float, said: str) -> Exported:
    path = folder / {**FORMATS, WITH: WHOLE, INT8: INT8_FILE}[name]
    beside = path.with_name(path.name + ".data")
    size = path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
    return Exported(name, path, error, size, said)
