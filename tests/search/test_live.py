from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from invnas.measurement import Measurement, Trial
from invnas.search.live import LiveView
from search.cheap import CheapEngine, go, make_run, measure


def shown(tmp_path: Path, terminal: bool, **options: bool) -> str:
    def outcome(trial: Trial) -> Measurement | str:
        return "loss is [NaN] after epoch 1" if trial.number == 2 else measure(trial)

    run = make_run(tmp_path, sampler="evolution", trials=40)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110)
    with LiveView(40, ("top1", "macs"), console=console, **options) as view, run.locked():
        go(run, CheapEngine(outcome=outcome), on_event=view)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_terminal_shows_progress_front_rejections_and_failures(tmp_path: Path) -> None:
    text = shown(tmp_path, terminal=True)
    for words in (
        "32/40",
        "left",
        "front:",
        "hypervolume",
        "rejected before training",
        "known",
        "trial 2: loss is [NaN]",
    ):
        assert words in text


def test_elsewhere_one_plain_line_per_finished_trial(tmp_path: Path) -> None:
    lines = shown(tmp_path, terminal=False).splitlines()
    assert len(lines) == 32
    assert lines[0].startswith("search 1/40: trial 0 top1 0.")
    assert lines[2] == "search 3/40: trial 2 failed: loss is [NaN] after epoch 1"


def test_quiet_shows_nothing(tmp_path: Path) -> None:
    assert shown(tmp_path, terminal=True, quiet=True) == ""


def test_trials_known_before_count_but_not_for_the_time_left(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=4)
    with run.locked():
        go(run)
    found = [*run.trials(), replace(run.trials()[0], number=4, state="running", measurement=None)]
    view = LiveView(8, ("top1", "macs"), found, console=Console(file=io.StringIO()))
    assert view.seconds_left() is None
    with run.locked():
        go(run, trials=5, on_event=view)
    left = view.seconds_left()
    assert left is not None
    assert left < 60
