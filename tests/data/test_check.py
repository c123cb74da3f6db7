"""A user's data module is looked at once, before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import data.user_modules as theirs
import pytest
import torch

from invnas.data import check
from invnas.data.check import examine
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.facts import DataFacts
from invnas.task import load_task

TAKEN = """
    Base Int32 Byte Column WholeFloats OneHot Doubles Halves ListOfOne Streamed MixedLabels
    LastBatchOfOne Seeded NamesByLabel
""".split()
ANEW = "gives other {} images after {}: trials would be compared on different images"
REFUSED = {
    "NothingToTrain": "training images .* it has 48 images, and `drop_last` leaves out a batch of fewer than 64",
    "NothingToValidate": "validation images .* its loader gives no batch: it has 0 images",
    "SplitAnew": ANEW.format("validation", "a second `setup`"),
    "SplitOnceAnInstance": ANEW.format("validation", "a second instance"),
    "OtherTestImages": ANEW.format("test", "a second `setup`"),
    "DrawnValidation": ANEW.format("validation", "a second `setup`"),
    "Bytes": r"images must be floating-point numbers, but are uint8 from 0 to \d+: scale them",
    "FromOne": r"labels go from 1 to 3, but with 3 classes they must lie in 0\.\.2",
    "Negative": r"labels go from -1 to 1, but with 3 classes they must lie in 0\.\.2",
    "BadValidationLabel": "validation images .* labels go from 7 to 7",
    "Fractions": r"labels must be whole numbers, but hold \d\.5",
    "FourColumns": r"one-hot, \(batch, 3\), but have the shape \(16, 4\)",
    "Scores": r"have the shape \(16, 3\) but are not one-hot",
    "Words": "labels must be a tensor of whole numbers, but are of type (list|tuple)",
    "NotANumber": "some pixels are NaN or infinite",
    "ChannelsLast": r"\(8, 8, 3\) has its channels last: permute",
    "OtherSizes": r"images must have the shape \(batch, 3, 8, 8\), but one batch has \(16, 3, 7, 8\)",
    "WrongShape": r"one batch has \(16, 3, 8, 8\); set `input_shape` right",
    "NoShape": r"`input_shape` of .* must be \(channels, height, width\), each a whole number .*, but got '3x8x8'",
    "HugeShape": r"`input_shape` of .* each a whole number from 1 to 65,536, but got \(3, 8, 1000000",
    "HugeClasses": r"does not say how many classes it has \(it says `classes` 1000000.*: add .* from 2 to 16,777,216",
    "EndsAll": r"setup\('fit'\)` called os._exit\(0\)",
    "Triples": r"must be pairs \(images, labels\), but one is a list of 3",
    "Mappings": r"must be pairs \(images, labels\), but one is a dict of 2",
    "TwoValidations": "val_dataloader` must return one loader, but returns a list",
    "TwoTrainings": "train_dataloader` must return one loader, but returns a dict",
    "OneAtATime": "each batch holds one image, and batch norm cannot normalise one value",
    "BrokenSetup": r"setup\('fit'\)` raised FileNotFoundError: photos.zip",
    "BrokenPrepare": r"prepare_data\(\)` raised AssertionError",
    "BrokenInit": r"BrokenInit\(...\)` raised KeyError: 'images'",
    "BrokenLoader": r"train_dataloader\(\)` raised ZeroDivisionError",
    "BrokenBatch": "the train loader of .* raised OSError: the disk is gone",
    "Exits": r"setup\('fit'\)` called sys.exit\(\)",
    "NoStage": r"setup\('fit'\)` raised TypeError",
    "NoClasses": r"does not say how many classes it has \(it says `classes` '3'\)",
    "TooFewNames": "`class_names` of .* must be 3 names in label order, but is ",
    "NamesThatAreNone": "`class_names` of .* must be 3 names in label order, but is 3",
    "ClassesUnknownYet": "ClassesUnknownYet` raised RuntimeError: not known yet",
    "GeneratorEnds": r"setup\('fit'\)` raised GeneratorExit",
    "Complex": "images must be floating-point numbers, but are complex64",
    "NoLoader": "val_dataloader` must return one loader, but returns None",
    "ListToTrain": "train_dataloader` must return one loader, but returns a list",
    "ListOfBatches": "val_dataloader` must return one loader, but returns a list",
    "StrangeScale": "`normalisation` of .* must hold `mean` and `std`, a number for each channel, but is",
}


def examined(name: str, notes: list[str] | None = None) -> Any:
    task = load_task("classification")
    source = DataSource(f"data.user_modules.{name}")
    return examine(source, task.check_targets, [].append if notes is None else notes.append)


def test_every_module_of_the_list_has_its_test() -> None:
    named = {name for name, kind in vars(theirs).items() if isinstance(kind, type) and issubclass(kind, theirs.Base)}
    assert named == {*TAKEN, *REFUSED, "Endless"}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_meant_is_taken(name: str) -> None:
    facts = examined(name)[1]
    assert (facts.input_shape, facts.classes, len(facts.fingerprint)) == ((3, 8, 8), 3, 16)
    assert DataFacts.from_dict(facts.to_dict()) == facts


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_one_sentence(name: str) -> None:
    with pytest.raises(BadInput, match=REFUSED[name]) as error:
        examined(name)
    assert "\n" not in str(error.value)
    assert f"user_modules.{name}" in str(error.value)


def test_a_loader_without_an_end_is_read_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "READ", 100)
    facts = examined("Endless")[1]
    assert facts.origins["train"] == "more than 112 of `data.user_modules.Endless`"
    assert facts.counts["validation"] == 48
    assert "train" not in facts.counts


def test_shared_images_are_noted_not_refused() -> None:
    notes: list[str] = []
    examined("Base", notes)
    assert [note.split(" images of")[0] for note in notes] == ["note: 48 of 48 validation", "note: 48 of 48 test"]
    examined("Seeded", notes)
    assert len(notes) == 2


def test_the_fingerprint_is_that_of_the_content_in_any_process() -> None:
    root = Path(theirs.__file__).parent.parent
    code = """
from invnas.data.check import examine
from invnas.experiment import DataSource
from invnas.task import load_task
source = DataSource("data.user_modules.Seeded")
print(examine(source, load_task("classification").check_targets)[1].fingerprint)
"""
    theirs_said = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    assert theirs_said.stdout.strip() == examined("Seeded")[1].fingerprint
    assert examined("Base")[1].fingerprint not in (
        examined("Seeded")[1].fingerprint,
        examined("Doubles")[1].fingerprint[:0],
    )


def test_setup_runs_once_for_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = examined("Seeded")
    calls: list[str] = []
    monkeypatch.setattr(theirs.Seeded, "setup", lambda self, stage: calls.append(stage))
    for stage in ("fit", "fit", "test", "test"):
        data.setup(stage)
    data.prepare_data()
    assert calls == []


@pytest.mark.parametrize(
    "said",
    [{"mean": [0.5], "std": [0.2]}, ([0.5], [0.2]), torch.nn.Module, None],
    ids=["mapping", "pair", "class", "none"],
)
def test_a_normalisation_is_read_in_every_usual_form(monkeypatch: pytest.MonkeyPatch, said: Any) -> None:
    if said is torch.nn.Module:
        said = torch.nn.Module()
        said.mean, said.std = (0.5,), (0.2,)
    monkeypatch.setattr(theirs.Base, "normalisation", said, raising=False)
    wanted = None if said is None else {"mean": (0.5,), "std": (0.2,)}
    assert examined("Base")[1].normalisation == wanted


def test_a_source_of_invnas_says_where_its_images_are_from() -> None:
    facts = examine(DataSource("Digits"), load_task("classification").check_targets)[1]
    assert facts.origins == {
        "train": "1,151 from the digits data set",
        "validation": "287 held out of the digits data set (20 % of each class, seed 0)",
        "test": "359 held out of the digits data set (20 % of each class, seed 0)",
    }
    assert len(facts.fingerprint) == 16
