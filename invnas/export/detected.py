"""Whether the ONNX files of a detector keep the rules of its detections, and compute what its network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from invnas.export.detections import detections, rules_alone
from invnas.export.misfit import Found, made_up, misfit
from invnas.export.nodes import RAW, session
from invnas.export.parity import Truth
from invnas.export.preprocess import Used
from invnas.export.whole import images_of_any_size, steps, whole
from invnas.postprocessing import Postprocessing


def check_detections(onnx_file: Path, path: Path, truth: Truth, rules: Postprocessing) -> float:
    """Run the file from images to detections in onnxruntime, and its rules on numbers that are made up.

    A young network calls nothing an object: the same graph is run with a threshold of 0 as well, and its rules on
    numbers with many objects, few, and none.

    Returns:
        The largest of `misfit` and of the difference of the network's numbers from those in float64.
    """
    numbers = made_up(rules)
    broken = [_misfit(session(rules_alone(rules))(**{RAW: numbers}), numbers, rules)]
    all_said = replace(rules, score_threshold=0.0)
    for model, kept in ((path, rules), (detections(onnx_file, all_said), all_said)):
        run = session(model, RAW)
        said = [run(images=batch.numpy()) for batch in truth.images]
        broken += [_misfit(one, one[RAW], kept) for one in said]
        broken.append(truth.error([torch.from_numpy(one[RAW]) for one in said]))
    return float(np.max(broken))


def check_objects(onnx_file: Path, path: Path, network: nn.Module, used: Used) -> tuple[float, float]:
    """Run the file from a photo to detections in onnxruntime on random images, also with a threshold of 0.

    Returns:
        The largest difference of a pixel from Pillow's, in steps of 255, and the largest of `misfit`, of boxes brought
        back to pixels of the network's input, and of the difference of the network's numbers on the pixels that the
        file prepared.
    """
    assert isinstance(used.rules, Postprocessing)
    how, pixels, broken = used.preprocessing, 0.0, []
    all_said = replace(used.rules, score_threshold=0.0)
    for model, rules in ((path, used.rules), (whole(onnx_file, replace(used, rules=all_said)), all_said)):
        run = session(model, "images", RAW)
        for image in images_of_any_size():
            said = run(image=image)
            images, numbers = torch.from_numpy(said["images"]), said[RAW]
            pixels = max(pixels, steps(images, image, how))
            with torch.no_grad():
                expected = network(images).numpy()
            broken.append(np.abs(numbers - expected).max() / (np.abs(expected).max() or 1.0))
            left, top, right, bottom = how.box(*image.shape[1::-1])
            scale = np.array([how.size[1] / (right - left), how.size[0] / (bottom - top)] * 2)
            boxes = (said["boxes"] - [left, top, left, top]) * scale
            broken.append(misfit(Found(boxes, said["scores"], said["labels"]), numbers[0], rules))
    return pixels, float(np.max(broken))


def _misfit(said: Mapping[str, Any], numbers: np.ndarray, rules: Postprocessing) -> float:
    """Return the largest misfit of a batch."""
    found = []
    for i, count in enumerate(said["number"]):
        one = Found(*(said[name][i, :count] for name in ("boxes", "scores", "labels")))
        found.append(misfit(one, numbers[i], rules))
    return float(np.max(found))
