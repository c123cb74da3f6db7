from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from invnas.belief import Belief
from invnas.experiment import Experiment
from invnas.measurement import Measurement, Trial
from invnas.messages import Job
from invnas.objective import Objective
from invnas.search.believe import believe
from invnas.search.events import Advanced, Event, Finished, Stopped
from invnas.search.live import LiveView
from search.cheap import CheapEngine, go, make_run, measure
from search.clock import Clock


def shown(tmp_path: Path, terminal: bool, **options: bool) -> str:
    def outcome(trial: Job) -> Measurement | str:
        return "loss is [NaN] after epoch 1" if trial.number == 2 else measure(trial)

    run = make_run(tmp_path, sampler="evolution", trials=40)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110)
    with LiveView(40, Experiment().axes, console=console, **options) as view, run.locked():
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
        "invalid",
        "trial 2: loss is [NaN]",
    ):
        assert words in text


def test_references_are_counted_beside_the_front_of_the_search(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=3)
    with run.locked():
        go(run)
    front, known = run.front(), run.trials()
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    view = LiveView(2, run.experiment.axes, front=known, title="reference", console=console)
    best = replace(known[0], number=3, phase="reference", measurement=Measurement({"top1": 1.0, "loss": 0.0}))
    view(Finished(best))
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "reference" in text
    assert "1/2" in text
    assert f"front: {len(front)} of 3, hypervolume" in text


def test_the_front_shown_is_what_is_believed_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def counted(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Belief:
        looks.append(len(trials))
        return believe(trials, objectives)

    monkeypatch.setattr("invnas.search.live.believe", counted)
    clock = Clock(monkeypatch)
    run = make_run(tmp_path, trials=20)
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    view = LiveView(20, Experiment().axes, console=console)
    with run.locked():
        go(run, on_event=view)
    assert looks == [], "nothing is fitted while the search goes on"
    file = console.file
    assert isinstance(file, io.StringIO)
    console.print(view)
    assert f"{len(run.front())} of 20 as believed, {len(run.front(observed=True))} as measured" in file.getvalue()
    assert " ± " in file.getvalue()
    first = run.trials()[0]
    view(Finished(replace(first, number=99), reused=False))
    console.print(view)
    assert looks == [20], "not twice within seconds"
    clock.now += 60
    console.print(view)
    console.print(view)
    assert looks == [20, 21]


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
    view = LiveView(8, Experiment().axes, found, console=Console(file=io.StringIO()))
    assert seconds_left(view) is None
    with run.locked():
        go(run, trials=5, on_event=view)
    left = seconds_left(view)
    assert left is not None
    assert left < 60


def test_a_stopped_trial_is_done_and_on_no_front(tmp_path: Path) -> None:
    run, engine = make_run(tmp_path, trials=1), CheapEngine(epochs=4)
    console = Console(file=io.StringIO(), width=110)

    def follow(event: Event) -> None:
        engine.stop(0)
        view(event)

    with LiveView(1, Experiment().axes, console=console) as view, run.locked():
        go(run, engine, on_event=follow)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "search 1/1: trial 0 stopped after 1 of 4 epochs\n"


def test_a_line_says_that_batches_were_split(tmp_path: Path) -> None:
    run, console = make_run(tmp_path, trials=1), Console(file=io.StringIO(), width=200)
    engine = CheapEngine(outcome=lambda job: replace(measure(job), micro_batches=2))
    with LiveView(1, Experiment().axes, console=console) as view, run.locked():
        go(run, engine, on_event=view)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith(", 0.5 s, batches in 2 parts: memory ran out)\n")


def seconds_left(view: LiveView) -> float | None:
    now = view.board.standing()
    return None if now.finish is None else now.finish - now.time


def started(tmp_path: Path) -> Trial:
    run = make_run(tmp_path, trials=1)
    with run.locked():
        go(run)
    return replace(run.trials()[0], state="running", measurement=None)


def test_the_time_left_is_known_after_an_epoch_and_counts_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, clock = started(tmp_path), Clock(monkeypatch)
    with LiveView(4, Experiment().axes, console=Console(file=io.StringIO())) as view:
        view(Advanced(trial, 0, 10, {}))
        assert seconds_left(view) is None
        clock.now = 5.0
        view(Advanced(trial, 1, 10, {}))
        assert seconds_left(view) == pytest.approx(39 * 5)
        clock.now = 8.0
        assert seconds_left(view) == pytest.approx(39 * 5 - 3)
        clock.now = 1000.0
        assert seconds_left(view) == 0.0


def test_epochs_of_an_earlier_call_are_not_taken_for_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, clock = started(tmp_path), Clock(monkeypatch)
    with LiveView(1, Experiment().axes, console=Console(file=io.StringIO())) as view:
        view(Advanced(trial, 0, 10, {}))
        clock.now = 5.0
        view(Advanced(trial, 8, 10, {}))
        assert seconds_left(view) == pytest.approx(10)


def test_a_log_that_stands_still_is_told_how_far_a_trial_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, clock = started(tmp_path), Clock(monkeypatch)
    file = io.StringIO()
    with LiveView(4, Experiment().axes, console=Console(file=file)) as view:
        for epoch in range(11):
            clock.now = 10.0 * epoch
            view(Advanced(trial, epoch, 10, {"train_loss": 1.25}))
    assert file.getvalue().splitlines() == ["search 0/4: trial 0: epoch 6 of 10, train loss 1.25"]


def test_a_terminal_shows_the_epochs_of_running_trials(tmp_path: Path) -> None:
    trial = started(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    view = LiveView(4, Experiment().axes, console=console)
    view(Advanced(trial, 3, 10, {"train_loss": 1.25}))
    console.print(view)
    assert "trial 0: epoch 3 of 10, train loss 1.25" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_names_hosts_gpus_rates_the_end_and_what_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, clock = started(tmp_path), Clock(monkeypatch)
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    view = LiveView(400, Experiment().axes, console=console)
    for number in range(1, 7):
        view(Advanced(replace(trial, number=number), 0, 10, {}, "node1", f"cuda:{number % 2}"))
    clock.now = 36.0
    view(Advanced(replace(trial, number=1), 5, 10, {"train_loss": 1.25}, "node1", "cuda:1"))
    view(Stopped(replace(trial, number=2, state="stopped", measurement=Measurement({"top1": 0.5}, 2, 10))))
    clock.now = 72.0
    console.print(view)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "1/400",
        "1 stopped",
        "110 trials and 100 epochs an hour, 2 GPUs in use, on node1 (cuda:0, cuda:1)",
        "epoch 5 of 10, train loss 1.25 on node1 (cuda:1)",
        "and 1 more run",
        "about 3 h 36 min left, until ",
    ):
        assert words in text
