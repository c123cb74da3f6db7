"""Nodes that make a mask as large as the image of the scores of a segmenter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from invnas.export.nodes import FLOAT, INT64, UINT8, Nodes, Side, infos
from invnas.masks import IGNORED


def add_mask(nodes: Nodes, image: str, corner: str, sides: str, classes: int) -> Mapping[str, Side]:
    """Add what makes `mask` (height, width) of `scores` (1, classes, H, W), and return the output.

    Args:
        nodes: Where to.
        image: (height, width) of the image, in double.
        corner: (top, left) of the part of it that was seen, in pixels, not rounded.
        sides: (height, width) of that part.
        classes: Number of classes.
    """
    nothing, one = np.zeros(2), np.ones(2)
    end = nodes("Min", nodes("Round", nodes("Add", corner, sides)), image)
    begin = nodes("Max", nodes("Round", corner), nothing)
    size = nodes("Max", nodes("Sub", end, begin), one)
    begin = nodes("Min", begin, nodes("Sub", image, size))
    behind = nodes("Sub", nodes("Sub", image, size), begin)
    told = _largest(nodes, nodes("Cast", size, to=INT64), classes)
    pads = nodes("Cast", nodes("Concat", begin, behind, axis=0), to=INT64)
    nodes("Pad", told, pads, np.uint8(IGNORED), output="mask")
    return {"mask": (UINT8, ["height", "width"])}


def _largest(nodes: Nodes, size: str, classes: int) -> str:
    """Add the class of the largest of `scores` at another height and width, the first of equal ones.

    Class by class, as `predict` does it: the scores of all at the size of a photograph can take gigabytes.
    """
    from onnx import helper

    inner, sides = Nodes("each"), ["rows", "columns"]
    large = inner("Resize", "score", "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")
    better = inner("Greater", large, "best")
    inner("Where", better, large, "best", output="best_now")
    inner("Where", better, "index", "taken", output="taken_now")
    enters: dict[str, Side] = {
        "best": (FLOAT, sides),
        "taken": (UINT8, sides),
        "score": (FLOAT, ["H", "W"]),
        "index": (UINT8, []),
    }
    leaves: dict[str, Side] = {"best_now": (FLOAT, sides), "taken_now": (UINT8, sides)}
    body = helper.make_graph(inner.nodes, "each_class", infos(enters), infos(leaves))
    first = nodes("Expand", np.float32(-np.inf), size), nodes("Expand", np.uint8(0), size)
    each = nodes("Squeeze", "scores", [0]), np.arange(classes, dtype=np.uint8)
    return nodes.two("Scan", *first, *each, body=body, num_scan_inputs=len(each))[1]
