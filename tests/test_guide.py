"""The guide works: its commands run in order, on photos that are drawn here; only numbers are smaller."""

from __future__ import annotations

import ast
import json
import random
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from invnas import Run

PAGE = (Path(__file__).parents[1] / "docs" / "guide.md").read_text("utf-8")
CLASSES = "disc", "square", "triangle"
EACH = 20  # photos of a class
TORN = "disc/torn.jpg"

#: What the numbers of the guide are here, by the option and what it says there. Of these options no other number may
#: stand in the guide. Nothing else of a command is changed, but that a search gets an option more: `ONE_THREAD`.
SMALLER = {
    ("--input", "3x32x32"): "3x8x8",
    ("--data.init_args.image_size", "32"): "8",
    ("--data.init_args.batch_size", "16"): "4",
    ("--max-macs", "8M"): "300K",
    ("--trials", "12"): "2",
    ("--trials", "+4"): "+1",
    ("--recipe.epochs", "10"): "1",
    ("--epochs", "30"): "1",
    ("confirm --seeds", "2"): "1",
    ("retrain --seeds", "3"): "2",
    ("retrain --seeds", "1"): "1",
}

#: A search would else take all cores, and wait for those that other tests compute on.
ONE_THREAD = ["--recipe.threads", "1"]

Call = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Step:
    """A step of the guide: its number, its commands as words, its lines of Python."""

    number: int
    text: str

    @property
    def commands(self) -> list[list[str]]:
        blocks = re.findall(r"^```sh\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)
        lines = "".join(blocks).replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    @property
    def python(self) -> list[str]:
        return re.findall(r"^```python\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)


def steps(page: str) -> list[Step]:
    parts = re.split(r"^## (\d+)\. ", page, flags=re.MULTILINE)[1:]
    return [Step(int(number), text) for number, text in zip(parts[::2], parts[1::2], strict=True)]


def smaller(words: list[str], used: set[tuple[str, str]]) -> list[str]:
    """Return a command with the numbers of this test, and add those to `used`; one that the table lacks is an error."""
    options, found = {option for option, _ in SMALLER}, list(words)
    for place, option in enumerate(words[:-1]):
        name = option if option in options else f"{words[1]} {option}"
        if name in options:
            key = name, words[place + 1]
            assert key in SMALLER, f"the guide says {' '.join(key)}, for which this test has no smaller number"
            used.add(key)
            found[place + 1] = SMALLER[key]
    return found + ONE_THREAD * (words[1] == "search")


def drawn(kind: str, rng: random.Random) -> Image.Image:
    width, height = rng.randint(40, 120), rng.randint(40, 120)
    image = Image.new("RGB", (width, height), tuple(rng.randint(0, 100) for _ in range(3)))
    x, y, side = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6), min(width, height) * 0.35
    tone, pen = tuple(rng.randint(130, 255) for _ in range(3)), ImageDraw.Draw(image)
    if kind == "disc":
        pen.ellipse((x - side, y - side, x + side, y + side), fill=tone)
    else:
        pen.regular_polygon((x, y, side), 4 if kind == "square" else 3, rotation=rng.randint(0, 20), fill=tone)
    return image


def photos(folder: Path) -> None:
    """Draw the folders of the guide: JPEGs of different sizes, one grey, one turned by its camera, one torn."""
    rng = random.Random(0)
    for name in CLASSES:
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(EACH):
            drawn(name, rng).save(folder / "photos" / name / f"{number:03}.jpg")
    drawn("disc", rng).convert("L").save(folder / "photos" / "disc" / "000.jpg")
    turned = Image.Exif()
    turned[274] = 6
    drawn("square", rng).save(folder / "photos" / "square" / "000.jpg", exif=turned)
    whole = (folder / "photos" / "disc" / "001.jpg").read_bytes()
    (folder / "photos" / TORN).write_bytes(whole[: len(whole) // 4])
    (folder / "new").mkdir()
    for number, name in enumerate(CLASSES):
        drawn(name, rng).save(folder / "new" / f"IMG_{number:04}.jpg")


@dataclass
class Walk:
    """What each step must have left. Its methods are called after the step of their number, with what it printed."""

    folder: Path
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        return Run.open(self.folder / "runs" / "photos")

    @property
    def page(self) -> Path:
        return self.folder / "runs" / "photos" / "report" / "index.html"

    def step1(self, out: str, err: str) -> None:
        assert {path.name for path in self.folder.iterdir()} == {"photos", "new"}
        assert "mobile: " in out
        assert "within max_macs=300,000: none of those drawn, but the smallest, of 249,984 MACs" in out

    def step2(self, out: str, err: str) -> None:
        facts, trials = self.run.manifest.facts, self.run.trials()
        assert (facts.input_shape, facts.class_names, facts.left_out) == ((3, 8, 8), CLASSES, (TORN,))
        assert f"1 image cannot be read and is left out: '{TORN}'" in err
        assert sum(facts.counts.values()) + 12 == 3 * EACH
        assert [one.state for one in trials] == ["complete"] * 2
        assert all(one.cost.macs <= 300_000 for one in trials)
        rates = self.run.rates()
        assert rates is not None
        assert self.run.experiment.recipe.learning_rate == rates.rate
        assert self.page.is_file()

    def step3(self, out: str, err: str) -> None:
        assert "search: 2 of 2 trials done" in out

    def step4(self, out: str, err: str) -> None:
        assert [one.state for one in self.run.trials()] == ["complete"] * 3
        self.notes["written"] = self.page.stat().st_mtime_ns

    def step5(self, out: str, err: str) -> None:
        assert self.page.stat().st_mtime_ns > self.notes["written"]
        assert set(self.run.tested()) >= {one.number for one in self.run.front()}
        headings = re.findall("<h2>(.*?)</h2>", unescape(self.page.read_text()))
        named = re.findall(r"^- \*\*(.*?)\*\*", steps(PAGE)[4].text, re.MULTILINE)
        assert len(named) == 5
        assert [name for name in headings if name in named] == named  # and in this order

    def step6(self, out: str, err: str) -> None:
        assert len(self.run.trials("confirm")) == len(self.run.front())
        assert "the front, top-1 on the validation images" in out  # words in a table may be wrapped
        assert "how much seeds differ is unknown" in out

    def step7(self, out: str, err: str) -> None:
        found = {one.asked.all_data: one for one in self.run.retrained()}
        assert [len(found[whole].seeds) for whole in (False, True)] == [2, 1]
        for one in found.values():
            recipe, data = one.asked.recipe, one.asked.data.init_args
            assert (recipe.epochs, recipe.label_smoothing, recipe.ema, data["augment"]) == (1, 0.1, 0.99, "trivial")
        assert found[True].trained_on == f"the training and the validation images ({3 * EACH - 12})"
        self.notes["final"] = found[True]

    def step8(self, out: str, err: str) -> None:
        model = self.folder / "models" / "photos"
        card = (model / "README.md").read_text()
        for name in ("model.onnx", "model.pt2", "model.safetensors", "model_with_preprocessing.onnx"):
            assert (model / name).is_file()
            assert f"`{name}`" in card
        assert json.loads((model / "preprocess.json").read_text())["class_names"] == list(CLASSES)
        assert f"{self.notes['final'].asked.name}, 1 epochs" in card
        self.notes["lines"] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)

    def step9(self, out: str, err: str) -> None:
        (seed,) = self.notes["final"].seeds
        assert f"accuracy {seed.test['top1']:.4f}" in out
        assert "of 12)" in out
        with Image.open(self.folder / "pictures" / "confusion.png") as picture:
            assert picture.width > 100

    def step10(self, out: str, err: str) -> None:
        lines = [line.split("  ") for line in out.splitlines()]
        assert [name for name, _ in lines] == [str(Path("new", f"IMG_{number:04}.jpg")) for number in range(3)]
        said = [[part.split()[0] for part in told.split(", ")] for _, told in lines]
        assert all(len(set(names)) == 2 and set(names) <= set(CLASSES) for names in said)
        self.notes["first"] = said[0][0]


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Walk:
    photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Walk(tmp_path)


# One test, since each step stands on those before; 25 s, most of it the range test, an export and first imports.
def test_the_guide_from_a_folder_of_photos_to_predictions(
    walk: Walk, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [step.number for step in steps(PAGE)] == list(range(1, 11))
    for step in steps(PAGE):
        assert step.commands, f"step {step.number} has no command"
        said = ["", ""]
        for words in step.commands:
            assert words[0] == "invnas"
            code, *told = call(*smaller(words, set())[1:])
            assert code == 0, f"step {step.number}: {' '.join(words)}\n{told[1]}"
            said = [whole + part for whole, part in zip(said, told, strict=True)]
        getattr(walk, f"step{step.number}")(*said)

    ours, with_onnxruntime = steps(PAGE)[-1].python
    for lines in (ours, with_onnxruntime):
        capsys.readouterr()
        exec(lines, {})
        assert capsys.readouterr().out.split()[0] == walk.notes["first"]
    of_the_card = next(one for one in walk.notes["lines"] if "model_with_preprocessing.onnx" in one)
    placed = {
        "model_with_preprocessing.onnx": "models/photos/model_with_preprocessing.onnx",
        "photo.jpg": "new/IMG_0000.jpg",
    }
    for theirs, here in placed.items():
        of_the_card = of_the_card.replace(theirs, here)
    assert ast.dump(ast.parse(with_onnxruntime)) == ast.dump(ast.parse(of_the_card))  # whatever blank lines


def test_every_number_that_is_replaced_stands_in_the_guide() -> None:
    used: set[tuple[str, str]] = set()
    for step in steps(PAGE):
        for words in step.commands:
            assert len(smaller(words, used)) == len(words) + 2 * (words[1] == "search")
    assert used == set(SMALLER)


def test_a_number_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(AssertionError, match="--trials 17, for which this test has no smaller number"):
        smaller(["invnas", "search", "--trials", "17"], set())


def test_commands_may_go_on_in_the_next_line() -> None:
    (step,) = steps("## 1. One\n```sh\ninvnas status \\\n    runs/a  # a note\ninvnas list\n```\n")
    assert step.commands == [["invnas", "status", "runs/a"], ["invnas", "list"]]
