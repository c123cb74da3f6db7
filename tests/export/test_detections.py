"""Exported detectors of one stage: their numbers, their anchors, and the ONNX files that end in boxes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import invnas
from invnas import (
    Bottleneck,
    ConvolutionFPN,
    DenseNet,
    HybridNet,
    Involution,
    PlainStem,
    PointwiseBlock,
    Preprocessing,
    RCNNHeads,
    RetinaHead,
    Stage,
)
from invnas.architecture import Architecture
from invnas.data.preparing import GivenPictures, prepared
from invnas.errors import BadInput
from invnas.export import detections, export
from invnas.export.detected import check_detections
from invnas.export.detections import rules_alone, write_detections
from invnas.export.misfit import Found, made_up, misfit
from invnas.export.nodes import RAW, session
from invnas.export.parity import truth_of
from invnas.nn import build
from invnas.postprocessing import AnchorLevel, Postprocessing, anchor_levels
from invnas.task import load_task

SHAPE = (3, 24, 32)
HOW = Preprocessing(SHAPE[1:], 3, 0.875, (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
NAMES = ("cat", "dog")
ONE = AnchorLevel((1, 2), (8, 8), ((-4.0, -4.0, 4.0, 4.0),))


def rules_of(classes: int = 2, **changes: Any) -> Postprocessing:
    """Rules of two levels with 3 x 48 and 3 x 12 anchors for images of 24 x 32."""
    return replace(Postprocessing((24, 32), classes, anchor_levels([(6, 8), (3, 4)], (24, 32), 3)), **changes)


def by_hand(numbers: np.ndarray, rules: Postprocessing) -> Found:
    """What is found in an image, one box after the other."""
    anchors, candidates, start = rules.anchors().astype(float), [], 0
    for count in rules.counts:
        pairs = [(i, label) for i in range(start, start + count) for label in range(rules.classes)]
        level = sorted(((1 / (1 + np.exp(-float(numbers[i, label]))), i, label) for i, label in pairs), reverse=True)
        candidates += [one for one in level[: rules.candidates] if one[0] > rules.score_threshold]
        start += count
    kept: list[tuple[float, int, np.ndarray]] = []
    for score, i, label in sorted(candidates, reverse=True):
        (left, top, right, bottom), (dx, dy, dw, dh) = anchors[i], numbers[i, rules.classes :].astype(float)
        width, height = right - left, bottom - top
        x, y = left + width / 2 + dx * width, top + height / 2 + dy * height
        width, height = width * np.exp(min(dw, np.log(62.5))), height * np.exp(min(dh, np.log(62.5)))
        box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        box = box.clip(0, [rules.size[1], rules.size[0]] * 2)
        if all(other != label or overlap(box, one) <= rules.overlap for _, other, one in kept):
            kept.append((score, label, box))
    kept = kept[: rules.detections]
    boxes = np.array([box for *_, box in kept]).reshape(-1, 4)
    return Found(boxes, np.array([one[0] for one in kept]), np.array([one[1] for one in kept], int))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    sides = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0)
    shared = float(sides.prod())
    areas = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod())
    return shared / (areas - shared) if areas > shared else 0.0


def by_onnx(numbers: np.ndarray, rules: Postprocessing) -> list[Found]:
    said = session(rules_alone(rules))(**{RAW: numbers})
    for name, nothing in (("boxes", 0), ("scores", 0), ("labels", -1)):
        for rows, count in zip(said[name], said["number"], strict=True):
            assert (rows[count:] == nothing).all()
    return [
        Found(*(said[name][i, :count] for name in ("boxes", "scores", "labels")))
        for i, count in enumerate(said["number"])
    ]


def same(found: Found, truth: Found) -> None:
    np.testing.assert_array_equal(found.labels, truth.labels)
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes, truth.boxes, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"candidates": 7}, {"detections": 5}, {"overlap": 0.2}, {"classes": 1}])
def test_the_rules_in_onnx_find_what_is_found_by_hand(changes: dict[str, Any]) -> None:
    rules = rules_of(**changes)
    numbers = made_up(rules)
    for batch in (numbers, numbers[:1], numbers[1:]):
        found = by_onnx(batch, rules)
        assert len(found) == len(batch)
        for one, image in zip(found, batch, strict=True):
            truth = by_hand(image, rules)
            same(one, truth)
            assert misfit(one, image, rules) < 1e-6
            assert misfit(truth, image, rules) < 1e-9
    assert [len(one.scores) for one in by_onnx(numbers, rules)][2] == 0  # an image with nothing in it
    assert len(by_hand(numbers[0], rules).scores) > 4


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_they_are_kept_by_any_numbers(seed: int, classes: int, mean: float) -> None:
    rules = rules_of(classes)
    numbers = np.random.default_rng(seed).normal(mean, 2, (2, sum(rules.counts), classes + 4)).astype(np.float32)
    for found, one in zip(by_onnx(numbers, rules), numbers, strict=True):
        assert misfit(found, one, rules) < 1e-5


def test_a_young_network_is_judged_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rules_of(2, score_threshold=0.0)
    numbers = made_up(rules)[1]
    numbers[:, :2] = np.random.default_rng(0).normal(-4.6, 1e-3, numbers[:, :2].shape)  # all about one score
    found = by_hand(numbers, rules)
    whole = [misfit(one, numbers, rules) for one in (found, replace(found, boxes=found.boxes + 1))]
    monkeypatch.setattr("invnas.export.misfit._TOGETHER", 7)
    assert [misfit(one, numbers, rules) for one in (found, replace(found, boxes=found.boxes + 1))] == whole
    assert whole[0] < 1e-9 < 1e-2 < whole[1]


def test_two_anchors_are_counted_by_hand() -> None:
    rules = Postprocessing((8, 16), 1, (ONE,))
    numbers = np.array([[[0, 0.5, 0, 0, 0], [2, 0, 0, np.log(0.5), 100]]], np.float32)
    (found,) = by_onnx(numbers, rules)
    same(found, Found(np.array([[6, 0, 10, 8], [0, 0, 8, 4]]), 1 / (1 + np.exp([-2.0, 0.0])), np.array([0, 0])))
    nothing = by_onnx(np.full((2, 2, 5), -3.0, np.float32), rules)  # a sigmoid of 0.047
    assert [len(one.boxes) for one in nothing] == [0, 0]


@pytest.mark.parametrize("broken", ["box", "label", "score", "order", "missing", "twice", "too many", "too low"])
def test_what_breaks_a_rule_does_not_fit(broken: str) -> None:
    rules = rules_of(detections=20)
    numbers = made_up(rules)[1]
    found = by_hand(numbers, rules)
    assert 5 < len(found.scores) < 20
    boxes, scores, labels = found.boxes.copy(), found.scores.copy(), found.labels.copy()
    everything = slice(None)
    match broken:
        case "box":
            boxes[0, 0] += 0.1
        case "label":
            labels[1] = 1 - labels[1]
        case "score":
            scores[0] += 0.01
        case "order":
            everything = [len(scores) - 1, *range(len(scores) - 1)]
        case "missing":
            everything = [0, 1, *range(3, len(scores))]
        case "twice":
            everything = [0, *range(len(scores))]
        case "too many":
            rules = replace(rules, detections=3)
        case "too low":
            rules = replace(rules, score_threshold=float(scores[-1]) + 0.01)
    assert misfit(Found(boxes[everything], scores[everything], labels[everything]), numbers, rules) > 1e-3
    assert misfit(Found(boxes[:0], scores[:0], labels[:0]), numbers, rules) > 1e-3


def architecture(head: Any) -> Architecture:
    block = Bottleneck(Involution(3, 4, 2), expansion=1)
    backbone = HybridNet(PlainStem(8, 3, 2, False), (Stage(8, (block,), 2), Stage(8, (PointwiseBlock(),), 2)))
    return Architecture(DenseNet(backbone, ConvolutionFPN(8), head))


def network_of(head: Any) -> Any:
    torch.manual_seed(0)
    network: Any = build(architecture(head), SHAPE, invnas.task.head_of("detection", SHAPE, 2))
    if isinstance(head, RetinaHead):  # objects of both classes and of many sizes
        for name, value in network.head.layers.named_parameters():
            torch.nn.init.normal_(value, std=0.3 if name.endswith("weight") else 0.5)
        torch.nn.init.constant_(network.head.layers.scores.bias, -1.0)
    return network.eval()


@dataclass
class Made:
    network: Any
    folder: Path
    exported: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, head = tmp_path_factory.mktemp("detector") / "out", RetinaHead(8, 1, 3)
    network = network_of(head)
    found = export(network, architecture(head), SHAPE, 2, folder, ("onnx", "pt2"), {}, NAMES, "detection", HOW, True)
    return Made(network, folder, found)


def test_its_numbers_are_those_of_the_network_for_any_number_and_size_of_images(made: Made) -> None:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(invnas.onnx_library()))
    sessions = [
        onnxruntime.InferenceSession(str(made.folder / "model.onnx"), given, providers=["CPUExecutionProvider"])
        for given in (options, onnxruntime.SessionOptions())  # by the library, and by standard operators alone
    ]
    program = torch.export.load(str(made.folder / "model.pt2")).module()
    for shape, anchors in (((1, *SHAPE), 3 * (6 * 8 + 3 * 4)), ((2, 3, 40, 24), 3 * (10 * 6 + 5 * 3))):
        images = torch.rand(*shape)
        with torch.no_grad():
            truth = made.network(images)
        assert truth.shape == (shape[0], anchors, 2 + 4)
        for one in sessions:
            (found,) = one.run(["scores"], {"images": images.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), truth, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(program(images), truth, atol=1e-4, rtol=1e-4)


def test_the_files_are_standard_operators_and_agree(made: Made) -> None:
    errors = {one.format: one.parity_error for one in made.exported}
    assert set(errors) == {"onnx", "pt2", "onnx with postprocessing", "onnx with preprocessing"}
    assert max(errors.values()) < 1e-5
    for name in ("model_with_postprocessing.onnx", "model_with_preprocessing.onnx"):
        model = onnx.load(made.folder / name)
        onnx.checker.check_model(model, full_check=True)
        assert {node.domain for node in model.graph.node} <= {"", "invnas"}
        assert all(node.domain == "" for function in model.functions for node in function.node)
        told = {one.key: json.loads(one.value) for one in model.metadata_props}
        assert told["class_names"] == list(NAMES)
        assert told["postprocess"] == json.loads((made.folder / "postprocess.json").read_text())
        assert told["preprocess"]["size"] == [24, 32]
    found = onnx.load(made.folder / "model_with_postprocessing.onnx").graph
    assert [one.dim_value for one in found.input[0].type.tensor_type.shape.dim] == [0, 3, 24, 32]
    assert [one.name for one in found.output] == ["boxes", "scores", "labels", "number"]


def test_images_give_the_boxes_of_the_rules_in_batches_of_any_size(made: Made) -> None:
    rules = load_task("detection").postprocessing(made.network, SHAPE)  # type: ignore[attr-defined]
    images = torch.rand(2, *SHAPE) * 4 - 2
    with torch.no_grad():
        numbers = made.network(images).numpy()
    run = session(made.folder / "model_with_postprocessing.onnx")
    for batch in ([0, 1], [1]):
        said = run(images=images[batch].numpy())
        for place, image in enumerate(batch):
            count = said["number"][place]
            assert count > 10
            found = Found(*(said[name][place, :count] for name in ("boxes", "scores", "labels")))
            assert misfit(found, numbers[image], rules) < 1e-5


def test_a_photo_gives_boxes_in_its_pixels_and_names(made: Made) -> None:
    photo, seen = (
        session(made.folder / "model_with_preprocessing.onnx"),
        session(made.folder / "model_with_postprocessing.onnx"),
    )
    for height, width in ((50, 90), (120, 60)):
        image = np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)
        pixels = (prepared(GivenPictures([image]), 0, HOW) / 255 - HOW.mean) / HOW.std
        truth = seen(images=pixels.transpose(2, 0, 1)[None].astype(np.float32))
        found, count = photo(image=image), truth["number"][0]
        left, top, right, bottom = HOW.box(width, height)
        scale = np.array([(right - left) / 32, (bottom - top) / 24] * 2)
        boxes = truth["boxes"][0, :count] * scale + [left, top, left, top]
        if (height, width) == (50, 90):  # wide, so every pixel is that of Pillow
            np.testing.assert_allclose(found["boxes"], boxes, atol=1e-2)
            np.testing.assert_allclose(found["scores"], truth["scores"][0, :count], atol=1e-4)
        assert list(found["names"]) == [NAMES[label] for label in found["labels"]]
        assert len(found["names"]) > 10
        assert (found["boxes"].min(0) >= np.array([left, top, left, top]) - 1e-3).all()
        assert (found["boxes"].max(0) <= np.array([right, bottom, right, bottom]) + 1e-3).all()


def test_nothing_in_a_photo_is_no_rows(made: Made, tmp_path: Path) -> None:
    model = onnx.load(made.folder / "model_with_preprocessing.onnx")
    names = {value for node in model.graph.node if node.op_type == "NonMaxSuppression" for value in node.input[4:]}
    for one in model.graph.initializer:
        if one.name in names:
            one.CopyFrom(onnx.numpy_helper.from_array(np.array([1.1], np.float32), one.name))
    found = session(model)(image=np.zeros((9, 9, 1), np.uint8))
    assert found["boxes"].shape == (0, 4)
    assert [found[name].shape for name in ("scores", "labels", "names")] == [(0,)] * 3


def test_the_lines_of_the_card_give_the_boxes(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (made.folder / "README.md").read_text()
    assert "| 1 | 6 x 8 | 4 x 4 | " in text
    assert "`model.onnx` and `model.pt2` also take other heights and widths" in text
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)).save(tmp_path / "one.png")
    monkeypatch.chdir(made.folder)
    lines: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code.replace("photo.jpg", str(tmp_path / "one.png")), lines)
        if "model.onnx" in code:
            lines["numbers"] = lines["scores"]
    assert {name for name, *_ in lines["detect"](tmp_path / "one.png")} == set(NAMES)
    boxes, chances = lines["decode"](lines["numbers"][0])
    anchors, labels = lines["first"][0], lines["first"][2]  # of an image of zeros, as the numbers
    assert boxes.shape == (180, 4)
    for box, score, label in zip(anchors, lines["first"][1], labels, strict=True):
        apart = np.abs(boxes.clip(0, [32, 24, 32, 24]) - box).max(1) + np.abs(chances[:, label] - score)
        assert apart.min() < 1e-4
    assert len(labels) > 10


def test_a_graph_that_keeps_another_rule_is_found_out(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = load_task("detection").postprocessing(made.network, SHAPE)  # type: ignore[attr-defined]
    truth = truth_of(made.network, [torch.rand(1, *SHAPE)])
    files = made.folder / "model.onnx", tmp_path / "boxes.onnx"
    write_detections(files[0], rules, files[1])
    assert check_detections(*files, truth, rules) < 1e-5
    monkeypatch.setattr(detections, "LARGEST_GROWTH", 1.0)
    assert check_detections(*files, truth, rules) > 1e-2


def test_what_has_no_boxes_to_give_is_one_sentence(tmp_path: Path) -> None:
    head = RCNNHeads(box_width=8)
    network, made = network_of(head), architecture(head)
    with pytest.raises(BadInput, match=r"holds detectors of one stage \(RetinaHead\): the second stage of RCNN"):
        export(network, made, SHAPE, 2, tmp_path / "out", ("onnx",), {}, None, "detection", HOW, True)
    assert not (tmp_path / "out").exists()
