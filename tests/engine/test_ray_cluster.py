"""Connecting to Ray: what cannot be is said before anything is written; the command line goes there and back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from engine.acting import until
from invnas.cli import main
from invnas.engine.ray import cluster
from invnas.engine.ray.cluster import Share
from invnas.run import Run

pytest.importorskip("ray")
TINY = ("--recipe.epochs", "1", "--recipe.threads", "1", "--data.init_args.batch_size", "256")


@pytest.mark.parametrize(
    ("share", "node", "slots"),
    [
        (Share(1, 0), {}, 0),
        (Share(1, 0), {"CPU": 4.0}, 4),
        (Share(1, 0.25), {"CPU": 16.0, "GPU": 2.0}, 8),
        (Share(4, 0.25), {"CPU": 16.0, "GPU": 2.0}, 4),
        (Share(1, 1), {"CPU": 16.0}, 0),
        (Share(0, 0.1), {"GPU": 1.0}, 10),  # ten tenths, whatever 1 / 0.1 is in floats
        (Share(0, 0), {"CPU": 3.0}, 3),
    ],
)
def test_trainings_that_fit_on_a_node(share: Share, node: dict[str, float], slots: int) -> None:
    assert share.slots(node) == slots


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> str:
    began = time.monotonic()
    folder = tmp_path / "run"
    assert main(["search", "digits", "--run-dir", str(folder), "--engine", "ray", *words, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("invnas: error: ")
    assert err.count("\n") == 1
    assert not folder.exists()
    assert time.monotonic() - began < 40  # 20 beside the images, on a loaded machine
    return err


def test_what_cannot_be_is_said_in_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = refused(capsys, tmp_path, "--address", f"127.0.0.1:{port}")
    assert f"nobody answers at address '127.0.0.1:{port}'" in said
    assert "host:port" in refused(capsys, tmp_path, "--address", "somewhere")
    assert "host:port" in refused(capsys, tmp_path, "--address", "ray://localhost:10001")
    said = refused(capsys, tmp_path, "--gpus-per-trial", "8")
    assert "`gpus_per_trial` is 8, but no node has more than 0 GPUs: the cluster has 1 node with 0" in said
    assert "`cpus_per_trial` is 5000" in refused(capsys, tmp_path, "--cpus-per-trial", "5000")
    assert "a part of one GPU or a whole number" in refused(capsys, tmp_path, "--gpus-per-trial", "1.5")
    assert "must not be negative" in refused(capsys, tmp_path, "--cpus-per-trial", "-1")
    said = refused(capsys, tmp_path, "--stopper", "ray.tune.schedulers.ASHAschedulr")
    assert "`ray.tune.schedulers` has no class `ASHAschedulr`; nearest: 'ASHAScheduler'" in said
    assert "it must be a TrialScheduler" in refused(capsys, tmp_path, "--stopper", "pathlib.Path")
    said = refused(capsys, tmp_path, "--stopper", "ray.tune.schedulers.ASHAScheduler", "--stopper_args", "{etta: 3}")
    assert "refuses them" in said
    assert "etta" in said

    def old(name: str) -> str:
        return "2.9.0"

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cluster, "version", old)
    assert "needs Ray 2.60 or newer, but 2.9.0 is installed" in refused(capsys, tmp_path)
    monkeypatch.setattr(cluster, "version", missing)
    assert "invnas[ray]" in refused(capsys, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "rayy"), "must be one of local, ray, but got 'rayy'; nearest: 'ray'"),
        (("--address", "auto"), "`address` is for Ray: it needs --engine ray"),
        (("--stopper", "ray.tune.schedulers.ASHAScheduler"), "it needs --engine ray"),
        (("--stopper", "halvin"), "unknown stopper 'halvin'"),
    ],
)
def test_settings_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert main(["search", "digits", "--run-dir", str(tmp_path / "run"), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_sigterm_stops_a_search_under_ray_and_it_goes_on_here_and_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    words = ["search", "digits", "--run-dir", folder, "--trials", "4", "--workers", "1", "--engine", "ray"]
    words += [*TINY[2:], "--recipe.epochs", "6"]
    code = "import sys; from invnas.cli import main; sys.exit(main(sys.argv[1:]))"
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stderr=subprocess.PIPE, text=True)

    def at_work() -> bool:
        assert child.poll() is None
        if not (folder / "run.json").is_file():
            return False
        trials = Run.open(folder).trials()
        return len(trials) > 1 and (folder / "checkpoints" / str(trials[-1].number) / "last.ckpt").is_file()

    until(at_work)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 1
    assert "continue with: invnas resume" in child.communicate()[1]
    before = [trial for trial in Run.open(folder).trials() if trial.state == "complete"]
    assert before

    assert main(["resume", str(folder), "--engine", "local", "--trials", "3", "--json", "--quiet"]) == 2  # it has 4
    capsys.readouterr()
    assert main(["resume", str(folder), "--engine", "local", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == 4
    run = Run.open(folder)
    assert run.experiment.engine == "local"
    assert all(trial in run.trials() for trial in before)

    assert main(["resume", str(folder), "--engine", "ray", "--trials", "+1", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == 5
    assert Run.open(folder).experiment.engine == "ray"


def test_promote_trains_stopped_ones_to_the_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words: list[Any] = ["search", "digits", "--run-dir", folder, "--trials", "6", "--stopper", "halving", *TINY[2:]]
    words += ["--recipe.epochs", "2", "--stopper_args", "{eta: 2, images: 0}", "--workers", "1", "--quiet"]
    assert main([str(word) for word in words]) == 0
    stopped = [trial for trial in Run.open(folder).trials() if trial.state == "stopped"]
    assert stopped
    assert main(["resume", str(folder), "--promote", "99", "--quiet"]) == 2
    assert f"at most the stopped trials that were not continued, {len(stopped)}" in capsys.readouterr().err
    assert main(["resume", str(folder), "--promote", "-1", "--quiet"]) == 2
    capsys.readouterr()
    assert main(["resume", str(folder), "--promote", "1", "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["trials"]
    run = Run.open(folder)
    last = run.trials()[-1]
    assert found["running"] == 0
    assert (last.state, last.continues in {trial.number for trial in stopped}) == ("complete", True)
    assert last.measurement is not None
    assert last.measurement.epochs == 2
    assert len(run.trials()) == 7
    assert os.path.getsize(run.weights_path(last.number)) > 0
