"""The ONNX file of a segmenter that takes a photo: its mask is that of `predict`, and a wrong one is found out."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from PIL import Image

from invnas import (
    ConvolutionFPN,
    DenseNet,
    HybridNet,
    PlainStem,
    PointwiseBlock,
    Preprocessing,
    SemanticFPN,
    Stage,
    load_model,
)
from invnas.architecture import Architecture
from invnas.data.preparing import Seen
from invnas.export import Exported, ExportMismatch, export, masks
from invnas.export.around import write_around
from invnas.export.masked import behind_best, check_mask, made_up, without_network
from invnas.export.nodes import session
from invnas.export.parity import truth_of
from invnas.export.preprocess import Used
from invnas.export.whole import steps
from invnas.masks import IGNORED
from invnas.nn import build
from invnas.postprocessing import PixelClasses
from invnas.task import head_of
from invnas.tasks.segmentation import answers

SHAPE = (3, 24, 32)
HOW = Preprocessing(SHAPE[1:], 3, 0.875, (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
NAMES = ("sky", "road", "cat", "dog")
FILE = "model_with_preprocessing.onnx"
NET = Architecture(
    DenseNet(
        HybridNet(PlainStem(8, 3, 2, False), (Stage(8, (PointwiseBlock(),)),)), ConvolutionFPN(8, 1, 0), SemanticFPN(8)
    )
)


@dataclass
class Made:
    network: Any
    folder: Path
    exported: tuple[Exported, ...]

    def photo(self, *also: str) -> Any:
        return session(self.folder / FILE, *also)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("segmenter") / "out"
    torch.manual_seed(0)
    network: Any = build(NET, SHAPE, head_of("segmentation", SHAPE, 4))
    for name, value in network.named_parameters():
        if name.endswith("weight") and value.dim() == 4:  # masks of many classes
            torch.nn.init.normal_(value, std=1.5 / value[0].numel() ** 0.5)
    with torch.no_grad():
        network.head.layers.scores.bias -= network.eval()(torch.randn(8, *SHAPE)).mean((0, 2, 3))
    formats = ("onnx", "safetensors")
    found = export(network, NET, SHAPE, 4, folder, formats, {}, NAMES, "segmentation", HOW, True)
    return Made(network.eval(), folder, found)


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Noise of a few coarse pixels, so that a mask has parts."""
    coarse = np.random.default_rng(height * width).integers(0, 256, (5, 6, channels)).astype(np.uint8)
    image = Image.fromarray(coarse[:, :, 0] if channels == 1 else coarse).resize((width, height))
    return np.asarray(image).reshape(height, width, channels)


@pytest.mark.parametrize(
    ("height", "width", "channels"),
    [
        (1, 1, 3),
        (1, 500, 3),
        (500, 1, 3),
        (2, 3, 1),
        (7, 33, 3),
        (24, 32, 3),
        (61, 45, 4),
        (101, 203, 3),
        (240, 160, 3),
    ],
)
def test_a_photo_gives_the_mask_of_predict(made: Made, height: int, width: int, channels: int) -> None:
    image = picture(height, width, channels)
    said, seen = made.photo("images")(image=image), Seen((height, width), HOW.box(width, height))
    mask, images = said["mask"], torch.from_numpy(said["images"])
    with torch.no_grad():
        (truth,) = answers.masks(made.network(images), NAMES, [seen])
    assert (mask.dtype, mask.shape) == (np.uint8, (height, width))
    assert np.array_equal(mask, truth.mask)
    if steps(images, image, HOW) < 0.5:  # Pillow scales columns first where an image is tall, and differs by 1 of 255
        assert np.array_equal(mask, load_model(made.folder).predict(image).mask)
    else:
        assert height > width
    if min(height, width) > 5:
        assert len(np.unique(mask[mask != IGNORED])) > 2


def test_what_was_cropped_is_255(made: Made) -> None:
    (mask,) = made.photo()(image=picture(50, 90)).values()
    across = min(90, 50 * 32 / 24) * 0.875
    top, left, down = (50 - across * 24 / 32) / 2, (90 - across) / 2, across * 24 / 32
    seen = np.zeros((50, 90), bool)
    seen[round(top) : round(top + down), round(left) : round(left + across)] = True
    assert 0 < seen.sum() < seen.size
    assert np.array_equal(mask == IGNORED, ~seen)
    assert (mask[seen] < 4).all()


def test_the_file_is_standard_and_says_what_it_is(made: Made) -> None:
    assert [one.format for one in made.exported] == ["onnx", "safetensors", "onnx with preprocessing"]
    assert made.exported[-1].parity_error < 1e-5
    model = onnx.load(made.folder / FILE)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert [one.name for one in model.graph.output] == ["mask"]
    told = {one.key: json.loads(one.value) for one in model.metadata_props}
    assert told["class_names"] == list(NAMES)
    assert told["postprocess"] == json.loads((made.folder / "postprocess.json").read_text()) == PixelClasses().to_dict()


def test_of_equal_scores_the_first_class_wins_and_all_classes_can(made: Made) -> None:
    run, image = session(without_network(made.folder / FILE)), picture(24, 32)
    scores = np.zeros((1, 4, 24, 32), np.float32)
    seen = Seen((24, 32), HOW.box(32, 24)).pixels
    assert (run(image=image, scores=scores)["mask"] != IGNORED).sum() == seen[2] * seen[3]
    for first in range(4):
        scores[:, first:] = first + 1
        mask = run(image=image, scores=scores)["mask"]
        assert set(np.unique(mask)) == {first, IGNORED}
    assert set(np.unique(run(image=image, scores=made_up((4, 24, 32)).numpy())["mask"])) == {0, 1, 2, 3, IGNORED}


def broken(model: onnx.ModelProto, how: str) -> None:
    """Change one thing of what stands behind a network."""
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    (body,) = (one.g for one in scan.attribute if one.name == "body")
    match how:
        case "asymmetric" | "align_corners":
            (mode,) = (
                one for node in body.node for one in node.attribute if one.name == "coordinate_transformation_mode"
            )
            mode.s = how.encode()
        case "smallest":
            next(node for node in body.node if node.op_type == "Greater").op_type = "Less"
        case "rounded down":
            for node in model.graph.node:
                node.op_type = "Floor" if node.op_type == "Round" else node.op_type
        case "no border":
            (pad,) = (node for node in model.graph.node if node.op_type == "Pad")
            (value,) = (one for one in model.graph.initializer if one.name == pad.input[2])
            value.CopyFrom(numpy_helper.from_array(np.uint8(0), value.name))
        case "other numbers":
            (numbers,) = (one for one in model.graph.initializer if one.name == scan.input[3])
            numbers.CopyFrom(numpy_helper.from_array(np.arange(1, 5, dtype=np.uint8), numbers.name))


@pytest.mark.parametrize(
    "how", ["asymmetric", "align_corners", "smallest", "rounded down", "no border", "other numbers"]
)
def test_a_graph_that_says_another_mask_is_found_out(made: Made, tmp_path: Path, how: str) -> None:
    model = onnx.load(made.folder / FILE)
    broken(model, how)
    onnx.save(model, tmp_path / FILE)
    steps, error = check_mask(tmp_path / FILE, made.network, Used(HOW, NAMES, PixelClasses()))
    assert steps <= 1.01
    assert error > 1e-3


def test_and_nothing_is_exported(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((made.folder / "model.onnx").read_bytes())
    truth = truth_of(made.network, [torch.rand(1, *SHAPE)])
    known = Used(HOW, NAMES, PixelClasses())
    assert write_around(tmp_path, made.network, known, truth)["onnx with preprocessing"] < 1e-5
    monkeypatch.setattr(masks, "IGNORED", 0)
    with pytest.raises(ExportMismatch, match="by inf in the score of the class of a pixel; nothing was exported"):
        write_around(tmp_path, made.network, known, truth)


def test_how_far_a_mask_is_from_the_best_is_counted_by_hand() -> None:
    scores, seen = torch.tensor([[[1.0, 0.0]], [[0.5, 4.0]]]).double(), Seen((1, 4), (1.0, 0.0, 3.0, 1.0))
    for mask, behind in (
        ([IGNORED, 0, 1, IGNORED], 0.0),
        ([IGNORED, 1, 1, IGNORED], 0.125),
        ([IGNORED, 0, 0, IGNORED], 1.0),
        ([IGNORED, 0, 2, IGNORED], np.inf),
        ([IGNORED, 0, IGNORED, IGNORED], np.inf),
        ([IGNORED, 0, 1, 0], np.inf),
        ([0, 1], np.inf),
    ):
        assert behind_best(np.array([mask], np.uint8), scores, seen) == behind


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 64), st.integers(1, 64), st.floats(1e-3, 1))
@settings(max_examples=30, deadline=None)
def test_at_least_a_pixel_within_the_image_is_seen(h: int, w: int, rows: int, columns: int, crop: float) -> None:
    top, left, height, width = Seen((h, w), Preprocessing((rows, columns), 3, crop).box(w, h)).pixels
    assert 0 <= top < top + height <= h
    assert 0 <= left < left + width <= w


def test_the_lines_of_the_card_give_the_mask(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (made.folder / "README.md").read_text()
    assert "the first of equal ones, and 255 what was cropped" in text
    assert "of its largest score where the class of a pixel is another" in text
    image = picture(60, 90)
    Image.fromarray(image).save(tmp_path / "one.png")
    (code,) = (one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if FILE in one)
    monkeypatch.chdir(made.folder)
    lines: dict[str, Any] = {}
    exec(code.replace("photo.jpg", str(tmp_path / "one.png")), lines)
    mask = load_model(made.folder).predict(image).mask
    assert np.array_equal(lines["segment"](tmp_path / "one.png"), mask)
    classes, pixels = np.unique(mask, return_counts=True)
    assert ast.literal_eval(capsys.readouterr().out) == dict(zip(classes.tolist(), pixels.tolist(), strict=True))
