"""The images of a run are those it was made with, or it says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invnas.commands import resume_search, run_search
from invnas.engine import images
from invnas.errors import BadInput, InvnasError
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.results import retrain, write_report
from invnas.run import Run


def draw(root: Path, classes: str, each: int = 8, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        folder = root / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = rng.integers(0, 60, (12, 12)) + 90 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    root = draw(tmp_path / "photos", "ab")
    source = DataSource(
        "ImageFolder", {"root": str(root), "image_size": 8, "channels": 1, "num_workers": 0, "batch_size": 4}
    )
    recipe = Recipe(epochs=1, threads=1)
    run = run_search(Experiment("digits", data=source, trials=1, recipe=recipe), tmp_path / "run", quiet=True)
    monkeypatch.setattr(images, "_opened", {})  # as in a new process
    return run


def change(run: Run, how: str) -> str:
    """Change the images of a run, and return what is to be said of it."""
    root = Path(run.experiment.data.init_args["root"])
    if how == "a class more":
        draw(root, "abc")
        return "classes 3 where there were 2"
    if how == "images more":
        draw(root, "ab", each=20)
        return "validation images "
    if how == "other images":
        draw(root, "ab", seed=1)
        return "as many images and classes, but other content"
    (root / "train" / "b").rename(root / "train" / "z")
    return "class names a, z where there were a, b"


@pytest.mark.parametrize("how", ["a class more", "images more", "other images", "another name"])
def test_a_run_whose_images_changed_is_not_continued(searched: Run, how: str) -> None:
    said = change(searched, how)
    with pytest.raises(BadInput, match=f"are not those the run .* was made with: {said}"):
        resume_search(searched.folder, trials="+1", baselines=True, quiet=True)
    as_it_is = Run.open(searched.folder).experiment
    assert (as_it_is.trials, as_it_is.baselines) == (1, False)  # what is refused leaves no trace
    with pytest.raises(BadInput, match="are not those the run"):
        retrain(searched, epochs=1, seeds=1, quiet=True)
    notes: list[str] = []
    shutil.rmtree(searched.folder / "report", ignore_errors=True)
    assert write_report(searched, note=notes.append).is_file()
    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"promote": 9}, "`promote` must be at most"),
        ({"placed": {"workers": 0}}, "`workers` must be"),
        ({"placed": {"engine": "cloud"}}, "`engine` must be one of local, ray"),
    ],
)
def test_a_resumption_that_is_refused_leaves_the_run_as_it_was(searched: Run, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        resume_search(searched.folder, trials="+2", baselines=True, quiet=True, **asked)
    as_it_is = Run.open(searched.folder).experiment
    assert (as_it_is.trials, as_it_is.baselines) == (1, False)


def test_a_finished_run_without_its_images_is_resumed_as_it_is(searched: Run) -> None:
    shutil.rmtree(searched.experiment.data.init_args["root"])
    assert len(resume_search(searched.folder, quiet=True).trials()) == 1


def test_the_images_are_told_before_anything_is_trained(searched: Run, capsys: pytest.CaptureFixture[str]) -> None:
    resume_search(searched.folder, trials="+1")
    said = capsys.readouterr().err.splitlines()
    root = Path(searched.experiment.data.init_args["root"])
    assert said[:3] == [
        f"train: 10 from '{root / 'train'}'",
        f"validation: 2 held out of '{root / 'train'}' (20 % of each class, seed 0)",
        f"test: 4 held out of '{root / 'train'}' (20 % of each class, seed 0)",
    ]


def test_facts_that_were_not_looked_at_are_not_compared_by_content() -> None:
    one = DataFacts((1, 8, 8), 2, fingerprint="1" * 16)
    assert one.changed(DataFacts((1, 8, 8), 2)) is None
    assert one.changed(one) is None
    assert one.changed(DataFacts((1, 8, 9), 2)) == "images of 1, 8, 9 where there were 1, 8, 8"


def test_a_worker_that_sees_other_images_stops_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded by the process: two setups of one process agree, two processes do not."""
    (tmp_path / "by_process.py").write_text(
        "import os, torch\n"
        "from data.user_modules import Seeded\n"
        "from torch.utils.data import random_split\n"
        "class ByProcess(Seeded):\n"
        "    def setup(self, stage=None):\n"
        "        generator = torch.Generator().manual_seed(os.getpid())\n"
        "        self.train, self.validation, self.test = random_split(self.images, [32, 8, 8], generator=generator)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = Experiment(
        "digits", data=DataSource("by_process.ByProcess"), trials=2, workers=2, recipe=Recipe(epochs=1, threads=1)
    )
    with pytest.raises(InvnasError, match="gives a worker other validation images than it gave the search"):
        run_search(asked, tmp_path / "run", quiet=True)
    assert {trial.state for trial in Run.open(tmp_path / "run").trials()} == {"running"}
