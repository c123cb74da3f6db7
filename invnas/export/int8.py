"""ONNX with convolutions and linear layers in int8: what that costs in accuracy and gives in time is measured."""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invnas.errors import InvnasError
from invnas.ops.onnx import register

#: The format and its file.
INT8, INT8_FILE = "int8", "model_int8.onnx"

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
    """

    batches: Sequence[tuple[torch.Tensor, torch.Tensor]]
    max_drop: float = 1.0


@dataclass(frozen=True)
class Quantised:
    """What an int8 model is worth beside the float model.

    Attributes:
        before: Accuracy of the float model.
        after: Accuracy of the int8 model.
        images: How many images both were judged by.
        time: Time of one image over that of the float model, onnxruntime with one thread, medians of interleaved runs.
        max_drop: Percentage points of accuracy that it may lose.
        error: Largest difference of a score from the float model's, over its largest score.
    """

    before: float
    after: float
    images: int
    time: float
    max_drop: float
    error: float

    @property
    def said(self) -> str:
        """The verdict."""
        faults = []
        if 100 * (self.before - self.after) > self.max_drop:
            faults.append(f"it loses more than {self.max_drop:g} percentage points")
        if self.time >= 1:
            faults.append("it is not faster")
        return (
            f"int8: accuracy {self.after:.4f} where float has {self.before:.4f} on {self.images:,} validation images, "
            f"{self.time:.2f} x the time (one image, one thread)" + (f": {' and '.join(faults)}" if faults else "")
        )


def quantise(onnx_file: Path, path: Path, judges: Judges) -> Quantised:
    """Write an int8 file of an ONNX file (QDQ, weights per channel, ranges of maps from images), and judge it.

    Raises:
        InvnasError: If onnxruntime cannot quantise the network.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    try:
        with _quiet():
            quantize_static(
                onnx_file,
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
    old, new = (_session(file) for file in (onnx_file, path))
    labels = torch.cat([labels for _, labels in judges.batches]).numpy()
    scores = [np.concatenate([_run(one, images) for images, _ in judges.batches]) for one in (old, new)]
    before, after = (float((found.argmax(1) == labels).mean()) for found in scores)
    apart = float(np.abs(scores[1] - scores[0]).max() / (np.abs(scores[0]).max() or 1))
    return Quantised(before, after, len(labels), _ratio(old, new, judges.batches[0][0][:1]), judges.max_drop, apart)


class _Reader:
    """Gives onnxruntime the images it calibrates by, a batch at a time."""

    def __init__(self, judges: Judges) -> None:
        self._batches = self._first(judges)

    @staticmethod
    def _first(judges: Judges) -> Iterator[dict[str, np.ndarray]]:
        given = 0
        for images, _ in judges.batches:
            if given >= _CALIBRATED:
                return
            given += len(images)
            yield {"images": images.contiguous().numpy()}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    register(options)
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _run(session: Any, images: torch.Tensor) -> np.ndarray:
    found: np.ndarray = session.run(["scores"], {"images": images.contiguous().numpy()})[0]
    return found


def _ratio(old: Any, new: Any, image: torch.Tensor) -> float:
    times: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    while len(times[0]) < 10 or time.perf_counter() - begun < _SECONDS:
        for session, seen in zip((old, new), times, strict=True):
            start = time.perf_counter()
            _run(session, image)
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
