"""Every verb on segmentation, one after the other, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invnas import DataSource, confirm_front, evaluate_model, load_model, resume_search, retrain
from invnas.cli import main
from invnas.commands import run_search
from invnas.errors import BadInput
from invnas.experiment import Experiment, Recipe
from invnas.masks import IGNORED, palette
from invnas.report.evaluation import TaskEvaluation
from invnas.results import export_model, measure_test, write_report
from invnas.run import Run
from invnas.tasks.segmentation import Segmentation

SPACE = """
from invnas import *

block = Bottleneck(Choice(Convolution(3), Involution(3, group_channels=4)), expansion=2)
space = DenseNet(
    HybridNet(PlainStem(8, kernel_size=3, stride=2, pool=False), [Stage(8, [block]), Stage(16, [block], stride=2)]),
    neck=Choice(ConvolutionFPN(8), InvolutionFPN(8, kernel_size=3, group_channels=4)),
    head=SemanticFPN(8),
)
"""
SCENES = DataSource("invnas.data.Scenes", {"images": 40, "image_size": 32, "classes": 2, "batch_size": 8})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("segmentation")
    (folder / "space.py").write_text(SPACE)
    experiment = Experiment(
        space=str(folder / "space.py"),
        data=SCENES,
        task="segmentation",
        objectives=("miou", "macs"),
        recipe=Recipe(epochs=1, learning_rate=0.2, threads=1),
        trials=2,
    )
    run_search(experiment, folder / "run", quiet=True)
    return resume_search(folder / "run", trials=3, quiet=True)


@pytest.fixture(scope="module")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(run, "trial=1", ["safetensors", "onnx", "pt2"], tmp_path_factory.mktemp("model") / "it")


def test_it_is_searched_and_resumed(run: Run) -> None:
    assert [trial.state for trial in run.trials()] == ["complete"] * 3
    for trial in run.trials():
        assert trial.measurement is not None
        assert set(trial.measurement.values) == {"miou", "pixel_accuracy", "loss"}
        assert len(trial.measurement.by_class) == 3  # of the background, too


def test_it_is_reported_with_pictures_and_classes(run: Run) -> None:
    notes: list[str] = []
    page = write_report(run, note=notes.append).read_text()
    assert notes == []
    assert 'id="pictures"' in page
    assert 'id="classes"' in page
    assert "mIoU" in page
    assert "top-1" not in page
    assert "A class has about" not in page  # an image holds several
    number = run.front()[0].number
    with Image.open(run.folder / f"pictures/{number}.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Three rows of images that are three times as large: the second is the truth, in the colours of the classes.
    assert pixels.shape == (3 * 100 - 4, 6 * 100 - 4, 3)
    table = {tuple(palette()[3 * i : 3 * i + 3]) for i in range(3)} | {(255, 255, 255)}
    assert {tuple(colour) for colour in pixels[100:196].reshape(-1, 3).tolist()} <= table
    assert set(run.tested()[number]) == {"miou", "pixel_accuracy"}


def test_a_picture_that_fails_costs_no_figure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def pictures(*_: Any) -> Any:
        raise ValueError("no colours left")

    monkeypatch.setattr(Segmentation, "pictures", pictures)
    tested = run.folder / "test.json"
    before = tested.read_text()
    tested.unlink()
    notes: list[str] = []
    with run.locked():
        found = measure_test(run, run.trials()[:1], note=notes.append)
    assert set(found[0]) == {"miou", "pixel_accuracy"}
    assert notes == ["trial 0 has no picture: `segmentation.pictures` raised ValueError: no colours left"]
    tested.write_text(before)


def test_it_is_confirmed_and_retrained(run: Run) -> None:
    confirm_front(run.folder, seeds=2, quiet=True)
    assert len(retrain(run, "best", epochs=1, seeds=1, quiet=True)["test_miou"]) == 1


def test_it_is_exported_for_any_size_and_number_of_images(model: Path) -> None:
    import onnxruntime

    import invnas

    network = load_model(model)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(invnas.onnx_library()))
    session, plain = (
        onnxruntime.InferenceSession(str(model / "model.onnx"), given, providers=["CPUExecutionProvider"])
        for given in (options, onnxruntime.SessionOptions())  # by the library, and by standard operators alone
    )
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    program = torch.export.load(str(model / "model.pt2")).module()
    for shape in ((1, 3, 32, 32), (2, 3, 40, 24)):
        images = torch.rand(*shape)
        with torch.no_grad():
            truth = network(images)
        assert truth.shape == (shape[0], 3, *shape[2:])
        for one in (session, plain):
            (found,) = one.run(["scores"], {"images": images.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), truth, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(program(images), truth, atol=1e-4, rtol=1e-3)


def test_it_predicts_masks_as_large_as_the_image(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 80, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    answer = load_model(model).predict(picture)
    assert answer.mask.shape == (50, 80)
    assert sum(answer.shares.values()) == pytest.approx(1)
    assert set(answer.shares) <= set(answer.names)
    assert (answer.mask[:, :15] == IGNORED).all()  # only the square in the middle is seen
    assert (answer.mask[:, 15:65] < 3).all()
    assert main(["predict", str(model), str(tmp_path / "one.png"), "--out", str(tmp_path / "masks"), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["images"]
    with Image.open(said["saved"]) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), answer.mask)
    assert [one["class"] for one in said["classes"]] == list(answer.shares)


def test_it_is_evaluated_as_its_test_was(run: Run, model: Path) -> None:
    with run.locked():
        tested = measure_test(run, [trial for trial in run.trials() if trial.number == 1])
    found = evaluate_model(model, SCENES)
    assert isinstance(found, TaskEvaluation)
    assert found.values["miou"] == pytest.approx(tested[1]["miou"], abs=1e-4)
    assert found.class_names[0] == "background"
    with pytest.raises(
        BadInput, match=r"the model has no class '2', which is one of the classes of invnas.data.Scenes; valid: backgr"
    ):
        evaluate_model(model, DataSource("invnas.data.Scenes", {**SCENES.init_args, "classes": 3}))
    with pytest.raises(BadInput, match="a folder with a folder of images for each class says nothing to the task"):
        evaluate_model(model, model)


@pytest.mark.parametrize(
    ("space", "task", "sentence"),
    [
        ("digits", "segmentation", "segmentation takes a DenseNet"),
        ("digits", "detection", "detection takes a DenseNet"),
        ("segmentation_small", "classification", "classification takes a HybridNet, which ends in one score"),
    ],
)
def test_a_space_that_does_not_fit_the_task_is_told(
    space: str, task: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data.class_path", "Scenes" if task == "segmentation" else "Digits"]
    code = main(
        [
            "search",
            "--space",
            space,
            "--task",
            task,
            *data,
            "--objectives",
            "macs,parameters",
            "--run-dir",
            str(tmp_path / "r"),
        ]
    )
    assert code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
