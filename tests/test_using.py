"""`invnas predict` and `invnas evaluate`, and what is behind them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invnas import DataSource, Experiment, Preprocessing, Recipe, Run, evaluate_model, run_search
from invnas.errors import BadInput
from invnas.report.confusion import write
from invnas.report.evaluation import Evaluation
from invnas.results import export_trial, measure_test

SPACE = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Stage
space = HybridNet(PlainStem(8, 3, 1, False), [Stage(16, [Bottleneck(Convolution(3), Choice(1, 2))], 2)])
"""


class Made:
    def __init__(self, root: Path) -> None:
        (root / "space.py").write_text(SPACE)
        asked = Experiment(str(root / "space.py"), trials=1, recipe=Recipe(epochs=2), random_baseline=False)
        self.run = run_search(asked, root / "run", quiet=True)
        (trial,) = self.run.trials()
        with self.run.locked():
            self.tested = measure_test(self.run, [trial])[trial.number]["top1"]
        assert trial.measurement is not None
        self.validated = trial.measurement["top1"]
        self.model = root / "model"
        export_trial(self.run, trial, ("safetensors",), self.model)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("used"))


def photos(root: Path, names: tuple[str, ...] = ("3", "7"), each: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(rng.integers(0, 256, (9, 20), np.uint8)).save(root / name / f"{number}.png")
    return root


def test_evaluating_the_images_of_the_run_gives_what_it_measured(made: Made) -> None:
    for data in (made.run, made.run.folder, DataSource("HardDigits")):
        found = evaluate_model(made.model, data)
        assert found.accuracy == pytest.approx(made.tested, abs=1e-6)
        assert "359 held out" in found.images
    assert evaluate_model(made.model, made.run, "validation").accuracy == pytest.approx(made.validated, abs=1e-6)


def test_a_folder_is_matched_by_the_names_of_its_classes(made: Made, tmp_path: Path) -> None:
    found = evaluate_model(made.model, photos(tmp_path / "a", ("7", "3")))
    assert [sum(row) for row in found.confusion] == [0, 0, 0, 3, 0, 0, 0, 3, 0, 0]
    divided = tmp_path / "b"
    photos(divided / "test", ("1",), 2)
    photos(divided / "val", ("1",), 5)
    assert evaluate_model(made.model, divided).count == 2
    assert evaluate_model(made.model, divided, "validation").count == 5
    with pytest.raises(BadInput, match="has no folder of train images"):
        evaluate_model(made.model, divided, "train")


def test_bad_data_is_one_sentence(made: Made, tmp_path: Path) -> None:
    (photos(tmp_path / "torn") / "3" / "x.png").write_bytes(b"no")
    (tmp_path / "empty" / "3").mkdir(parents=True)
    folder = {"root": str(photos(tmp_path / "whole", each=9)), "image_size": 8, "num_workers": 0}
    for data, split, said in (
        (photos(tmp_path / "cat", ("cat",)), "test", "the model has no class 'cat', which is one of the folders in"),
        (tmp_path / "torn", "test", "x.png' is not a readable image"),
        (tmp_path / "empty", "test", "has no images"),
        (tmp_path / "no", "test", "there is no folder '.*no' with images"),
        (made.run, "tset", "unknown split 'tset'; nearest: 'test'"),
        (made.run, "train", "are drawn and changed at random"),
        (DataSource("ImageFolder", {**folder, "image_size": 9}), "test", "gives images of 3 x 9 x 9, but the model"),
        (DataSource("ImageFolder", {**folder, "channels": 1}), "test", "keeps 0.875 .* model was trained on 1"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said) as raised:
            evaluate_model(made.model, data, split)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)


def test_predict_prints_what_is_good_and_names_what_is_bad(
    made: Made, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    root = photos(tmp_path / "p")
    (tmp_path / "bad.png").write_bytes(b"no")
    code, out, err = call(
        "predict", made.model, root / "3", tmp_path / "bad.png", f"{root}/7/*.png", "no.png", "--top", 2
    )
    assert code == 2
    assert len(out.splitlines()) == 6
    assert all(len(line.split(", ")) == 2 for line in out.splitlines())
    assert "2 of 8 images: '" in err
    assert "bad.png' is not a readable image: its format is unknown; 'no.png' points to the file" in err
    code, out, err = call("predict", made.model, root / "3", "no.png", "--json")
    found = json.loads(out)
    assert (code, len(found["images"]), [one["image"] for one in found["failed"]]) == (2, 3, ["no.png"])
    assert set(found["images"][0]) == {"image", "index", "class", "probability", "top"}
    assert call("predict", made.model, root, "--json")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x*.png"], "no file matches 'x*.png'"),
        (["."], "the folder '.' has no images"),
        (["a.png", "--top", "0"], "`top` must be at least 1"),
        (["a.png", "--preprocessing", "no.json"], "there is no file 'no.json'"),
        ([], "`images` is missing"),
    ],
)
def test_bad_words_to_predict(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("predict", made.model, *words)
    assert (code, out) == (2, "")
    assert said in err


def test_an_export_of_an_older_version_says_what_it_lacks_and_takes_it_from_a_file(
    made: Made, tmp_path: Path, call: Any
) -> None:
    old, root = shutil.copytree(made.model, tmp_path / "old"), photos(tmp_path / "p")
    (old / "preprocess.json").unlink()
    data = json.loads((old / "architecture.json").read_text())
    del data["sha256"]["preprocess.json"]
    (old / "architecture.json").write_text(json.dumps(data))
    code, _, err = call("predict", old, root)
    assert code == 2
    assert "nothing says how images are cropped (`crop`) and their mean (`mean`) and their deviation (`std`)" in err
    (tmp_path / "how.json").write_text(json.dumps(Preprocessing((8, 8), 1, 1.0, (0.5,), (0.25,)).to_dict()))
    assert call("predict", old, root, "--preprocessing", tmp_path / "how.json")[0] == 0
    code, out, _ = call("evaluate", old, made.run.folder, "--json")  # its images are prepared by their own source
    assert json.loads(out)["accuracy"] == pytest.approx(made.tested, abs=1e-6)


def test_evaluate_prints_and_draws(made: Made, tmp_path: Path, call: Any) -> None:
    code, out, _ = call("evaluate", made.model, made.run.folder, "--out", tmp_path / "pictures")
    assert code == 0
    assert f"accuracy {made.tested:.4f}, 95 % interval" in out
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"confusion.png", "confusion.svg"}
    code, out, _ = call("evaluate", made.model, "digits", "--split", "validation", "--json")
    found = json.loads(out)
    assert found["accuracy"] == pytest.approx(made.validated, abs=1e-6)
    assert sum(map(sum, found["confusion"])) == found["count"] == sum(one["count"] for one in found["classes"])
    assert call("evaluate", made.model, "Digits", "--init_args", "{batch_size: 16}")[0] == 0
    for word, said in (
        ("digit", "nothing called 'digit' to evaluate on: it must be a folder with a folder of images for each"),
        ("digit", "or an experiment that comes with invnas (nearest: 'digits'; "),
        ("no.yaml", "there is no file 'no.yaml'"),
        ("invnas.data.Digit", "has no class `Digit`; nearest: 'Digits'"),
        ("no/such", "nothing called 'no/such' to evaluate on"),
    ):
        code, _, err = call("evaluate", made.model, word)
        assert (code, said in err) == (2, True)


@pytest.mark.parametrize("names", [["disc", "square", "triangle"], list("0123456789"), ["x" * 30] * 15])
def test_no_text_is_cut_at_the_edge_of_the_picture(tmp_path: Path, names: list[str]) -> None:
    counts = np.eye(len(names), dtype=int) * 20
    png, _ = write(Evaluation("some", tuple(names), tuple(map(tuple, counts.tolist()))), tmp_path)
    with Image.open(png) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert all(edge.min() == 255 for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


@pytest.mark.parametrize("number", [2, 10, 40, 130])
def test_the_picture_is_drawn_for_any_number_of_classes(tmp_path: Path, number: int) -> None:
    counts = np.eye(number, dtype=int) * 5 + np.eye(number, k=1, dtype=int)
    counts[0] = 0
    names = tuple(f"class {i} of many with long names" for i in range(number))
    found = Evaluation("some", names, tuple(map(tuple, counts.tolist())))
    png, svg = write(found, tmp_path / "new" / "folder")
    with Image.open(png) as picture:
        assert max(picture.size) < 3000
    assert "(no images)" in svg.read_text() or number > 120 or "<path" in svg.read_text()
    assert found.accuracy == found.right / found.count
    low, high = found.interval
    assert low < found.accuracy < high


def test_a_run_is_read_by_its_folder_and_an_old_run_is_still_exported(made: Made, tmp_path: Path) -> None:
    old = shutil.copytree(made.run.folder, tmp_path / "old")
    data = json.loads((old / "run.json").read_text())
    del data["data"]["preprocessing"]
    (old / "run.json").write_text(json.dumps(data))
    run = Run.open(old)
    export_trial(run, run.trials()[0], ("safetensors",), tmp_path / "out")
    assert (tmp_path / "out" / "preprocess.json").read_bytes() == (made.model / "preprocess.json").read_bytes()


def test_an_int8_file_is_judged_by_the_validation_images_of_the_run(made: Made, tmp_path: Path, call: Any) -> None:
    pytest.importorskip("onnxruntime")
    code, out, _ = call("export", made.run.folder, "--int8", "--format", "onnx", "--out", tmp_path / "out", "--json")
    entries = {one["format"]: one for one in json.loads(out)["files"]}
    assert code == 0
    assert f"where float has {made.validated:.4f} on 287 validation images" in entries["int8"]["said"]
    code, _, err = call("export", made.run.folder, "--int8", "--max-drop", "-1", "--out", tmp_path / "no")
    assert (code, "`max_drop` must be percentage points from 0 to 100" in err) == (2, True)
