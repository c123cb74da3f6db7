"""The ONNX files with preprocessing before the network or postprocessing behind it: which can be, and that they fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from invnas.errors import BadInput
from invnas.export.formats import BOXES, FILES, FORMATS, WITH
from invnas.export.parity import ExportMismatch, Truth
from invnas.export.preprocess import Used
from invnas.postprocessing import PixelClasses, Postprocessing
from invnas.task import load_task

#: Error of a probability that passes in the file with preprocessing, whose pixels may be off by 1 of 255; of boxes in
#: the longer side of an image, of the class of a pixel in the largest score.
TOLERANCE = 1e-4


def check_can_be(formats: Sequence[str], known: Used, task: str) -> None:
    """Raise BadInput where a file with preprocessing cannot be made, as far as that is seen without the network."""
    if "onnx" not in formats:
        raise BadInput("the file with preprocessing is a second ONNX file: add onnx to the formats")
    if task != "classification" and not hasattr(load_task(task), "postprocessing"):
        raise BadInput(
            "the file with preprocessing names the class of an image, the objects in it or the class of each pixel, "
            f"and the task '{task}' does not say what makes these of its numbers: a task that does has a method "
            "`postprocessing(network, input_shape)`"
        )
    if known.missing:
        raise BadInput(f"the file with preprocessing cannot be made: {known.missing}")


def rules_of(
    network: nn.Module, shape: tuple[int, int, int], task: str, wanted: bool
) -> Postprocessing | PixelClasses | None:
    """Return what makes an answer of a network's numbers; None where its task makes none, and it is not wanted."""
    owner: Any = load_task(task)
    if not hasattr(owner, "postprocessing"):
        return None
    found: Postprocessing | PixelClasses | None = owner.postprocessing(network, shape)
    if found is None and wanted:
        raise BadInput(
            "the file with preprocessing holds detectors of one stage (RetinaHead): the second stage of RCNNHeads sees "
            "regions that are chosen between, and stands in no ONNX file; without it the first stage and all weights "
            "are exported"
        )
    return found


def write_around(folder: Path, network: nn.Module, known: Used, truth: Truth) -> dict[str, float]:
    """Write the file that takes the bytes of an image, check it, and return its parity error; of a detector the file
    that takes images as well.

    Raises:
        ExportMismatch: If one says what the network does not.
    """
    from invnas.export.whole import check_whole, write_whole

    onnx_file, path, errors, limit = folder / FORMATS["onnx"], folder / FILES[WITH], {}, max(TOLERANCE, truth.limit)
    write_whole(onnx_file, known, path)
    match known.rules:
        case Postprocessing():
            from invnas.export.detected import check_objects

            errors[BOXES] = _write_boxes(folder, known.rules, truth, limit)
            (steps, error), what = check_objects(onnx_file, path, network, known), "a box or a score"
        case PixelClasses():
            from invnas.export.masked import check_mask

            (steps, error), what = check_mask(path, network, known), "the score of the class of a pixel"
        case None:
            limit = TOLERANCE
            (steps, error), what = check_whole(path, network, known), "a probability"
    if not (steps <= 1.01 and error <= limit):
        raise ExportMismatch(
            f"the onnx file with preprocessing differs by {steps:.2g} of 255 in a pixel and by {error:.1g} in {what}; "
            "nothing was exported"
        )
    return {**errors, WITH: error}


def _write_boxes(folder: Path, rules: Postprocessing, truth: Truth, limit: float) -> float:
    """Write the file from images to boxes, check it, and return its parity error."""
    from invnas.export.detected import check_detections
    from invnas.export.detections import write_detections

    onnx_file, path = folder / FORMATS["onnx"], folder / FILES[BOXES]
    write_detections(onnx_file, rules, path)
    error = check_detections(onnx_file, path, truth, rules)
    if not error <= limit:
        raise ExportMismatch(
            f"the onnx file with postprocessing differs by {error:.1g} in a box or a score; nothing was exported"
        )
    return error
