"""An architecture of a run trained from scratch, on tiny trainings, and shipped."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from invnas.commands import run_search
from invnas.data.digits import HardDigits
from invnas.errors import BadInput, TrialFailed
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.from_scratch import retrain
from invnas.retrained import Place, Standing
from invnas.retraining import Retraining
from invnas.run import Run
from invnas.status import status_of

EXPERIMENT = Experiment(
    data=DataSource("HardDigits", {"batch_size": 256}),
    recipe=Recipe(epochs=1, learning_rate=0.3, max_minutes=9, logger="csv"),
    trials=2,
    seed=3,
)
Call = Callable[..., tuple[int, str, str]]


class Mine(LightningDataModule):
    """A user's own digits."""

    classes, input_shape = 10, (1, 8, 8)

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        given = HardDigits()
        given.setup("test")
        self.images: dict[str, Any] = {
            name: TensorDataset(torch.cat([i for i, _ in loader]), torch.cat([n for _, n in loader]))
            for name, loader in (("validation", given.val_dataloader()), ("test", given.test_dataloader()))
        }

    def train_dataloader(self) -> Any:
        return DataLoader(self.images["validation"], 128, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.images["validation"], 128)

    def test_dataloader(self) -> Any:
        return DataLoader(self.images["test"], 128)


class Leaky(Mine):
    """One whose validation images are its test images."""

    def val_dataloader(self) -> Any:
        return self.test_dataloader()

    def all_data_dataloader(self) -> Any:
        return DataLoader(ConcatDataset(self.images.values()), 128)


class Untested(Mine):
    """One that has nothing to test on."""

    test_dataloader = LightningDataModule.test_dataloader


class Fewer(HardDigits):
    """Digits of fewer classes."""

    def open_splits(self) -> Any:
        found = super().open_splits()
        kept = found.train.strata < 9
        return type(found)("fewer", 9, None, found.train.take(kept.nonzero()[0]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_search(EXPERIMENT, tmp_path_factory.mktemp("runs") / "mine", quiet=True)


def test_other_options_are_another_retraining_and_the_same_again_is_read(run: Run) -> None:
    asked: list[dict[str, Any]] = [
        {}, {"recipe": {"label_smoothing": 0.2}}, {"all_data": True}, {"data": {"init_args": {"batch_size": 128}}}
    ]  # fmt: skip
    found = [retrain(run, "trial=0", 1, 1, **options, quiet=True) for options in asked]
    assert len({one["name"] for one in found}) == 4
    assert [one["options"] for one in found] == [
        {}, {"recipe.label_smoothing": 0.2}, {"all_data": True}, {"data.init_args.batch_size": 128}
    ]  # fmt: skip
    stamps = {path: path.stat().st_mtime_ns for path in (run.folder / "retrain").rglob("*") if path.is_file()}
    assert [retrain(run, "trial=0", 1, 1, **options, quiet=True) for options in asked] == found
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    validated = {one.asked.name: bool(one.seeds[0].validation) for one in run.retrained()}
    assert validated == {one["name"]: "all_data" not in one["options"] for one in found}
    assert not list((run.folder / "retrain").rglob("metrics.csv"))  # who watched the search is not asked again


def test_all_data_trains_on_both_parts_and_tests_on_neither(run: Run) -> None:
    data = {"init_args": {"batch_size": 8}}
    retrain(run, "best", 1, 1, recipe={"logger": "csv"}, all_data=True, data=data, quiet=True)
    (found,) = (one for one in run.retrained() if one.asked.data.init_args == {"batch_size": 8})
    (row,) = csv.DictReader((Place.of(run.folder, found.asked).logs(0) / "metrics.csv").read_text().splitlines())
    assert int(row["step"]) == -(-1438 // 8)  # 1,151 to train and 287 to validate
    assert set(row) == {"epoch", "step", "train_loss"}
    assert found.trained_on == "the training and the validation images (1,438)"
    assert found.best(run.experiment.what.objectives[0]).seed == 0


def test_threads_and_time_are_those_that_are_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float | None]] = []

    def train(network: Any, data: Any, recipe: Recipe, **_: Any) -> Any:
        seen.append((torch.get_num_threads(), recipe.max_minutes))
        raise TrialFailed("enough")

    monkeypatch.setattr("invnas.training.train", train)
    before = torch.get_num_threads()
    for recipe in ({}, {"threads": 2, "max_minutes": 3}):
        with pytest.raises(TrialFailed, match="the training with seed 0 failed: enough"):
            retrain(run, "best", 3, 1, recipe=recipe, quiet=True)
    assert seen == [(before, None), (2, 3.0)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("left", "kept", "epoch"), [(2, True, 2), (2, False, 0), (None, False, 0)])
def test_a_seed_that_goes_on_stands_where_it_was_left(
    run: Run, monkeypatch: pytest.MonkeyPatch, left: int | None, kept: bool, epoch: int
) -> None:
    place = Place.of(run.folder, Retraining.of(run.experiment, run.pick("best").number, 9))
    seen: list[Standing | None] = []

    def train(*_: Any, **__: Any) -> Any:
        seen.append(place.standing())
        raise TrialFailed("enough")

    place.folder.mkdir(parents=True, exist_ok=True)
    if kept:
        place.checkpoints(0).mkdir()
    place.stand(None if left is None else Standing(1, 1, 0, left, 2e9))
    monkeypatch.setattr("invnas.training.train", train)
    with pytest.raises(TrialFailed, match="enough"):
        retrain(run, "best", 9, 1, quiet=True)
    shutil.rmtree(place.folder)
    assert seen == [Standing(os.getpid(), 1, 0, epoch)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pick", "trial=7"], "there is no trial 7; the run has 2 trials"),
        (["--pick", "retrained"], "cannot pick 'retrained'"),
        (["--recipe.learning_rat", 1], "unknown option '--recipe.learning_rat'; nearest: '--recipe.learning_rate'"),
        (["--recipe.learning_rate", "fast"], "`recipe.learning_rate` must be a number or auto, but got 'fast'"),
        (["--recipe.epochs", 3, "--epochs", 4], "`epochs` is 4 and `recipe.epochs` is 3: give one of them"),
        (["--data.init_args.batchsize", 3], "takes no argument `batchsize`; nearest: 'batch_size'"),
        (["--data.class_path", f"{__name__}.Fewer"], "do not fit the networks of .*: classes 9 where there were 10"),
        (["--data.class_path", f"{__name__}.Untested"], "Untested has no test_dataloader to measure on"),
        (["--data.class_path", f"{__name__}.Mine", "--all-data"], "needs its method `all_data_dataloader`"),
        (["--data.class_path", f"{__name__}.Leaky", "--all-data"], "the validation images .* are its test images"),
        (["--all-data=1"], "`all_data` stands alone"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: Run, call: Call, words: list[Any], said: str) -> None:
    code, out, err = call("retrain", run.folder, "--quiet", *words)
    assert (code, out) == (2, ""), err
    assert re.search(said, err), err
    assert len(err.strip().splitlines()) == 1 or "note: " in err


def test_a_failed_trial_has_nothing_to_retrain(run: Run, call: Call, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run.folder, tmp_path / "run")
    failed = Run.open(tmp_path / "run")
    trial = run.trials()[0]
    with failed.locked():
        failed.fail(failed.start(trial.architecture, trial.decisions, trial.cost, "confirm", seed=9), "diverged: so")
    code, _, err = call("retrain", failed.folder, "--pick", "trial=2")
    assert (code, err) == (2, "invnas: error: trial 2 is failed: diverged: so\n")


def test_other_images_than_it_was_begun_with_are_refused(run: Run) -> None:
    retrain(run, "trial=1", 1, 1, recipe={"momentum": 0.5}, quiet=True)
    (found,) = (one for one in run.retrained() if one.asked.recipe.momentum == 0.5)
    path = Place.of(run.folder, found.asked).folder / "retraining.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "facts": {**whole["facts"], "fingerprint": "other"}}))
    with pytest.raises(BadInput, match=r"are not those the retraining trial1-epochs1-\w+ was begun with: .*other"):
        retrain(run, "trial=1", 1, 1, recipe={"momentum": 0.5}, quiet=True)
    path.write_text(json.dumps(whole))


def test_status_says_where_a_retraining_stands(run: Run, call: Call) -> None:
    one = retrain(run, "trial=1", 1, 1, recipe={"momentum": 0.8}, quiet=True)
    line = f"retrained trial 1, 1 epochs (recipe.momentum 0.8): 1 seed done, test top-1 {one['mean']:.4f}\n"
    assert line in call("status", run.folder)[1]
    done = retrain(run, "trial=1", 1, 2, recipe={"momentum": 0.8}, quiet=True)
    said = call("status", run.folder)[1]
    line = f"retrained trial 1, 1 epochs (recipe.momentum 0.8): 2 seeds done, test top-1 {done['mean']:.4f} ± "
    assert f"{line}{done['standard_deviation']:.4f}\n" in said
    (found,) = (one for one in run.retrained() if one.asked.name == done["name"])
    place = Place.of(run.folder, found.asked)
    with run.locked():
        holder = int((run.folder / "holder").read_text())
        place.stand(Standing(holder, 3, 2, 0, 2e9))
        alive = status_of(Run.open(run.folder, trust=False))
        place.stand(Standing(holder + 1, 3, 2, 0, None))
        other = status_of(Run.open(run.folder, trust=False))
        place.stand(Standing(holder, 1, 0, 0, None))
        single = status_of(Run.open(run.folder, trust=False))
    place.stand(None)
    assert any("; seed 0 at epoch 0 of 1" in line for line in single.lines())
    assert any("seed 2 of 0 to 2 at epoch 0 of 1, " in line and "interrupted" not in line for line in alive.lines())
    assert not any(line.startswith("note: ") for line in alive.lines())
    assert any(line.endswith("interrupted: give the same command again to go on") for line in other.lines())
    plain = next(one for one in alive.to_dict()["retrained"] if one["name"] == done["name"])
    assert plain["under_way"] == {"process": holder, "seeds": 3, "seed": 2, "epoch": 0, "finish": 2e9, "alive": True}
    assert plain["test_top1"] == {"0": done["test_top1"][0], "1": done["test_top1"][1]}
    assert plain["options"] == {"recipe.momentum": 0.8}
    (place.folder / "seed0.json").rename(place.folder / "seed0.kept")
    (place.folder / "seed0.json").write_text("{")
    try:
        assert "seed0.json is malformed" in status_of(run).note
    finally:
        (place.folder / "seed0.kept").rename(place.folder / "seed0.json")
