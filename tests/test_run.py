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

from invnas.confusion import Confusion
from invnas.errors import BadInput, disk_failure
from invnas.experiment import Experiment, Recipe
from invnas.facts import DataFacts
from invnas.manifest import FORMAT, Manifest
from invnas.measurement import Measurement
from invnas.pareto import front, knee
from invnas.retrained import Place, Retrained
from invnas.retraining import Retraining
from invnas.run import Run
from invnas.search.events import Finished

CHILD = [sys.executable, "-m", "search.crash_child"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def finished_run(tmp_path: Path) -> Run:
    run = make_run(tmp_path, trials=10, sampler="evolution")
    with run.locked():
        go(run, CheapEngine(outcome=lambda trial: measure(trial) if trial.number != 4 else "loss is NaN"))
    return run


def create(folder: Path, space: Path) -> Run:
    return Run.create(folder, Experiment(), space, facts=DataFacts((1, 8, 8), 10), environment={})


def test_folder_is_as_documented(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "holder",
        "journal.log",
        "lock",
        "run.json",
        "space.py",
    ]
    data = json.loads((run.folder / "run.json").read_text())
    assert data["format"] == FORMAT
    assert data["data"] == DataFacts((1, 8, 8), 10).to_dict()
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


@pytest.mark.parametrize(("step", "remedy"), [(1, "upgrade invnas"), (-1, "search again")])
def test_other_format_is_refused(tmp_path: Path, step: int, remedy: str) -> None:
    path = make_run(tmp_path).folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + step, "data": {}}))
    with pytest.raises(
        BadInput, match=f"in format {FORMAT + step}, but this invnas .* reads format {FORMAT}: {remedy}"
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


@settings(max_examples=25, deadline=None)
@given(room=st.integers(0, 40_000), workers=st.integers(1, 3))
def test_no_room_at_any_byte_loses_nothing_and_blames_no_trial(
    tmp_path_factory: pytest.TempPathFactory, room: int, workers: int
) -> None:
    resource = pytest.importorskip(
        "resource", reason="needs a limit on the size of files, which stands for a full disk"
    )
    run = make_run(tmp_path_factory.mktemp("room"), trials=12)
    said: list[int] = []

    def say(event: object) -> None:
        if isinstance(event, Finished):
            said.append(event.trial.number)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with run.locked():
        resource.setrlimit(resource.RLIMIT_FSIZE, ((run.folder / "journal.log").stat().st_size + room, hard))
        try:
            with pytest.raises(OSError) as error:
                go(run, CheapEngine(workers), on_event=say)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert disk_failure(error.value) is not None
    again = Run.open(run.folder)
    states = [trial.state for trial in again.trials()]
    assert set(states) <= {"complete", "running"}
    assert states.count("running") <= workers
    assert all(states[number] == "complete" for number in said)
    with again.locked():
        go(again)
    assert [trial.state for trial in again.trials()] == ["complete"] * 12


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
    assert run.pick("knee") == knee(complete, run.experiment.axes)
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
        go(run, phase="random")
    first, second = run.trials()
    assert first.architecture == second.architecture
    assert run.weights_path(1) == run.weights_path(0) == run.folder / "weights" / "0.safetensors"
    assert run.weights_path(7).name == "7.safetensors"


def test_test_accuracies_add_up(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.tested() == {}
    run.add_tested({3: {"top1": 0.5}})
    run.add_tested({1: {"top1": 0.25}, 3: {"top1": 0.75}})
    assert Run.open(run.folder).tested() == {1: {"top1": 0.25}, 3: {"top1": 0.75}}
    (run.folder / "test.json").write_text("[1]")
    with pytest.raises(BadInput, match=r"test\.json is malformed"):
        run.tested()


def test_what_was_taken_for_what_is_kept_by_trial(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.confusion(3) is None
    told = Confusion({(0, 1): 2, (1, 1): 5})
    run.keep_confusion(3, told)
    assert Run.open(run.folder, trust=False).confusion(3) == told
    for counts in ("[[0, 1, -2]]", "[[0, 1]]", "3", "[[[], 1, 1]]", "[[0, 1, 0.5]]"):
        (run.folder / "confusion" / "3.json").write_text(f'{{"counts": {counts}}}')
        with pytest.raises(BadInput, match=r"3\.json is malformed"):
            run.confusion(3)


def test_manifest_round_trip(tmp_path: Path) -> None:
    run = make_run(tmp_path, sampler_args={"population": 4}, max_macs=3)
    path = tmp_path / "again.json"
    path.write_text(json.dumps(run.manifest.to_dict()))
    assert Manifest.read(path) == run.manifest


ODD: list[Any] = [None, True, -1, 0, 1.5, 10**400, float("inf"), float("nan"), "", "x", [], [[]], {}, {"a": []}]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value in plain data."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, part in inside for leaf in leaves(part, (*path, key)))]


def test_any_value_of_another_kind_in_run_json_is_taken_or_refused_in_a_sentence(tmp_path: Path) -> None:
    path = make_run(tmp_path, sampler_args={"n": 1}).folder / "run.json"
    whole = path.read_text()
    for leaf in leaves(json.loads(whole))[1:]:
        for odd in ODD:
            data = json.loads(whole)
            place = data
            for key in leaf[:-1]:
                place = place[key]
            place[leaf[-1]] = odd
            path.write_text(json.dumps(data))
            try:
                Manifest.read(path)
            except BadInput as error:
                assert "\n" not in str(error)  # noqa: PT017
                assert len(str(error)) < 2000  # noqa: PT017


def test_a_run_json_that_nests_for_ever_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path).folder / "run.json"
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 5000):
        path.write_text(text)
        with pytest.raises(BadInput, match=r"run\.json is malformed"):
            Run.open(path.parent)


def test_a_journal_line_that_nests_for_ever_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path).folder / "journal.log"
    path.write_text(path.read_text() + "[" * 100_000 + "\n" + '{"op_code":0}' + "\n")
    with pytest.raises(BadInput, match=r"line 3 of .*journal\.log is damaged"):
        Run.open(path.parent)


def test_the_front_is_that_of_what_is_believed_and_the_observed_one_stands_beside_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=20, sampler="random")
    lucky = Measurement({"top1": 0.30, "loss": 0.1})
    with run.locked():
        go(run, CheapEngine(outcome=lambda trial: lucky if trial.number == 8 else measure(trial)))
    assert run.belief.known
    axes = run.experiment.axes
    assert run.front(observed=True) == front(run.trials("search"), axes)
    assert run.front() == run.belief.front(run.trials("search"), axes)
    assert all(trial in run.trials() for trial in run.front()), "as they were recorded"
    said = run.belief.estimate(run.trials()[8], "top1")
    assert said is not None
    assert said.mean < 0.28, "one training that stands out is lucky in part"
    best = run.pick("best")
    assert best.number != 8, "what was measured best is not believed to be"
    assert best == max(
        run.trials(), key=lambda trial: run.belief.estimates["top1"][trial.architecture.fingerprint].mean
    )
    stranger = Run.open(run.folder, trust=False)
    assert [trial.number for trial in stranger.front()] == [trial.number for trial in run.front()]


def test_what_is_believed_is_kept_until_a_trial_ends(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    before = run.belief
    assert run.belief is before
    with run.locked():
        trial = run.trials("search")[0]
        further = run.start(trial.architecture, trial.decisions, trial.cost, "confirm", seed=1)
        assert run.belief is before
        run.finish(further, Measurement({"top1": 0.5, "loss": 1.0}))
    assert run.belief is not before
    assert run.belief.seeds[trial.architecture.fingerprint] == 2


def test_what_was_retrained_is_read_and_a_damaged_file_is_said(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    assert run.retrained() == ()
    asked = Retraining(3, Recipe(epochs=9))
    place = Place.of(run.folder, asked)
    place.begin(asked, run.manifest.facts)
    found = place.finish(1, {"top1": 0.5}, {"top1": 0.7})
    assert run.retrained() == (Retrained(asked, run.manifest.facts, (found,)),)
    assert Run.open(run.folder, trust=False).retrained() == run.retrained()
    (place.folder / "seed1.json").write_text('{"seed": 1}')
    with pytest.raises(BadInput, match=r"seed1\.json is malformed"):
        run.retrained()
