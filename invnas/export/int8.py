"""Files with convolutions and linear layers in int8: what that costs in accuracy and gives in time is measured."""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from invnas.errors import InvnasError
from invnas.export.pte import loaded, one_thread, write_int8_pte
from invnas.ops.onnx import register

#: Gives the scores of a batch of images (B, C, H, W).
Run = Callable[[torch.Tensor], torch.Tensor]

#: What becomes int8; involution stays in float: its products of two maps have no weights to quantise.
_OPERATORS = ("Conv", "Gemm", "MatMul")
_CALIBRATED = 512  # images from which the ranges of the maps are found
_SECONDS = 1.0  # of timing, at least 10 runs of each


@dataclass(frozen=True)
class Judges:
    """Labelled images that an int8 model is calibrated and judged by.

    Attributes:
        batches: Pairs of images as the network sees them, (B, C, H, W) float32, and labels (B,).
        max_drop: Percentage points of accuracy that it may lose.
        kind: What kind of images they are.
    """

    batches: Sequence[tuple[torch.Tensor, torch.Tensor]]
    max_drop: float = 1.0
    kind: str = "validation images"

    @property
    def calibration(self) -> Iterator[torch.Tensor]:
        """The batches from which the ranges of the maps are found."""
        given = 0
        for images, _ in self.batches:
            if given >= _CALIBRATED:
                return
            given += len(images)
            yield images


@dataclass(frozen=True)
class Quantised:
    """What an int8 model is worth beside the float model.

    Attributes:
        before: Accuracy of the float model.
        after: Accuracy of the int8 model.
        images: How many images both were judged by.
        time: Time of one image over that of the float model, with one thread, medians of interleaved runs.
        max_drop: Percentage points of accuracy that it may lose.
        error: Largest difference of a score from the float model's, over its largest score.
        kind: What kind of images they were judged by.
    """

    before: float
    after: float
    images: int
    time: float
    max_drop: float
    error: float
    kind: str = "validation images"

    @property
    def said(self) -> str:
        """The verdict."""
        faults = []
        if 100 * (self.before - self.after) > self.max_drop:
            faults.append(f"it loses more than {self.max_drop:g} percentage points")
        if self.time >= 1:
            faults.append("it is not faster")
        return (
            f"accuracy {self.after:.4f} where float has {self.before:.4f} on {self.images:,} {self.kind}, "
            f"{self.time:.2f} x the time (one image, one thread)" + (f": {' and '.join(faults)}" if faults else "")
        )


def quantise_onnx(source: Path, network: nn.Module, path: Path, judges: Judges) -> Quantised:
    """Write an int8 file of an ONNX file (QDQ, weights per channel, ranges of maps from images), and judge it.

    Raises:
        InvnasError: If onnxruntime cannot quantise the network.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    try:
        with _quiet():
            quantize_static(
                source,
                path,
                _Reader(judges),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    except Exception as error:
        raise InvnasError(f"onnxruntime cannot quantise the network: {type(error).__name__}: {error}") from error
    return _judged(_session(source), _session(path), judges)


def quantise_pte(source: Path, network: nn.Module, path: Path, judges: Judges) -> Quantised:
    """Write an int8 program of a network (weights per channel, ranges of maps from images), and judge it.

    Raises:
        InvnasError: If ExecuTorch cannot quantise the network.
    """
    write_int8_pte(network, judges.calibration, path)
    with one_thread():
        return _judged(loaded(source), loaded(path), judges)


@dataclass(frozen=True)
class Int8:
    """One kind of int8 file.

    Attributes:
        name: That of the format.
        file: Its file.
        of: What it is made of.
        quantise: Writes it beside the float file of a network, and judges it.
    """

    name: str
    file: str
    of: str
    quantise: Callable[[Path, nn.Module, Path, Judges], Quantised]


#: The int8 file that a format has beside it.
INT8: Mapping[str, Int8] = {
    "onnx": Int8("int8", "model_int8.onnx", "ONNX", quantise_onnx),
    "pte": Int8("int8 pte", "model_int8.pte", "ExecuTorch program", quantise_pte),
}


def _judged(old: Run, new: Run, judges: Judges) -> Quantised:
    labels = torch.cat([labels for _, labels in judges.batches])
    scores = [torch.cat([run(images) for images, _ in judges.batches]) for run in (old, new)]
    before, after = (float((found.argmax(1) == labels).double().mean()) for found in scores)
    apart = float((scores[1] - scores[0]).abs().max()) / (float(scores[0].abs().max()) or 1)
    ratio = _ratio(old, new, judges.batches[0][0][:1])
    return Quantised(before, after, len(labels), ratio, judges.max_drop, apart, judges.kind)


class _Reader:
    """Gives onnxruntime the images it calibrates by, a batch at a time."""

    def __init__(self, judges: Judges) -> None:
        self._batches = judges.calibration

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self._batches, None)
        return None if images is None else {"images": images.contiguous().numpy()}


def _session(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    register(options)
    session: Any = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["scores"], {"images": images.contiguous().numpy()})[0])


def _ratio(old: Run, new: Run, image: torch.Tensor) -> float:
    times: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    while len(times[0]) < 10 or time.perf_counter() - begun < _SECONDS:
        for run, seen in zip((old, new), times, strict=True):
            start = time.perf_counter()
            run(image)
            seen.append(time.perf_counter() - start)
    return statistics.median(times[1]) / statistics.median(times[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what onnxruntime says of biases that are no constants, and of a preparation that is done already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
