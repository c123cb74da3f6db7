"""The tasks of a user from end to end, on tiny trainings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import invnas
from invnas.commands import resume_search, run_search, space_facts
from invnas.data.digits import HardDigits
from invnas.errors import BadInput, TrialFailed
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.export import load_model
from invnas.latency.in_torch import InTorch
from invnas.results import export_model, measure_test, retrain, write_report
from invnas.run import Run

EXPERIMENT = Experiment(
    data=DataSource("HardDigits", {"batch_size": 128}), recipe=Recipe(epochs=1, learning_rate=0.3), trials=3, seed=3
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    experiment = replace(EXPERIMENT, random_baseline=True, max_macs=500_000)
    return run_search(experiment, tmp_path_factory.mktemp("runs") / "mine", quiet=True)


def test_a_search_trains_nothing_twice_and_nothing_over_the_cap(run: Run) -> None:
    trained = [trial for trial in run.trials() if trial.state == "complete"]
    assert len(run.trials("search")) == len(run.trials("random")) == 3
    assert len({trial.architecture.fingerprint for trial in trained}) == len(trained)
    assert all(trial.cost.macs <= 500_000 for trial in trained)
    assert all((run.folder / "weights" / f"{trial.number}.safetensors").is_file() for trial in trained)
    assert not list((run.folder / "checkpoints").iterdir())


def test_the_same_seed_proposes_the_same_architectures_in_another_process(run: Run, tmp_path: Path) -> None:
    code = (
        "import sys, dataclasses; from invnas.run import Run; from invnas.commands import run_search\n"
        f"run = Run.open({str(run.folder)!r})\n"
        "experiment = dataclasses.replace(run.experiment, random_baseline=False)\n"
        f"run = run_search(experiment, {str(tmp_path / 'r')!r}, quiet=True)\n"
        "print(*(trial.architecture.fingerprint for trial in run.trials()))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert printed == [trial.architecture.fingerprint for trial in run.trials("search")]


def test_a_warm_start_outlives_the_run_it_comes_from(run: Run, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(run.folder, first)
    experiment = replace(EXPERIMENT, sampler="known-cost", warm_start=str(first), trials=1)
    second = run_search(experiment, tmp_path / "second", quiet=True)
    shutil.rmtree(first)
    assert len(second.earlier) == len([trial for trial in run.trials() if trial.state == "complete"])
    assert len(resume_search(second.folder, trials=2, quiet=True).trials()) == 2
    with pytest.raises(BadInput, match=r"nothing that .* has trained lies in the space hybrid_cifar"):
        run_search(replace(experiment, space="hybrid_cifar", warm_start=str(second.folder)), tmp_path / "r", quiet=True)


def test_references_are_trained_after_the_search_and_join_it_nowhere(tmp_path: Path) -> None:
    run = run_search(replace(EXPERIMENT, trials=2, max_macs=300_000), tmp_path / "run", quiet=True)
    compared = resume_search(run.folder, baselines=True, quiet=True)
    found = compared.trials("reference")
    assert {trial.state for trial in found} == {"complete"}
    assert {trial.architecture.kind for trial in found} == {"convolution", "involution"}
    assert {bool(trial.decisions) for trial in found} == {True, False}
    assert all(trial.cost.macs <= 300_000 for trial in found)
    assert all(compared.weights_path(trial.number).is_file() for trial in found)
    assert compared.front() == run.front()
    assert compared.trials("search") == run.trials()
    # Asked once, it stays asked, and the same record chooses the same.
    again = resume_search(run.folder, quiet=True)
    assert again.experiment.baselines
    assert again.trials() == compared.trials()


def test_a_report_tests_the_front_once(run: Run) -> None:
    page = write_report(run)
    names = {path.name for path in page.parent.iterdir()}
    assert {"index.html", "front.png", "front.svg", "front.csv", "trials.csv"} <= names
    tested = run.tested()
    assert set(tested) == {trial.number for trial in run.front()}
    for number, found in tested.items():
        told = run.confusion(number)
        assert told is not None
        assert told.right / told.total == pytest.approx(found["top1"])
    assert "What the front takes for what" in write_report(run.folder, trust=False).read_text()
    (run.folder / "test.json").write_text(json.dumps({key: {"top1": 0.5} for key in tested}))
    shutil.rmtree(run.folder / "confusion")  # an older version wrote none
    assert "What the front takes for what" not in write_report(run).read_text()
    assert not (page.parent / "confusion.png").exists()
    assert all(found == {"top1": 0.5} for found in measure_test(run, run.front()).values())
    (run.folder / "test.json").unlink()


def test_a_report_is_written_without_the_weights(run: Run) -> None:
    weights = run.folder / "weights"
    notes: list[str] = []
    weights.rename(run.folder / "gone")
    try:
        assert write_report(run, note=notes.append).is_file()
    finally:
        (run.folder / "gone").rename(weights)
    (note,) = notes
    assert note.startswith("test accuracy is not measured: ")
    assert run.tested() == {}


class Watched(HardDigits):
    """A user's module that writes down what it gives, and fails when it is told to."""

    order: ClassVar[list[tuple[int, ...]]] = []
    validated: ClassVar[list[float]] = []
    failure: ClassVar[BaseException | None] = None
    fails_at: ClassVar[int] = -1

    def train_dataloader(self) -> Any:
        loader, outer = super().train_dataloader(), self

        class Noting(type(loader)):  # type: ignore[misc]
            def __iter__(self) -> Iterator[Any]:
                for number, (images, labels) in enumerate(super().__iter__()):
                    if number == 0:
                        outer.order.append(tuple(labels.tolist()))
                        if outer.failure is not None and len(outer.order) == outer.fails_at:
                            raise outer.failure
                    yield images, labels

        loader.__class__ = Noting
        return loader

    def val_dataloader(self) -> Any:
        loader = super().val_dataloader()
        self.validated.append(sum(float(images.sum()) for images, _ in loader))
        return loader

    def test_dataloader(self) -> Any:
        if self.failure is not None and self.fails_at < 0:
            raise self.failure
        return super().test_dataloader()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Run]:
    experiment = replace(EXPERIMENT, data=DataSource(f"{__name__}.Watched", {"batch_size": 256}), trials=2)
    yield run_search(experiment, tmp_path / "watched", quiet=True)
    Watched.failure, Watched.fails_at = None, -1


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "photos/7.png"), "FileNotFoundError: .*photos/7.png"),
        (KeyError("label"), "KeyError: 'label'"),
        (SystemExit(3), r"sys\.exit\(3\)"),
    ],
)
def test_a_report_is_written_whatever_the_users_images_do(watched: Run, failure: BaseException, said: str) -> None:
    notes: list[str] = []
    Watched.failure = failure
    assert write_report(watched, note=notes.append).is_file()
    (note,) = notes
    assert re.match(f"test accuracy is not measured: .*{said}", note)
    Watched.failure = None
    write_report(watched, note=notes.append)
    assert len(notes) == 1
    assert set(watched.tested()) == {trial.number for trial in watched.front()}


def test_one_trial_without_weights_takes_no_other_one_along(run: Run) -> None:
    first, *others = run.front()
    (run.folder / "test.json").unlink(missing_ok=True)
    weights, notes = run.weights_path(first.number), list[str]()
    whole = weights.read_bytes()
    weights.write_bytes(b"torn")
    try:
        write_report(run, note=notes.append)
    finally:
        weights.write_bytes(whole)
    assert set(run.tested()) == {trial.number for trial in others}
    assert "is not a whole safetensors file" in notes[0]
    assert len(notes) == 1
    (run.folder / "test.json").unlink(missing_ok=True)


def test_seeds_of_a_retraining_vary_order_and_augmentation_but_not_the_split(watched: Run) -> None:
    Watched.order.clear(), Watched.validated.clear()
    retrain(watched, "best", epochs=1, seeds=3, quiet=True)
    assert len(set(Watched.order)) == 3
    assert len(set(Watched.validated)) == 1


def test_a_retraining_that_was_stopped_goes_on(watched: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Watched.order.clear()
    Watched.failure, Watched.fails_at = RuntimeError("killed"), 5
    with pytest.raises(TrialFailed, match="the training with seed 1 failed: RuntimeError: killed"):
        retrain(watched, "best", epochs=3, seeds=2)
    Watched.failure = None
    assert len(Watched.order) == 5  # three epochs of seed 0, one of seed 1, and the one that broke
    capsys.readouterr()
    resumed = retrain(watched, "best", epochs=3, seeds=2)
    assert Watched.order[5:] == Watched.order[4:5] + Watched.order[6:]
    assert len(Watched.order) == 7
    assert re.search(
        r"retrain 6/6: seed 1, epoch 3 of 3, train loss [\d.]+, about 0:00:00 left", capsys.readouterr().err
    )
    shutil.rmtree(watched.folder / "retrain")
    assert retrain(watched, "best", epochs=3, seeds=2, quiet=True) == resumed
    assert capsys.readouterr().err == ""


def test_a_report_beside_a_writer_does_not_write_the_record(run: Run) -> None:
    notes: list[str] = []
    with Run.open(run.folder).locked():
        write_report(run, note=notes.append)
    assert "in use by process" in notes[0]


def test_the_export_is_the_network_that_was_measured(run: Run, tmp_path: Path) -> None:
    folder = invnas.export_model(run, "best", ["safetensors"], tmp_path / "model")
    network = invnas.load_model(folder)
    best = run.pick("best")
    from invnas.engine.images import open_data

    data, _ = open_data(run.experiment.data)
    right = total = 0
    with torch.no_grad():
        for images, labels in data.val_dataloader():
            right += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    assert best.measurement is not None
    assert right / total == pytest.approx(best.measurement.top1, abs=1e-6)


def test_retraining_says_mean_and_spread(run: Run) -> None:
    result = retrain(run, "knee", epochs=1, seeds=2)
    assert len(result["test_top1"]) == 2
    assert result["mean"] == pytest.approx(sum(result["test_top1"]) / 2)
    assert result["name"].startswith(f"trial{result['trial']}-epochs1-")
    weights = run.folder / "retrain" / result["name"] / "seed0.safetensors"
    before = weights.stat().st_mtime_ns
    assert retrain(run, "knee", epochs=1, seeds=1)["test_top1"] == result["test_top1"][:1]
    assert weights.stat().st_mtime_ns == before  # a finished seed is not trained again
    weights.write_bytes(weights.read_bytes()[:-9])  # a torn one is
    assert retrain(run, "knee", epochs=1, seeds=1)["test_top1"] == result["test_top1"][:1]
    with pytest.raises(BadInput, match="`seeds` must be at least 1"):
        retrain(run, seeds=0)


def test_a_finished_run_can_be_extended(tmp_path: Path) -> None:
    run_search(replace(EXPERIMENT, trials=1), tmp_path / "r", quiet=True)
    before = Run.open(tmp_path / "r")
    first, asked = before.trials(), json.loads((tmp_path / "r" / "run.json").read_text())
    assert before.box.worst[1] > 5e6 > 1e5 > before.box.best[1]
    del asked["ends"]  # as of an older invnas
    (tmp_path / "r" / "run.json").write_text(json.dumps(asked))
    run = resume_search(tmp_path / "r", "+1", quiet=True)
    assert run.box == before.box
    assert run.trials()[:1] == first
    assert len(run.trials()) == 2
    assert len(resume_search(tmp_path / "r", quiet=True).trials()) == 2
    with pytest.raises(BadInput, match="can only grow"):
        resume_search(tmp_path / "r", 1)


def test_caps_that_exclude_everything_say_what_the_smallest_costs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing in the space digits .* [\d,]+ MACs are more than max_macs=10"):
        run_search(replace(EXPERIMENT, max_macs=10), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_space_is_checked_for_one_kind_of_image() -> None:
    found = space_facts("digits", (1, 8, 8), 10, 500_000, None)
    assert found.size == 20_072_448
    assert found.kept_share is not None
    assert 0 < found.kept_share < 1


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    example = next(code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "run_search" in code)
    assert len(example.strip().splitlines()) <= 12
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "index.html" in done.stdout


def children() -> set[str]:
    """Return the numbers of the processes that this one started."""
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def states(processes: set[str]) -> list[str]:
    """Return how processes are, as the kernel says it: T is stopped, a moment after it was told to."""
    until = time.monotonic() + 2
    while True:
        found = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in processes]
        if set(found) <= {"T"} or time.monotonic() > until:
            return found


def test_a_latency_is_metered_before_training_while_nothing_else_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two workers the second architecture is metered while the first one trains: its worker is held meanwhile."""
    seen: list[tuple[float, list[str]]] = []
    others = children()  # of earlier tests

    def time(self: InTorch, network: nn.Module, shape: Sequence[int], seconds: float) -> dict[str, float]:
        seen.append((len(seen) + 0.5, states(children() - others) if seen else []))
        return {"ratio": seen[-1][0], "low": seen[-1][0], "high": seen[-1][0], "beside_ms": 1.0}

    monkeypatch.setattr(InTorch, "time", time)
    monkeypatch.setattr(InTorch, "alone", lambda self: 1.0)
    monkeypatch.setattr("invnas.metering.CALIBRATION", 0)
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))
    asked = Experiment(
        "digits", objectives=("top1", "latency_ms"), trials=3, workers=2, recipe=Recipe(epochs=1, threads=1),
        max_latency_ms=3.0, sampler="random",
    )  # fmt: skip
    run = run_search(asked, tmp_path / "run", quiet=True)
    assert [trial.cost["latency_ms"] for trial in run.trials()] == [0.5, 1.5, 2.5]
    assert [trial.values(asked.axes)[1] for trial in run.trials()] == [0.5, 1.5, 2.5]
    assert all(set(found) == {"T"} for _, found in seen[1:])
    monkeypatch.setattr("invnas.search.proposer.UNIFORM_ASKS", 20)  # a hundred times fewer than it would ask for
    again = resume_search(run.folder, trials="+1", quiet=True)
    assert len(again.trials()) == 3  # whatever else there is takes longer than the cap


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run_search("digits", run.folder), "`experiment` must be an Experiment, but got"),  # type: ignore[arg-type]
        (lambda run: run_search(EXPERIMENT, 3), "`run_dir` must be a path, but got '3'"),  # type: ignore[arg-type]
        (lambda run: run_search(EXPERIMENT, "a\0b"), "`run_dir` must be a path"),
        (lambda run: resume_search(None), "`run` must be a path, but got 'None'"),  # type: ignore[arg-type]
        (lambda run: resume_search(run.folder, "many"), "`trials`: 'many' is not a count"),
        (lambda run: resume_search(run.folder, True), "`trials`: 'True' is not a count"),
        (lambda run: resume_search(run.folder, [3]), "`trials`: '[3]' is not a count"),  # type: ignore[arg-type]
        (lambda run: write_report(3), "`run` must be a path, but got '3'"),  # type: ignore[arg-type]
        (lambda run: Run.open([]), "`run` must be a path, but got '[]'"),  # type: ignore[arg-type]
        (lambda run: Run.open(""), "`run` must be a path, but got ''"),
        (lambda run: export_model(run, 3), "cannot pick '3'"),  # type: ignore[arg-type]
        (lambda run: export_model(run, formats="onx"), "unknown export format 'onx'; nearest: 'onnx'"),
        (lambda run: export_model(run, formats=3), "`formats` must be names"),  # type: ignore[arg-type]
        (lambda run: export_model(run, formats=[None]), "`formats` must be names"),  # type: ignore[list-item]
        (lambda run: export_model(run, out=3), "`out` must be a path"),  # type: ignore[arg-type]
        (lambda run: retrain(run, seeds="three"), "`seeds` must be a whole number, but got 'three'"),  # type: ignore[arg-type]
        (lambda run: retrain(run, seeds=1.5), "`seeds` must be a whole number, but got '1.5'"),  # type: ignore[arg-type]
        (lambda run: retrain(run, seeds=True), "`seeds` must be a whole number, but got 'True'"),
        (lambda run: retrain(run, epochs="few"), "`recipe.epochs` must be a whole number"),  # type: ignore[arg-type]
        (lambda run: load_model(None), "`folder` must be a path"),  # type: ignore[arg-type]
        (lambda run: load_model(run.folder, space=3), "`space` must be a path"),  # type: ignore[arg-type]
    ],
)
def test_what_an_entry_point_cannot_take_is_one_sentence(run: Run, call: Any, said: str) -> None:
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(BadInput) as raised:
        call(run)
    assert str(raised.value).startswith(said)
    assert sorted(run.folder.rglob("*")) == before


def test_formats_may_be_text_and_a_number_too(run: Run, tmp_path: Path) -> None:
    folder = export_model(run, formats="safetensors", out=tmp_path / "out")  # type: ignore[arg-type]
    assert (folder / "model.safetensors").is_file()
    assert load_model(folder, space=run.space).training is False
