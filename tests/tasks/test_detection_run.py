"""Every verb on detection, one after the other, at a tiny size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loose_torchvision import missing, unmeasured
from PIL import Image

if reason := missing() or unmeasured():
    pytest.skip(reason, allow_module_level=True)

from invnas import (
    Bottleneck,
    Convolution,
    ConvolutionFPN,
    DataSource,
    DenseNet,
    HybridNet,
    PlainStem,
    RCNNHeads,
    Stage,
    confirm_front,
    evaluate_model,
    load_model,
    resume_search,
    retrain,
)
from invnas.architecture import Architecture
from invnas.cli import main
from invnas.commands import run_search
from invnas.experiment import Experiment, Recipe
from invnas.masks import palette
from invnas.nn import build
from invnas.report.evaluation import TaskEvaluation
from invnas.results import export_model, measure_test, write_report
from invnas.run import Run
from invnas.tasks.detection.answers import BoxPrediction
from invnas.tasks.detection.drawing import outlined
from invnas.tasks.detection.head import Boxes

SPACE = """
from invnas import *

block = Bottleneck(Choice(Convolution(3), Involution(3, group_channels=4)), expansion=2)
space = DenseNet(
    HybridNet(PlainStem(8, kernel_size=3, stride=2, pool=False), [Stage(8, [block]), Stage(16, [block], stride=2)]),
    neck=Choice(ConvolutionFPN(8), InvolutionFPN(8, kernel_size=3, group_channels=4)),
    head=RetinaHead(8, 1, 3),
)
"""
SCENES = DataSource(
    "invnas.data.Scenes", {"task": "detection", "images": 40, "image_size": 32, "classes": 2, "batch_size": 8}
)
EXPERIMENT = Experiment(
    space="space.py",
    data=SCENES,
    task="detection",
    objectives=("map", "macs"),
    recipe=Recipe(epochs=6, learning_rate=0.01, optimizer="adamw", threads=1),
    trials=2,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("detection")
    (folder / "space.py").write_text(SPACE)
    run_search(replace(EXPERIMENT, space=str(folder / "space.py")), folder / "run", quiet=True)
    return resume_search(folder / "run", trials=3, quiet=True)


@pytest.fixture(scope="module")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(run, "trial=1", ["safetensors"], tmp_path_factory.mktemp("model") / "it")


def test_it_is_searched_and_resumed(run: Run) -> None:
    assert [trial.state for trial in run.trials()] == ["complete"] * 3
    for trial in run.trials():
        assert trial.measurement is not None
        assert set(trial.measurement.values) == {"map", "map50", "mask_map"}
        assert len(trial.measurement.by_class) == 2


def test_it_is_reported_with_pictures_and_classes(run: Run) -> None:
    notes: list[str] = []
    page = write_report(run, note=notes.append).read_text()
    assert notes == []
    assert 'id="pictures"' in page
    assert "mAP" in page
    assert "the image with its objects, and below what the network finds" in page
    number = run.front()[0].number
    with Image.open(run.folder / f"pictures/{number}.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Two rows of images that are five times as large, the first with boxes in the colours of the classes.
    assert pixels.shape == (2 * 164 - 4, 6 * 164 - 4, 3)
    colours = {tuple(palette()[3 * i : 3 * i + 3]) for i in (1, 2)}
    assert colours <= {tuple(colour) for colour in pixels[:160].reshape(-1, 3).tolist()}
    assert set(run.tested()[number]) == {"map", "map50", "mask_map"}


def test_it_is_confirmed_and_retrained(run: Run) -> None:
    confirm_front(run.folder, seeds=2, quiet=True)
    assert len(retrain(run, "best", epochs=1, seeds=1, quiet=True)["test_map"]) == 1


def test_it_predicts_boxes_in_pixels_of_the_image(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    network = load_model(model)
    with torch.no_grad():
        network.head.layers.scores.bias += 4.0  # so that something is found
    answer = network.predict(pixels)
    assert 0 < len(answer) <= 100
    assert answer.scores.tolist() == sorted(answer.scores, reverse=True)
    left, top, right, bottom = answer.boxes.T
    assert (left >= 15).all()  # only the square in the middle is seen
    assert (left < right).all()
    assert (right <= 65).all()
    assert (top >= 0).all()
    assert (top < bottom).all()
    assert (bottom <= 50).all()
    assert answer.words(1).startswith(f"{answer.names[answer.labels[0]]} {answer.scores[0]:.2f} (")
    assert answer.words(1).endswith(f", and {len(answer) - 1} more")
    assert main(["predict", str(model), str(tmp_path / "one.png"), "--out", str(tmp_path / "drawn"), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["images"]
    assert said["size"] == [50, 80]
    with Image.open(said["saved"]) as drawn:
        assert drawn.size == (80, 50)


def test_it_is_evaluated_as_its_test_was(run: Run, model: Path) -> None:
    with run.locked():
        tested = measure_test(run, [trial for trial in run.trials() if trial.number == 1])
    found = evaluate_model(model, SCENES)
    assert isinstance(found, TaskEvaluation)
    assert tested[1]["map"] > 0
    assert found.values == pytest.approx(tested[1], abs=1e-6)
    assert found.class_names == ("0", "1")


def test_a_box_and_a_mask_of_a_pixel_are_drawn_as_such() -> None:
    beliefs = np.ones((1, 8, 8), np.float32)
    one = BoxPrediction(
        (4, 6), np.array([[2.0, 1, 3, 2]]), np.array([0]), np.array([0.9]), ("a",), beliefs, (1.5, 0, 2.5, 1)
    )
    assert one.mask(0).sum() == 1
    small = replace(one, size=(1200, 1600), boxes=np.array([[100.0, 100, 110, 110]]), beliefs=None)
    pixels = np.asarray(outlined(Image.new("RGB", (1600, 1200), "white"), small.things(0.0)))
    red = np.argwhere((pixels != 255).any(2))
    assert (red.min(0).tolist(), red.max(0).tolist()) == ([100, 100], [109, 109])
    assert (pixels[105, 105] == 255).all()  # what is within is seen


@pytest.mark.parametrize("mask", [False, True])
def test_two_stages_predict_too(mask: bool) -> None:
    from invnas.data.preparing import Seen
    from invnas.tasks.detection import Detection

    block = Bottleneck(Convolution(3), expansion=2)
    backbone = HybridNet(PlainStem(8, 3, 2, False), tuple(Stage(8, (block,), stride) for stride in (1, 2)))
    head = RCNNHeads(mask=Convolution(3) if mask else None, box_width=32, proposals=20, mask_proposals=5)
    value = DenseNet(backbone, ConvolutionFPN(8, extra_levels=1, pooled=True), head)
    torch.manual_seed(0)
    network = build(Architecture(value), (3, 32, 32), Boxes(2)).eval()
    with torch.no_grad():
        (answer,) = Detection().answers(
            network, torch.rand(1, 3, 32, 32), ("a", "b"), [Seen((64, 96), (16, 0, 80, 64))]
        )
    assert len(answer) > 0
    assert set(answer.labels.tolist()) <= {0, 1}
    if not mask:
        with pytest.raises(ValueError, match="no mask head"):
            answer.mask(0)
        return
    assert answer.beliefs is not None
    for i in range(len(answer)):
        inside = answer.mask(i)
        assert inside.shape == (64, 96)
        left, top, right, bottom = answer.boxes[i]
        rows, columns = np.nonzero(inside)
        if len(rows):  # no pixel of a mask lies outside of its box, but where both were rounded
            assert columns.min() >= left - 3
            assert columns.max() <= right + 3
            assert rows.min() >= top - 3
            assert rows.max() <= bottom + 3
