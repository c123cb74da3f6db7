"""Where a run stands, seen from another process, at every moment of its life."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search.cheap import CheapEngine, go, make_run, measure, price

from invnas.measurement import Measurement
from invnas.messages import Job
from invnas.run import Run
from invnas.search.board import Board, Running, Standing
from invnas.search.events import Event
from invnas.search.status_file import StatusFile
from invnas.status import Status, status_of

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
Call = Callable[..., tuple[int, str, str]]


def outcome(job: Job) -> Measurement | str:
    return "loss is NaN after epoch 1" if job.number == 2 else measure(job)


def seen_while_searching(run: Run, when: Callable[[Event], bool], engine: CheapEngine, **options: Any) -> list[Status]:
    """Return what another reader of the folder sees whenever `when` holds in a search."""
    board, seen = Board(run.experiment.trials), []

    def follow(event: Event) -> None:
        board(event)
        if when(event):
            file._write()
            seen.append(status_of(Run.open(run.folder, trust=False)))

    with run.locked(), StatusFile(run.folder, board) as file:
        go(run, engine, on_event=follow, **options)
    return seen


def test_an_empty_run(tmp_path: Path) -> None:
    found = status_of(make_run(tmp_path, trials=3))
    assert (found.search, found.others) == ({"complete": 0, "stopped": 0, "failed": 0, "running": 0}, {})
    assert (found.front, found.hypervolume, found.running, found.failures, found.holder) == (0, 0.0, (), (), None)
    assert list(found.lines())[:2] == [
        f"{tmp_path / 'run'}: nobody is at it; continue with: invnas resume {tmp_path / 'run'}",
        "search: 0 of 3 trials done",
    ]


def test_while_a_search_runs_it_says_who_how_far_and_how_fast(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=6)
    engine = CheapEngine(workers=2, outcome=outcome, epochs=4)
    seen = seen_while_searching(run, lambda event: getattr(event, "epoch", 0) == 2, engine)
    last = seen[-1]
    assert last.holder == str(os.getpid())
    assert last.search == {"complete": 4, "stopped": 0, "failed": 1, "running": 1}
    assert [(one.trial, one.epoch, one.of) for one in last.running] == [(5, 2, 4)]
    assert last.failures == ((2, "loss is NaN after epoch 1"),)
    plain = last.to_dict()
    assert plain["process"] == {"number": os.getpid(), "host": plain["process"]["host"]}
    assert plain["running"] == [
        {"trial": 5, "epoch": 2, "of": 4, "values": {"train_loss": 0.5}, "host": "", "device": ""}
    ]
    assert plain["trials_per_hour"] > 0
    assert plain["epochs_per_hour"] > plain["trials_per_hour"]
    assert plain["seconds_left"] >= 0
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    text = "\n".join(last.lines())
    for words in (
        f"process {os.getpid()} on ",
        "search: 5 of 6 trials done (4 complete, 1 failed, 1 running)",
        "epochs an hour",
        "trial 5: epoch 2 of 4, train loss 0.5",
        "trial 2 failed: loss is NaN after epoch 1",
    ):
        assert words in text
    assert re.search(r"^search: about .+ left, until ", text, re.MULTILINE)  # how long: test_board


def test_stopped_trials_and_the_front_of_the_others(tmp_path: Path) -> None:
    run, engine = make_run(tmp_path, trials=4), CheapEngine(epochs=4)
    engine.stop(1)
    seen_while_searching(run, lambda event: False, engine)
    found = status_of(run)
    assert found.search == {"complete": 3, "stopped": 1, "failed": 0, "running": 0}
    assert found.front == len(run.front())
    assert 0 < found.hypervolume <= 1
    assert next(found.lines()) == f"{run.folder}: done"


def test_a_random_baseline_is_counted_beside_the_search(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2, random_baseline=True, branch_baseline=True)
    with run.locked():
        go(run)
        go(run, phase="random", trials=1)
    found = status_of(run)
    assert (found.search["complete"], found.others["random"]["complete"]) == (2, 1)
    assert "nobody is at it; continue" in next(found.lines())
    lines = list(found.lines())
    assert "random baseline: 1 of 2 trials done (1 complete)" in lines
    assert "branch-uniform baseline: 0 of 2 trials done" in lines
    assert found.to_dict()["branch_baseline"]["complete"] == 0


def test_references_and_further_seeds_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(run)
        one, other = run.trials()
        run.finish(run.start(one.architecture, one.decisions, one.cost, "reference"), measure(one))
        run.start(other.architecture, other.decisions, other.cost, "reference")
        run.start(one.architecture, one.decisions, one.cost, "confirm", seed=1)
    found = status_of(run)
    lines = list(found.lines())
    assert "reference: 1 of 2 trials done (1 complete, 1 running)" in lines
    assert "confirmation: 0 of 1 trials done (1 running)" in lines
    assert "nobody is at it; continue" in lines[0]
    assert (found.to_dict()["references"]["complete"], found.to_dict()["confirmation"]["running"]) == (1, 1)


def test_references_that_nobody_trains_yet_are_waiting_and_not_running(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(run)
        for trial in run.trials():
            run.start(trial.architecture, trial.decisions, trial.cost, "reference")
        standing = Standing("reference", os.getpid(), "here", time.time(), (Running(2, epoch=1, of=4),))
        (run.folder / StatusFile.NAME).write_text(json.dumps(standing.to_dict()))
        found = status_of(run)
    lines = list(found.lines())
    assert "reference: 0 of 2 trials done (1 running, 1 waiting)" in lines
    assert [one.trial for one in found.running] == [2]
    assert "reference: 0 of 2 trials done (2 running)" in list(status_of(run).lines())  # nobody is at it


def test_of_an_interrupted_run_it_says_how_far_the_trials_were(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)

    def killed(event: Event) -> bool:
        if getattr(event, "epoch", 0) == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        seen_while_searching(run, killed, CheapEngine(epochs=4))
    found = status_of(Run.open(run.folder))
    assert (found.holder, found.standing) == (None, None)
    assert found.search["running"] == 1
    assert "interrupted: trial 0: epoch 3 of 4, train loss 0.3333" in found.lines()
    assert found.to_dict()["finish"] is None


def test_what_another_process_wrote_before_is_not_taken_for_now(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    old = Standing("search", 1, "elsewhere", 0.0, trials_per_hour=5.0, epochs_per_hour=5.0, finish=1.0)
    (run.folder / "status.json").write_text(json.dumps(old.to_dict()))
    with run.locked():
        found = status_of(run)
    assert (found.holder, found.standing) == (str(os.getpid()), None)
    assert "has not said" in found.note
    assert found.to_dict()["process"] == {"number": os.getpid(), "host": None}
    assert status_of(run).note == ""


@pytest.mark.parametrize("text", ["", '{"running": [', "[1, 2]", '{"running": []}'])
def test_a_torn_file_is_a_note_and_the_journal_is_told(tmp_path: Path, call: Call, text: str) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(run)
    (run.folder / "status.json").write_text(text)
    code, out, err = call("status", run.folder)
    assert (code, err) == (0, "")
    assert "search: 2 of 2 trials done (2 complete)" in out
    assert "note: " in out
    assert "status.json is malformed: " in out
    assert out.endswith("; this is what the journal says\n")


def test_many_running_and_failed_trials_are_cut_for_a_person_only(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=30)
    with run.locked():
        for number in range(30):
            decisions, architecture = run.space.sample(random.Random(number))
            trial = run.start(architecture, decisions, price(architecture))
            if number % 2:
                run.fail(trial, f"reason {number}")
    lines = list(status_of(run).lines())
    assert lines.count("and 5 more (--json has all)") == 2
    assert "trial 29 failed: reason 29" in lines
    assert "trial 1 failed: reason 1" not in lines
    assert len(status_of(run).to_dict()["failures"]) == 15


def test_what_a_run_says_commands_no_terminal_and_is_json(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(run, CheapEngine(outcome=lambda job: "\x1b[2Jgone\nrm" if job.number == 0 else measure(job)))
        trial = run.trials()[1]
        run.start(trial.architecture, trial.decisions, trial.cost)
        said = Running(2, 1, 4, {"loss": float("inf"), "top1": 0.5}, "a", "cpu")
        (run.folder / "status.json").write_text(json.dumps(Standing("s", 1, "a", 0.0, (said,)).to_dict()))
        found = status_of(run)
    assert "trial 0 failed:  [2Jgone rm" in found.lines()
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["running"][0]["values"] == {"loss": None, "top1": 0.5}
    assert plain["failures"][0]["reason"] == "\x1b[2Jgone\nrm"


# The command.


def test_the_command_prints_lines_or_one_object(tmp_path: Path, call: Call) -> None:
    run = make_run(tmp_path, trials=3)
    with run.locked():
        go(run, CheapEngine(outcome=outcome))
    code, out, err = call("status", run.folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "search: 3 of 3 trials done (2 complete, 1 failed)"
    assert json.loads(call("status", run.folder, "--json")[1])["trials"]["complete"] == 2
    watched = call("status", run.folder, "--json", "--watch")[1].splitlines()  # nobody is at it: one look is enough
    assert [json.loads(line)["process"] for line in watched] == [None]
    assert call("status", run.folder, "--watch")[1] == f"{out}\n"


def test_a_folder_that_is_no_run_or_an_older_one_is_one_sentence(tmp_path: Path, call: Call) -> None:
    for folder, words in ((tmp_path, "is not a run folder: it has no run.json"), (tmp_path / "no", "no such folder")):
        code, out, err = call("status", folder)
        assert (code, out) == (2, "")
        assert words in err
    run = make_run(tmp_path)
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    code, out, err = call("status", run.folder, "--watch")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "in format 1, but this invnas" in err


def test_nothing_of_the_folder_is_executed_or_written(tmp_path: Path, call: Call) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(run)
    (run.folder / "space.py").write_text("raise SystemExit('executed')\n")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    run.folder.chmod(0o500)
    try:
        assert call("status", run.folder)[0] == 0
    finally:
        run.folder.chmod(0o700)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_a_task_of_its_own_is_read_with_trust(tmp_path: Path, call: Call) -> None:
    run = make_run(tmp_path, trials=2, task="invnas.tasks.classification.Classification")  # as if it were a user's
    with run.locked():
        go(run)
    code, out, err = call("status", run.folder)
    assert (code, out) == (2, "")
    assert "it needs trust to be read (status with --trust, " in err
    code, out, err = call("status", run.folder, "--trust")
    assert (code, err) == (0, "")
    assert "search: 2 of 2 trials done" in out


SEARCHES = """
import sys, time
from pathlib import Path
from invnas.run import Run
from invnas.search.board import Board
from invnas.search.status_file import StatusFile
from search.cheap import CheapEngine, go

run, board = Run.open(sys.argv[1]), Board(4)
def follow(event):
    board(event)
    while Path(sys.argv[1], "hold").exists() and getattr(event, "epoch", 0) == 2 and event.trial.number == 1:
        time.sleep(0.02)
with run.locked(), StatusFile(run.folder, board):
    go(run, CheapEngine(epochs=4), on_event=follow)
"""


def started(*words: Any) -> subprocess.Popen[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def searching(tmp_path: Path) -> Any:
    """A search in another process that waits in epoch 2 of trial 1 until its file `hold` is gone."""
    run = make_run(tmp_path, trials=4)
    (run.folder / "hold").touch()
    child = started("-c", SEARCHES, run.folder)
    end = time.monotonic() + 180
    while not ((found := status_of(Run.open(run.folder, trust=False))).running and found.running[0].epoch == 2):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    yield run, child
    child.kill()
    child.communicate()


def test_watch_follows_another_process_to_the_end_of_its_search(searching: Any) -> None:
    run, child = searching
    watcher = started("-m", "invnas", "status", run.folder, "--watch", "--json")
    assert watcher.stdout is not None
    first = json.loads(watcher.stdout.readline())
    assert first["process"]["number"] == child.pid
    assert first["trials"] == {"complete": 1, "stopped": 0, "failed": 0, "running": 1}
    assert (first["running"][0]["trial"], first["running"][0]["epoch"]) == (1, 2)
    (run.folder / "hold").unlink()
    out, err = watcher.communicate(timeout=180)
    assert (watcher.returncode, err) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["process"], last["trials"]["complete"]) == (None, 4)


def test_ctrl_c_ends_the_watch_and_not_the_search(searching: Any) -> None:
    run, child = searching
    watcher = started("-m", "invnas", "status", run.folder, "--watch")
    assert watcher.stdout is not None
    assert f"process {child.pid} on " in watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=180)
    assert (watcher.returncode, err) == (1, "invnas: stopped by SIGINT\n")
    assert child.poll() is None


def test_a_killed_search_is_nobody(searching: Any) -> None:
    run, child = searching
    child.kill()
    child.communicate()
    found = status_of(Run.open(run.folder))
    assert (found.holder, found.standing) == (None, None)
    assert "interrupted: trial 1: epoch 2 of 4, train loss 0.5" in found.lines()


def test_a_search_that_was_ended_is_done_and_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=9)
    with run.locked():
        go(run, trials=3)
        run.end("converged after 3 trials: nothing adds much")
    found = status_of(Run.open(run.folder, trust=False))
    assert (found.wanted, next(found.lines())) == (3, f"{run.folder}: done")
    assert list(found.lines())[-1] == "note: the search was ended, converged after 3 trials: nothing adds much"
