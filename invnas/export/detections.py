"""ONNX files that end in detections: behind the network of a detector of one stage stand the rules of its boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from invnas.export.nodes import FLOAT, INT64, RAW, Nodes, Side, rewired
from invnas.postprocessing import LARGEST_GROWTH, Postprocessing


def write_detections(onnx_file: Path, rules: Postprocessing, path: Path) -> None:
    """Write the file beside an ONNX file of a detector that goes from images to detections.

    Input `images`: (batch, C, height, width), of the size that the anchors are for. Outputs, best first and with D
    entries for each image, of which `number` (batch) says how many are meant: `boxes` (batch, D, 4), left, top, right
    and bottom in pixels of the input; `scores` (batch, D) in 0..1; `labels` (batch, D), 0 for the first class. Behind
    these are zeros, and the label -1. Standard operators only.
    """
    import onnx

    onnx.save(detections(onnx_file, rules), path)


def detections(onnx_file: Path, rules: Postprocessing) -> Any:
    """Return the model that `write_detections` writes."""
    import onnx

    model = onnx.load(onnx_file, load_external_data=False)
    nodes = Nodes()
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    nodes.network(model.graph, RAW)
    add_detections(nodes, rules)
    inputs: dict[str, Side] = {"images": (FLOAT, ["batch", channels, *rules.size])}
    return rewired(model, nodes, inputs, padded(rules))


def rules_alone(rules: Postprocessing) -> Any:
    """Return the model that makes the outputs of `write_detections` of the numbers of a network."""
    from onnx import helper

    from invnas.export.onnx_graph import IR_VERSION, OPSET

    nodes = Nodes()
    add_detections(nodes, rules)
    opsets = [helper.make_opsetid("", OPSET)]
    empty = helper.make_model(helper.make_graph([], "rules", [], []), ir_version=IR_VERSION, opset_imports=opsets)
    inputs: dict[str, Side] = {RAW: (FLOAT, ["batch", sum(rules.counts), rules.classes + 4])}
    return rewired(empty, nodes, inputs, padded(rules))


def padded(rules: Postprocessing) -> Mapping[str, Side]:
    """Return the outputs that `add_detections` makes."""
    most = min(rules.detections, sum(_candidates(rules)))
    return {
        "boxes": (FLOAT, ["batch", most, 4]),
        "scores": (FLOAT, ["batch", most]),
        "labels": (INT64, ["batch", most]),
        "number": (INT64, ["batch"]),
    }


def add_detections(nodes: Nodes, rules: Postprocessing, names: Mapping[str, str] = {}) -> None:
    """Add what makes `padded` of the numbers of a network; an output may get another name."""
    score, label, anchor = _add_candidates(nodes, rules)
    boxes = _add_boxes(nodes, rules, anchor)
    kept = _add_suppression(nodes, rules, boxes, score, label)
    most = min(rules.detections, sum(_candidates(rules)))
    best, places = nodes.best(kept, most)
    there = nodes("Greater", best, np.float32(0))
    told = {
        "boxes": nodes("GatherND", boxes, nodes("Unsqueeze", places, [2]), batch_dims=1),
        "labels": nodes("GatherElements", label, places, axis=1),
    }
    each = nodes("Unsqueeze", there, [2])
    nodes("Where", each, told["boxes"], np.float32(0), output=names.get("boxes", "boxes"))
    nodes("Where", there, best, np.float32(0), output=names.get("scores", "scores"))
    nodes("Where", there, told["labels"], np.int64(-1), output=names.get("labels", "labels"))
    nodes("ReduceSum", nodes("Cast", there, to=INT64), [1], keepdims=0, output=names.get("number", "number"))


def _candidates(rules: Postprocessing) -> list[int]:
    """Return how many candidates each level has."""
    return [min(rules.candidates, count * rules.classes) for count in rules.counts]


def _add_candidates(nodes: Nodes, rules: Postprocessing) -> tuple[str, str, str]:
    """Add the scores, labels and anchors of the best pairs of each level, (batch, S) each."""
    probabilities = nodes("Sigmoid", nodes("Slice", RAW, [0], [rules.classes], [2]))
    parts: list[tuple[str, str, str]] = []
    start = 0
    for anchors, count in zip(rules.counts, _candidates(rules), strict=True):
        level = nodes("Slice", probabilities, [start], [start + anchors], [1])
        best, places = nodes.best(nodes("Reshape", level, [0, anchors * rules.classes]), count)
        anchor = nodes("Add", nodes("Div", places, np.int64(rules.classes)), np.int64(start))
        parts.append((best, nodes("Mod", places, np.int64(rules.classes)), anchor))
        start += anchors
    score, label, anchor = (nodes("Concat", *one, axis=1) for one in zip(*parts, strict=True))
    return score, label, anchor


def _add_boxes(nodes: Nodes, rules: Postprocessing, anchor: str) -> str:
    """Add the boxes of candidates, (batch, S, 4), clipped to the image."""
    corners = rules.anchors()
    sides, offsets = corners[:, 2:] - corners[:, :2], nodes("Slice", RAW, [rules.classes], [rules.classes + 4], [2])
    offsets = nodes("GatherND", offsets, nodes("Unsqueeze", anchor, [2]), batch_dims=1)
    side = nodes("Gather", sides, anchor, axis=0)
    moved = nodes("Mul", nodes("Slice", offsets, [0], [2], [2]), side)
    centre = nodes("Add", moved, nodes("Gather", corners[:, :2] + sides / 2, anchor, axis=0))
    growth = nodes("Exp", nodes("Min", nodes("Slice", offsets, [2], [4], [2]), np.float32(LARGEST_GROWTH)))
    half = nodes("Mul", nodes("Mul", growth, side), np.float32(0.5))
    boxes = nodes("Concat", nodes("Sub", centre, half), nodes("Add", centre, half), axis=2)
    height, width = rules.size
    return nodes("Max", nodes("Min", boxes, np.array([width, height, width, height], np.float32)), np.float32(0))


def _add_suppression(nodes: Nodes, rules: Postprocessing, boxes: str, score: str, label: str) -> str:
    """Add the scores (batch, S) of candidates that are kept, 0 for the others."""
    classes = nodes("OneHot", label, np.int64(rules.classes), np.array([0, 1], np.float32), axis=1)
    by_class = nodes("Mul", classes, nodes("Unsqueeze", score, [1]))
    limits = (np.array([one], np.float32) for one in (rules.overlap, rules.score_threshold))
    chosen = nodes(
        "NonMaxSuppression", boxes, by_class, [rules.detections], *limits
    )  # rows of (image, class, candidate)
    places = nodes("Gather", chosen, np.array([0, 2]), axis=1)
    nothing = nodes("Mul", score, np.float32(0))
    return nodes("ScatterND", nothing, places, nodes("GatherND", score, places))
