"""The journal of a run in optuna-dashboard: the real server, asked as its page asks."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from search.cheap import CheapEngine, go, make_run, measure

from invnas.measurement import Measurement
from invnas.messages import Job
from invnas.run import Run

pytest.importorskip("optuna_dashboard")

_BEGIN = "from optuna_dashboard._cli import main; main()"  # what its `optuna-dashboard` runs


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a baseline, in which a trial failed, one was stopped and one runs."""

    def outcome(job: Job) -> Measurement | str:
        return "loss is NaN" if job.number == 2 else measure(job)

    made, engine = make_run(tmp_path, trials=5), CheapEngine(outcome=outcome, epochs=3)
    engine.stop(1)
    with made.locked():
        go(made, engine)
        go(made, phase="random", trials=2)
        last = made.trials()[0]
        made.start(last.architecture, last.decisions, last.cost)
    return made


@pytest.fixture
def server(run: Run) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", _BEGIN, "--host", "127.0.0.1", "--port", str(port), str(run.folder / "journal.log")]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address, end = f"http://127.0.0.1:{port}/api/studies", time.monotonic() + 180
    try:
        while not answers(port):
            assert child.poll() is None, child.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.05)
        yield address
    finally:
        child.kill()
        child.communicate()


def answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def ask(address: str) -> Any:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(address, timeout=30) as answer:
        return json.load(answer)


def test_it_shows_both_studies_and_every_trial(run: Run, server: str) -> None:
    before = (run.folder / "journal.log").read_bytes()
    studies = {study["study_name"]: study for study in ask(server)["study_summaries"]}
    assert set(studies) == {"search", "random"}
    assert studies["search"]["directions"] == ["maximize", "minimize"]
    shown = ask(f"{server}/{studies['search']['study_id']}")
    assert [trial["state"] for trial in shown["trials"]] == [
        "Complete", "Pruned", "Fail", "Complete", "Complete", "Running",
    ]  # fmt: skip
    first = run.trials()[0]
    assert shown["trials"][0]["values"] == list(first.values(run.experiment.axes))
    assert {"stem.width", "stages.0.width"} <= {one["name"] for one in shown["trials"][0]["params"]}
    reasons = [fact["value"] for fact in shown["trials"][2]["user_attrs"] if fact["key"] == "reason"]
    assert reasons == ["loss is NaN"]
    assert len(ask(f"{server}/{studies['random']['study_id']}")["trials"]) == 2
    assert (run.folder / "journal.log").read_bytes() == before
