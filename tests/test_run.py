from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search.cheap import SMALL, CheapEngine, go, make_run, measure

from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.manifest import FORMAT, Manifest
from invnas.pareto import knee
from invnas.run import Run

CHILD = [sys.executable, "-m", "search.crash_child"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def finished_run(tmp_path: Path) -> Run:
    run = make_run(tmp_path, trials=10, sampler="evolution")
    with run.locked():
        go(run, CheapEngine(outcome=lambda trial: measure(trial) if trial.number != 4 else "loss is NaN"))
    return run


def create(folder: Path, space: Path) -> Run:
    return Run.create(folder, Experiment(), space, input_shape=(1, 8, 8), classes=10, environment={})


def test_folder_is_as_documented(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    assert sorted(path.name for path in run.folder.iterdir()) == ["journal.log", "lock", "run.json", "space.py"]
    data = json.loads((run.folder / "run.json").read_text())
    assert data["format"] == FORMAT
    assert data["data"] == {"input_shape": [1, 8, 8], "classes": 10, "class_names": None, "normalisation": None}
    assert (run.folder / "space.py").read_text() == SMALL


def test_reopened_run_is_the_same(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    again = Run.open(run.folder)
    assert again.experiment == run.experiment
    assert again.manifest == run.manifest
    assert again.space.name == "my_space"
    assert again.front() == run.front()


def test_space_is_read_from_the_copy(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    (tmp_path / "my_space.py").unlink()
    assert Run.open(run.folder).trials() == run.trials()


def test_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(BadInput, match="holds a run already: resume it"):
        create(run.folder, tmp_path / "my_space.py")
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_foreign_folder_is_refused_and_an_empty_one_is_taken(tmp_path: Path) -> None:
    space = tmp_path / "my_space.py"
    space.write_text(SMALL)
    with pytest.raises(BadInput, match="not empty and holds no run"):
        create(tmp_path, space)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert create(empty, space).trials() == ()
    assert create(tmp_path / "a" / "b", space).front() == ()


@pytest.mark.parametrize("folder", ["my_space.py", "my_space.py/run"])
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path, folder: str) -> None:
    space = tmp_path / "my_space.py"
    space.write_text(SMALL)
    with pytest.raises(BadInput, match="cannot write the run folder"):
        create(tmp_path / folder, space)


def test_space_file_that_is_bad_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(BadInput, match="ZeroDivisionError"):
        create(tmp_path / "run", tmp_path / "bad.py")
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"has no run\.json"):
        Run.open(tmp_path)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path).folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1, "new": 1}))
    with pytest.raises(
        BadInput, match=f"in format {FORMAT + 1}, but this invnas .* reads up to format {FORMAT}: upgrade"
    ):
        Run.open(path.parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: "{",
        lambda data: "[]",
        lambda data: json.dumps({key: value for key, value in data.items() if key != "experiment"}),
        lambda data: json.dumps({**data, "format": "one"}),
        lambda data: json.dumps({**data, "experiment": {**data["experiment"], "sampller": "tpe"}}),
        lambda data: json.dumps({**data, "data": {"input_shape": [8, 8], "classes": 10}}),
        lambda data: json.dumps({**data, "environment": None}),
    ],
)
def test_malformed_manifest_is_refused(tmp_path: Path, change: Any) -> None:
    path = make_run(tmp_path).folder / "run.json"
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(BadInput, match=r"run\.json is malformed"):
        Run.open(path.parent)


def test_lost_journal_or_space_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.folder / "journal.log").unlink()
    with pytest.raises(BadInput, match=r"no journal\.log"):
        Run.open(run.folder)
    assert not (run.folder / "journal.log").exists()
    (run.folder / "space.py").unlink()
    with pytest.raises(BadInput, match="space"):
        Run.open(run.folder)


def test_writing_needs_the_lock(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(RuntimeError, match="locked"):
        go(run)
    with pytest.raises(RuntimeError, match="locked"):
        run.extend(3)


def test_second_writer_is_refused_by_the_process_that_holds_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with run.locked():
        with pytest.raises(BadInput, match=f"in use by process {os.getpid()}"), Run.open(run.folder).locked():
            pass
        child = subprocess.run(
            [*CHILD, str(run.folder), "1"], env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert f"in use by process {os.getpid()}" in child.stderr
    with Run.open(run.folder).locked():
        pass


def test_lock_reads_what_another_process_wrote_in_between(tmp_path: Path) -> None:
    run, other = make_run(tmp_path, trials=5), Run.open(tmp_path / "run")
    with other.locked():
        go(other)
        other.extend(7)
    with run.locked():
        assert run.trials() == other.trials()
        assert run.experiment.trials == 7


def test_lock_of_a_killed_parent_is_not_kept_by_its_forked_child(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    code = (
        "import os, sys, time; from invnas.run import Run\n"
        "with Run.open(sys.argv[1]).locked():\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(30); os._exit(0)\n"
        "    print(child, flush=True); time.sleep(0.5); os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(run.folder)], env=ENVIRONMENT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.wait()
    try:
        with run.locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_kill_at_any_moment_loses_nothing(tmp_path: Path, workers: int) -> None:
    run = make_run(tmp_path, "digits", trials=120, sampler="evolution")
    rng = random.Random(workers)
    said: dict[int, str] = {}
    for _ in range(3):
        child = subprocess.Popen(
            [*CHILD, str(run.folder), str(workers)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        time.sleep(rng.uniform(0.02, 0.25))
        child.kill()
        numbers = [int(line) for line in child.stdout if line.endswith("\n")]
        child.stdout.close()
        child.wait()
        run = Run.open(run.folder)
        found = {trial.number: trial for trial in run.trials()}
        said.update({number: found[number].architecture.fingerprint for number in numbers})
        assert all(found[number].state == "complete" for number in said)
        assert sum(trial.state == "running" for trial in found.values()) <= workers
    with run.locked():
        go(run)
    trials = run.trials()
    assert [trial.state for trial in trials] == ["complete"] * 120
    assert len({trial.architecture.fingerprint for trial in trials}) == 120
    assert all(trials[number].architecture.fingerprint == fingerprint for number, fingerprint in said.items())
    assert all(trial.measurement == measure(trial) for trial in trials)


def test_extend_continues_a_finished_search(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    with run.locked():
        run.extend(14)
        go(run)
    assert len(Run.open(run.folder).trials()) == 14
    with run.locked(), pytest.raises(BadInput, match="`trials` must be at least 1"):
        run.extend(0)


def test_finished_trials_lose_their_checkpoints(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)

    def outcome(trial: Any) -> Any:
        run.checkpoint_folder(trial.number).mkdir(parents=True)
        return measure(trial) if trial.number else "diverged"

    with run.locked():
        go(run, CheapEngine(outcome=outcome))
    assert not list((run.folder / "checkpoints").iterdir())


def test_pick(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    complete = [trial for trial in run.trials() if trial.measurement]
    best = max(complete, key=lambda trial: trial.measurement.top1 if trial.measurement else 0)
    assert run.pick("best") == best
    assert run.pick("knee") == knee(complete, ("top1", "macs"))
    assert run.pick("trial=3").number == 3
    least = min(trial.cost.macs for trial in complete)
    assert run.pick(f"max-macs={least}").cost.macs == least
    assert run.pick("max-macs=1G") == run.pick("max-parameters=1G") == best


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished_run(tmp_path_factory.mktemp("pick"))


@settings(max_examples=30)
@given(share=st.floats(0, 1))
def test_pick_within_a_cap_is_the_best_within(one_run: Run, share: float) -> None:
    run = one_run
    complete = [trial for trial in run.trials() if trial.measurement]
    spent = [trial.cost.parameters for trial in complete]
    cap = round(min(spent) + share * (max(spent) - min(spent)))
    picked = run.pick(f"max-parameters={cap}")
    assert picked.measurement is not None
    within = [trial.measurement.top1 for trial in complete if trial.cost.parameters <= cap and trial.measurement]
    assert picked.cost.parameters <= cap
    assert picked.measurement.top1 == max(within)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kneee", "cannot pick 'kneee'; nearest: 'knee'"),
        ("trial", "cannot pick 'trial'; nearest: 'trial=17'"),
        ("trial=", "cannot pick"),
        ("max-mac=3M", "nearest: 'max-macs=20M'"),
        ("trial=99", "there is no trial 99; the run has 10 trials"),
        ("trial=x", "there is no trial x"),
        ("trial=4", "trial 4 is failed: loss is NaN"),
        ("max-macs=10", "no complete trial is within max-macs=10: the smallest has"),
        ("max-macs=lots", "'lots' is not a count"),
    ],
)
def test_bad_pick(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as error:
        finished_run(tmp_path).pick(text)
    assert words in str(error.value)


def test_pick_of_an_empty_or_running_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1)
    for text in ("best", "knee", "max-macs=3M"):
        with pytest.raises(BadInput, match="no trial of the search is complete yet"):
            run.pick(text)

    def interrupted(trial: Any) -> Any:
        raise KeyboardInterrupt

    with run.locked(), pytest.raises(KeyboardInterrupt):
        go(run, CheapEngine(outcome=interrupted))
    with pytest.raises(BadInput, match="trial 0 is running, not complete"):
        run.pick("trial=0")


def test_reused_measurement_shares_the_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1)
    with run.locked():
        go(run)
        go(run, baseline=True)
    first, second = run.trials()
    assert first.architecture == second.architecture
    assert run.weights_path(1) == run.weights_path(0) == run.folder / "weights" / "0.safetensors"
    assert run.weights_path(7).name == "7.safetensors"


def test_test_accuracies_add_up(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.test_top1() == {}
    run.add_test_top1({3: 0.5})
    run.add_test_top1({1: 0.25, 3: 0.75})
    assert Run.open(run.folder).test_top1() == {1: 0.25, 3: 0.75}
    (run.folder / "test.json").write_text("[1]")
    with pytest.raises(BadInput, match=r"test\.json is malformed"):
        run.test_top1()


def test_manifest_round_trip(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler_args={"population": 4}, max_macs=3)
    path = tmp_path / "again.json"
    path.write_text(json.dumps(run.manifest.to_dict()))
    assert Manifest.read(path) == run.manifest
