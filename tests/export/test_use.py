"""What a user does with an export: the card's own lines, `predict`, and the ONNX file that takes bytes.

Each gets the accuracy that the run measured on its test images, to the image, from the raw files.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_cases import ALL, DIGITS, trained
from PIL import Image

from invnas import DataSource, Experiment, Preprocessing, Recipe, load_model, run_search
from invnas.errors import BadInput
from invnas.export import export
from invnas.export.whole import check_whole, write_whole
from invnas.results import export_trial, measure_test

SPACE = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Stage
space = HybridNet(PlainStem(8, 3, 2, False), [Stage(16, [Bottleneck(Involution(3, 4, 2), Choice(1, 2))], 2)])
"""
NAMES = ("across", "down", "plain")


def picture(kind: str, rng: np.random.Generator) -> Image.Image:
    """Stripes across or down, or none, under noise; 17 to 90 pixels a side."""
    width, height = rng.integers(17, 90, 2)
    y, x = np.mgrid[:height, :width]
    wave = {"across": np.sin(y), "down": np.sin(x), "plain": 0 * x}[kind]
    grey = 128 + 60 * wave + rng.normal(0, 40, (height, width))
    return Image.fromarray((grey[:, :, None] + rng.integers(-20, 20, 3)).clip(0, 255).astype(np.uint8))


def save(image: Image.Image, folder: Path, number: int) -> None:
    """Save as what people have: colour, grey, turned by its notes, a palette (also with transparency), with a veil."""
    turned = Image.Exif()
    turned[0x0112] = 6
    path = folder / f"{number}"
    match number % 6:
        case 0:
            image.save(f"{path}.png")
        case 1:
            image.convert("L").save(f"{path}.png")
        case 2:
            image.transpose(Image.Transpose.ROTATE_90).save(f"{path}.jpg", exif=turned)
        case 3:
            image.quantize(64).save(f"{path}.png")
        case 4:
            image.quantize(64).save(f"{path}.png", transparency=3)
        case 5:
            image.convert("LA").save(f"{path}.png")


def folder_of_odd_images(root: Path) -> DataSource:
    rng = np.random.default_rng(0)
    for split, each in (("train", 20), ("test", 14)):
        for kind in NAMES:
            (root / split / kind).mkdir(parents=True)
            for number in range(each):
                save(picture(kind, rng), root / split / kind, number)
    arguments = {"root": str(root), "image_size": 24, "num_workers": 0, "smallest_crop": 1.0, "batch_size": 8}
    return DataSource("invnas.data.ImageFolder", arguments)


def cifar_in_memory(root: Path) -> DataSource:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(1)
    root.mkdir()
    for split, each in (("train", 20), ("test", 14)):
        images, labels = [], []
        for label, kind in enumerate(NAMES):
            (root / split / str(label)).mkdir(parents=True)
            for number in range(each):
                file = io.BytesIO()
                picture(kind, rng).resize((32, 32)).save(file, "PNG")
                images.append({"bytes": file.getvalue(), "path": None})
                labels.append(label)
                (root / split / str(label) / f"{number}.png").write_bytes(file.getvalue())
        pq.write_table(pa.table({"img": images, "label": labels}), root / f"{split}.parquet")
    return DataSource("invnas.data.Cifar", {"folder": str(root), "batch_size": 8, "crop": 0})


class Used:
    """A searched and exported model, the raw files of its test images by label, and how many the run told right."""

    def __init__(self, root: Path, make: Any) -> None:
        (root / "space.py").write_text(SPACE)
        source = make(root / "images")
        asked = Experiment(
            str(root / "space.py"), data=source, trials=1, recipe=Recipe(epochs=4), random_baseline=False
        )
        run = run_search(asked, root / "run", quiet=True)
        (trial,) = run.trials()
        with run.locked():
            self.measured = measure_test(run, [trial])[trial.number]["top1"]
        self.folder = root / "out"
        self.exported = export_trial(run, trial, ALL, self.folder, with_preprocessing=True)
        names = run.manifest.facts.class_names or tuple(map(str, range(10)))
        folders = sorted((root / "images" / "test").iterdir())
        self.files = [(path, name.name) for name in folders for path in sorted(name.iterdir())]
        assert {name for _, name in self.files} <= set(names)
        self.codes = re.findall(r"```python\n(.*?)```", (self.folder / "README.md").read_text(), re.DOTALL)

    def right(self, answers: list[str]) -> float:
        return sum(found == name for found, (_, name) in zip(answers, self.files, strict=True)) / len(self.files)


@pytest.fixture(scope="module", params=[folder_of_odd_images, cifar_in_memory])
def used(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Used:
    return Used(tmp_path_factory.mktemp("used"), request.param)


def test_the_lines_of_the_card_reach_what_the_run_measured(
    used: Used, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(used.folder)
    assert len(used.codes) == 4
    assert used.measured > 0.4  # it has learned something, so that a wrong preparation would be seen
    for code in used.codes:
        assert len(code.splitlines()) <= 17
        names: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)  # torch about itself, when it loads a program
            exec(code.replace("photo.jpg", str(used.files[0][0])), names)
        printed = capsys.readouterr().out.strip()
        if "classify" in names:
            answers = [str(names["classify"](path)) for path, _ in used.files]
        else:
            answers = [one.name for one in names["model"].predict([path for path, _ in used.files])]
        assert printed == answers[0]
        assert used.right(answers) == pytest.approx(used.measured, abs=1e-6)


def test_the_onnx_files_say_how_images_are_prepared(used: Used) -> None:
    for file in ("model.onnx", "model_with_preprocessing.onnx"):
        session = onnxruntime.InferenceSession(used.folder / file, providers=["CPUExecutionProvider"])
        told = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
        beside = json.loads((used.folder / "preprocess.json").read_text())
        assert {**told["preprocess"], "class_names": told["class_names"]} == beside
    onnx.checker.check_model(onnx.load(used.folder / "model_with_preprocessing.onnx"), full_check=True)
    assert [one.format for one in used.exported] == [*ALL, "onnx with preprocessing"]


@pytest.mark.parametrize("used", [folder_of_odd_images], indirect=True)
def test_predict_takes_paths_bytes_images_and_arrays_and_many(used: Used) -> None:
    model = load_model(used.folder)
    path = used.files[0][0]
    one = model.predict(path)
    pixels = np.asarray(Image.open(path))
    for same in (str(path), path.read_bytes(), Image.open(path), pixels, [path], iter([path]), pixels[None]):
        found = model.predict(same)
        assert (found if not isinstance(found, list) else found[0]) == one
    assert one.probability == max(one.probabilities) == one.probabilities[one.index]
    assert sum(one.probabilities) == pytest.approx(1)
    assert model.predict([]) == []
    many = model.predict([path for path, _ in used.files])
    alone = [model.predict(path) for path, _ in used.files[:5]]
    assert [one.index for one in many[:5]] == [one.index for one in alone]
    assert "predict" not in model.state_dict()
    with pytest.raises(BadInput, match=r"'no.png' points to the file .* which does not exist"):
        model.predict([path, "no.png"])
    with pytest.raises(BadInput, match="in training mode: call its eval"):
        model.train().predict(path)


@pytest.mark.parametrize("used", [folder_of_odd_images], indirect=True)
def test_a_deep_image_is_told_as_the_same_of_eight_bits(used: Used) -> None:
    model = load_model(used.folder)
    grey = np.asarray(Image.open(used.files[0][0]).convert("L"))
    shallow, deep = model.predict(grey), model.predict(grey.astype(np.uint16) * 257)
    assert deep.probabilities == pytest.approx(shallow.probabilities, abs=0.05)


def test_what_is_unknown_is_said_and_can_be_given(tmp_path: Path) -> None:
    network = trained(DIGITS, (1, 8, 8), 10)
    half = Preprocessing((8, 8), 1, None, (0.5,), (0.25,))
    export(network, DIGITS, (1, 8, 8), 10, tmp_path / "out", ("safetensors",), preprocessing=half)
    model, image = load_model(tmp_path / "out"), np.zeros((8, 8), np.uint8)
    with pytest.raises(BadInput, match=r"cannot be prepared .*nothing says how images are cropped \(`crop`\); give"):
        model.predict(image)
    whole = Preprocessing((8, 8), 1, 1.0, (0.5,), (0.25,))
    found = load_model(tmp_path / "out", preprocessing=whole).predict(image)
    expected = network.eval()(torch.full((1, 1, 8, 8), -2.0)).softmax(1)[0].tolist()
    assert found.probabilities == pytest.approx(expected, abs=1e-5)
    assert found.name == str(found.index)
    with pytest.raises(BadInput, match="makes images of 3 x 8 x 8, but the network takes 1 x 8 x 8"):
        load_model(tmp_path / "out", preprocessing=Preprocessing((8, 8), 3))
    text = (tmp_path / "out" / "README.md").read_text()
    assert "**Not known:** nothing says how images are cropped (`crop`)" in text
    for formats, how, said in (
        (("pt2",), whole, "add onnx to the formats"),
        (("onnx",), half, r"cannot be made: nothing says how images are cropped"),
    ):
        with pytest.raises(BadInput, match=said):
            export(network, DIGITS, (1, 8, 8), 10, tmp_path / "no", formats, preprocessing=how, with_preprocessing=True)


def test_a_changed_preprocessing_is_refused(tmp_path: Path) -> None:
    how = Preprocessing((8, 8), 1, 1.0, (0.5,), (0.25,))
    export(trained(DIGITS, (1, 8, 8), 10), DIGITS, (1, 8, 8), 10, tmp_path / "out", ("safetensors",), preprocessing=how)
    path = tmp_path / "out" / "preprocess.json"
    path.write_text(path.read_text().replace("0.25", "0.26"))
    with pytest.raises(BadInput, match=r"checksum of '.*preprocess.json' differs"):
        load_model(tmp_path / "out")
    path.unlink()
    with pytest.raises(BadInput, match=r"there is no file '.*preprocess.json'"):
        load_model(tmp_path / "out")


@pytest.mark.parametrize(("size", "channels", "crop"), [((8, 8), 1, 1.0), ((16, 24), 3, 0.875), ((5, 3), 1, 0.3)])
def test_the_onnx_file_prepares_as_pillow_does(tmp_path: Path, size: Any, channels: int, crop: float) -> None:
    from invnas.export.onnx_graph import write_onnx
    from invnas.export.preprocess import used as known

    network = trained(DIGITS, (channels, *size), 10).eval()
    how = Preprocessing(size, channels, crop, (0.4,) * channels, (0.2,) * channels)
    write_onnx(network, torch.randn(3, channels, *size), tmp_path / "model.onnx")
    told = known((channels, *size), None, how)
    write_whole(tmp_path / "model.onnx", told, tmp_path / "whole.onnx")
    steps, parity = check_whole(tmp_path / "whole.onnx", network, told)
    assert steps <= 1.01
    assert parity < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "whole.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["probabilities", "class"]
    probabilities, number = session.run(None, {"image": np.zeros((1, 1, 1), np.uint8)})
    assert probabilities.shape == (10,)
    assert number == probabilities.argmax()


@pytest.mark.parametrize("used", [folder_of_odd_images], indirect=True)
def test_the_lines_for_torch_and_onnxruntime_need_no_invnas(used: Used) -> None:
    for code in used.codes[:2]:
        program = "import sys; sys.modules['invnas'] = None\n" + code.replace("photo.jpg", str(used.files[0][0]))
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=used.folder, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() in NAMES
