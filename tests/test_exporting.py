"""Which weights of a run are shipped, and what the card says of them."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from invnas.commands import run_search
from invnas.errors import BadInput
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.export import load_model
from invnas.export.description import SPACE
from invnas.exporting import export_model, picked
from invnas.from_scratch import retrain
from invnas.run import Run
from invnas.using import evaluate_model

EXPERIMENT = Experiment(
    data=DataSource("HardDigits", {"batch_size": 128}), recipe=Recipe(epochs=1, learning_rate=0.3), trials=2, seed=3
)
#: Other images and normalisation of the same shape and classes.
OTHER: dict[str, Any] = {"data": {"class_path": "Digits", "init_args": {"batch_size": 128}}}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_search(EXPERIMENT, tmp_path_factory.mktemp("runs") / "mine", quiet=True)


@pytest.fixture(scope="module")
def first(run: Run) -> dict[str, Any]:
    return retrain(run, "trial=0", 1, 3, recipe={"learning_rate": 0.1}, quiet=True)


@pytest.fixture(scope="module")
def final(run: Run, first: dict[str, Any]) -> dict[str, Any]:
    return retrain(run, "trial=1", 1, 2, all_data=True, **OTHER, quiet=True)


def test_nothing_is_picked_where_nothing_was_retrained(tmp_path: Path, call: Call) -> None:
    run = run_search(Experiment(**{**vars(EXPERIMENT), "trials": 1}), tmp_path / "r", quiet=True)
    code, _, err = call("export", run.folder, "--pick", "retrained")
    assert code == 2
    assert "nothing of" in err
    assert f"was retrained to its end yet (invnas retrain {run.folder} --pick knee" in err


def test_the_best_seed_is_that_of_the_validation_images(run: Run, first: dict[str, Any]) -> None:
    found = picked(run, f"retrained:{first['name']}")
    assert found.retrained is not None
    reached = {one.seed: one.validation["top1"] for one in found.retrained.seeds}
    assert found.seed is not None
    assert reached[found.seed.seed] == max(reached.values())
    assert len(set(reached.values())) > 1
    assert found.trial.number == 0
    assert found == picked(run, f"retrained:{first['name']}:best")


def test_the_last_retraining_counts_and_without_validation_its_first_seed(run: Run, final: dict[str, Any]) -> None:
    found = picked(run, "retrained")
    assert found.retrained is not None
    assert found.seed is not None
    assert (found.retrained.asked.name, found.seed.seed, found.trial.number) == (final["name"], 0, 1)
    assert picked(run, "retrained:seed=1").seed == found.retrained.seeds[1]
    assert picked(run, "best").retrained is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("retrained:seed=2", "has finished the seeds 0, 1"),
        ("retrained:seed=x", "has finished the seeds 0, 1"),
        ("retrained:bets", "cannot pick 'retrained:bets'; nearest: 'best'"),
        ("retrained:best:seed=1", "cannot pick 'retrained:best:seed=1'"),
        ("retraned", "cannot pick 'retraned'"),
    ],
)
def test_unknown_words_are_one_sentence(run: Run, final: dict[str, Any], call: Call, words: str, said: str) -> None:
    code, out, err = call("export", run.folder, "--pick", words)
    assert (code, out) == (2, "")
    assert said in err


def test_what_is_shipped_has_the_accuracy_of_its_seed_to_the_image(
    run: Run, first: dict[str, Any], final: dict[str, Any], tmp_path: Path
) -> None:
    for name, seed, source in ((first["name"], 1, EXPERIMENT.data), (final["name"], 0, DataSource("Digits"))):
        pick = f"retrained:{name}:seed={seed}"
        folder = export_model(run, pick, ["safetensors"], tmp_path / name)
        found = evaluate_model(folder, source)
        reached = {first["name"]: first, final["name"]: final}[name]["test_top1"][seed]
        assert found.right == round(reached * found.count)
        assert found.accuracy == pytest.approx(reached, abs=1e-6)
    ours, theirs = (json.loads((tmp_path / one["name"] / "preprocess.json").read_text()) for one in (first, final))
    assert ours["mean"] != theirs["mean"]  # each as its own images were prepared
    facts = next(one.facts for one in run.retrained() if one.asked.name == final["name"])
    assert facts.preprocessing is not None
    assert theirs["mean"] == list(facts.preprocessing.mean or ())


def test_the_card_says_what_was_trained_and_how(
    run: Run, first: dict[str, Any], final: dict[str, Any], tmp_path: Path
) -> None:
    text = (export_model(run, f"retrained:{first['name']}", ["safetensors"], tmp_path / "a") / "README.md").read_text()
    best = picked(run, f"retrained:{first['name']}").seed
    assert best is not None
    assert f"| retrained from scratch | {first['name']}, 1 epochs |" in text
    assert "| options that differ from the search | recipe.learning_rate 0.1 |" in text
    assert f"| seed | {best.seed}, the best by the validation images of 3 |" in text
    assert f"| test top-1 | {best.test['top1']:.4f} |" in text
    assert f"| validation top-1 | {best.validation['top1']:.4f} |" in text
    assert f"| test top-1 over 3 seeds | {first['mean']:.4f} ± {first['standard_deviation']:.4f} (mean" in text
    assert "| trained on | the training images (1,151) |" in text
    text = (export_model(run, "retrained", ["safetensors"], tmp_path / "b") / "README.md").read_text()
    assert "| trained on | the training and the validation images (1,438) |" in text
    assert "| seed | 0, the first of 2 |" in text
    assert "validation top-1" not in text
    assert "| data | Digits |" in text


def test_int8_says_that_it_is_judged_by_what_was_trained_on(run: Run, final: dict[str, Any], call: Call) -> None:
    pytest.importorskip("onnxruntime")
    code, out, err = call("export", run.folder, "--pick", "retrained", "--int8", "--format", "onnx", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["trial"], found["retrained"], found["seed"]) == (1, final["name"], 0)
    assert "on 287 validation images (trained on, too), " in found["files"][1]["said"]


OWN = """
import pathlib
from dataclasses import dataclass
from torch import nn
from invnas import Choice

pathlib.Path("MARK").touch()

@dataclass(frozen=True)
class Flat:
    width: int

    def build(self, input_shape, classes):
        size = input_shape[0] * input_shape[1] * input_shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, self.width), nn.ReLU(), nn.Linear(self.width, classes))

space = Flat(Choice(4, 8))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a network of a user's own class."""
    place = tmp_path_factory.mktemp("own")
    (place / "own.py").write_text(OWN.replace("MARK", str(place / "executed")))
    experiment = Experiment(**{**vars(EXPERIMENT), "trials": 1, "space": str(place / "own.py")})
    run = run_search(experiment, place / "run", quiet=True)
    return export_model(run, "best", ["safetensors"], place / "model")


@pytest.fixture
def executed(own: Path) -> Iterator[Path]:
    """The file that is there once the space file was executed."""
    mark = own.parent / "executed"
    mark.unlink(missing_ok=True)
    return mark


def test_an_export_of_own_classes_is_whole_and_executed_with_trust_only(own: Path, executed: Path) -> None:
    assert (own / SPACE).read_text() == (own.parent / "own.py").read_text()
    card = (own / "README.md").read_text()
    assert "**`space.py` is code.** It defines Flat, and `load_model` executes it, with `trust=True` only" in card
    assert 'load_model(".", trust=True)' in card
    with pytest.raises(BadInput, match=r"unknown type 'Flat'.*defined by '.*space.py', which is code that"):
        load_model(own)
    assert not executed.exists()
    assert type(load_model(own, trust=True)).__name__ == "Sequential"
    assert executed.exists()
    assert type(load_model(own, space=own.parent / "own.py")).__name__ == "Sequential"


def test_trust_on_the_command_line(own: Path, executed: Path, call: Call, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for words in (["predict", own, tmp_path / "a.png"], ["evaluate", own, "HardDigits"]):
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert "--trust" in err
        assert not executed.exists()
        code, _, err = call(*words, "--trust")
        assert code == 0, err
        executed.unlink()


@pytest.mark.parametrize(("change", "said"), [("changed", "was changed after the export"), (None, "there is no file")])
def test_a_space_that_was_changed_is_not_executed_even_with_trust(
    own: Path, executed: Path, change: str | None, said: str
) -> None:
    path = own / SPACE
    text = path.read_text()
    path.unlink() if change is None else path.write_text(f"{text}\n# {change}\n")
    try:
        with pytest.raises(BadInput, match=said):
            load_model(own, trust=True)
        assert not executed.exists()
    finally:
        path.write_text(text)


def test_what_lies_compiled_beside_it_is_not_executed_and_an_export_can_be_replaced(
    own: Path, executed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = own / SPACE
    text, stamp = path.read_text(), path.stat()
    trap = "raise SystemExit" + " " * (len(text) - len("raise SystemExit"))
    path.write_text(trap)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    compiled = py_compile.compile(str(path))  # for a file of this size and time: Python would take it for the other one
    assert compiled is not None
    path.write_text(text)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert type(load_model(own, trust=True)).__name__ == "Sequential"
    shutil.rmtree(own / "__pycache__")
    load_model(own, trust=True)
    assert (export_model(own.parent / "run", "best", ["safetensors"], own) / SPACE).is_file()
