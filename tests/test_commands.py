"""The tasks of a user from end to end, on tiny trainings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import invnas
from invnas.commands import resume_search, run_search, space_facts
from invnas.errors import BadInput
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.results import measure_test, retrain, write_report
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
    assert len(run.trials(baseline=False)) == len(run.trials(baseline=True)) == 3
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
    assert printed == [trial.architecture.fingerprint for trial in run.trials(baseline=False)]


def test_a_report_tests_the_front_once(run: Run) -> None:
    page = write_report(run)
    names = {path.name for path in page.parent.iterdir()}
    assert {"index.html", "front.png", "front.svg", "front.csv", "trials.csv"} <= names
    tested = run.test_top1()
    assert set(tested) == {trial.number for trial in run.front()}
    (run.folder / "test.json").write_text(json.dumps(dict.fromkeys(tested, 0.5)))
    assert set(measure_test(run, run.front()).values()) == {0.5}
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
    assert run.test_top1() == {}


def test_a_report_beside_a_writer_does_not_write_the_record(run: Run) -> None:
    notes: list[str] = []
    with Run.open(run.folder).locked():
        write_report(run, note=notes.append)
    assert "in use by process" in notes[0]


def test_the_export_is_the_network_that_was_measured(run: Run, tmp_path: Path) -> None:
    folder = invnas.export_model(run, "best", ["safetensors"], tmp_path / "model")
    network = invnas.load_model(folder)
    best = run.pick("best")
    from invnas.engine.evaluate import open_data

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
    assert (run.folder / "retrain" / f"trial{result['trial']}-epochs1.json").is_file()
    weights = run.folder / "retrain" / f"trial{result['trial']}-epochs1-seed0.safetensors"
    before = weights.stat().st_mtime_ns
    assert retrain(run, "knee", epochs=1, seeds=1)["test_top1"] == result["test_top1"][:1]
    assert weights.stat().st_mtime_ns == before  # a finished seed is not trained again
    with pytest.raises(BadInput, match="`seeds` must be at least 1"):
        retrain(run, seeds=0)


def test_a_finished_run_can_be_extended(tmp_path: Path) -> None:
    run_search(replace(EXPERIMENT, trials=1), tmp_path / "r", quiet=True)
    first = Run.open(tmp_path / "r").trials()
    run = resume_search(tmp_path / "r", "+1", quiet=True)
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
