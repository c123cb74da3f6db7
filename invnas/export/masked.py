"""Whether the ONNX file of a segmenter says what its network does of photos of any size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from invnas.data.preparing import Seen
from invnas.export.nodes import FLOAT, session
from invnas.export.parity import truth_of
from invnas.export.preprocess import Used
from invnas.export.whole import images_of_any_size, steps
from invnas.masks import IGNORED
from invnas.nn.layers import scaled

#: Rows and columns of made-up scores before they are scaled to the size of the network's: smooth, as those are.
_COARSE = (7, 9)


def check_mask(path: Path, network: nn.Module, used: Used) -> tuple[float, float]:
    """Run the file from a photo to its mask in onnxruntime on random images, each also with scores that are made up.

    A young network, or one that sees noise, calls a whole image one class: made-up scores have many.

    Returns:
        The largest difference of a pixel from Pillow's, in steps of 255, and the largest of `behind_best`, by the
        scores of the network in float64 on the pixels that the file prepared.
    """
    how, pixels, behind = used.preprocessing, 0.0, []
    run, alone, given = session(path, "images"), session(without_network(path)), None
    for image in _images(how.size):
        said, seen = run(image=image), Seen(image.shape[:2], how.box(*image.shape[1::-1]))
        images = torch.from_numpy(said["images"])
        pixels = max(pixels, steps(images, image, how))
        (exact,) = truth_of(network, [images]).exact
        behind.append(behind_best(said["mask"], exact[0], seen))
        given = made_up(exact[0].shape) if given is None else given
        behind.append(behind_best(alone(image=image, scores=given.numpy())["mask"], given[0].double(), seen))
    return pixels, float(np.max(behind))


def behind_best(mask: np.ndarray, scores: torch.Tensor, seen: Seen) -> float:
    """Return by how much, over the largest score, that of the class told is below the best, at the worst pixel.

    Infinite where a mask is of another size, tells a class that is none, or says anything but 255 of what was not seen.

    Args:
        mask: (height, width), uint8.
        scores: (classes, H, W), float64.
        seen: Size of the image, and what of it the scores are of.
    """
    top, left, height, width = seen.pixels
    if mask.shape != seen.size:
        return float("inf")
    beyond = np.ones(mask.shape, bool)
    beyond[top : top + height, left : left + width] = False
    if (mask[beyond] != IGNORED).any():
        return float("inf")
    told = torch.from_numpy(mask[top : top + height, left : left + width])
    best = told.new_full(told.shape, -torch.inf, dtype=scores.dtype)
    mine = best
    for index, score in enumerate(scores):
        large = scaled(score[None, None], told.shape)[0, 0]
        best, mine = torch.maximum(best, large), torch.where(told == index, large, mine)
    return float((best - mine).max()) / (float(scores.abs().max()) or 1.0)


def made_up(shape: tuple[int, ...]) -> torch.Tensor:
    """Return scores (1, classes, H, W), float32, of which each class has the largest somewhere, if there are few."""
    coarse = torch.randn(1, shape[0], *_COARSE, generator=torch.Generator().manual_seed(0))
    return scaled(coarse, shape[1:])


def without_network(path: Path) -> Any:
    """Return the model of a file without its network, whose `scores` are an input beside `image`.

    What the inner graph takes from without, the size alone, others take as well, so it is kept.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    wanted, kept = {one.name for one in model.graph.output}, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output) and "scores" not in node.output:
            kept.append(node)
            wanted.update(node.input)
    weights = [one for one in model.graph.initializer if one.name in wanted]
    for part, ones in ((model.graph.node, kept[::-1]), (model.graph.initializer, weights)):
        del part[:]
        part.extend(ones)
    model.graph.input.append(onnx.helper.make_tensor_value_info("scores", FLOAT, [1, "classes", "H", "W"]))
    return model


def _images(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield random images: those of every file, some of a single row, and one larger than what the network sees."""
    yield from images_of_any_size()
    generator = np.random.default_rng(1)
    for shape in ((1, 1, 3), (1, 500, 3), (2 * size[0] + 1, size[1] + 4, 3)):
        yield generator.integers(0, 256, shape, np.uint8)
