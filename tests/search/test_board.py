from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas.architecture import Architecture, Convolution
from invnas.measurement import Cost, Measurement, Trial
from invnas.search.board import Board, Running, Standing, finish_words
from invnas.search.events import Advanced, Event, Failed, Finished, Rejected, Started, Stopped
from search.clock import Clock


def trial(number: int = 0) -> Trial:
    return Trial(number, Architecture(Convolution()), {}, Cost.counted(10, 2, 4))


def ended(number: int, state: str = "complete", epochs: int = 4) -> Event:
    measured = replace(trial(number), state=state, measurement=Measurement({"top1": 0.5}, epochs, 4))
    if state == "failed":
        return Failed(replace(measured, measurement=None, reason="loss is NaN"))
    return Finished(measured) if state == "complete" else Stopped(measured)


def told(number: int, epoch: int, host: str = "a", device: str = "cpu", **values: float) -> Advanced:
    return Advanced(trial(number), epoch, 4, values, host, device)


def test_nothing_is_known_before_anything_happens() -> None:
    board = Board(3)
    found = board.standing()
    assert (board.done, found.running, found.trials_per_hour, found.finish, found.pace) == (0, (), None, None, "")
    assert (found.phase, found.process, found.gpus) == ("search", os.getpid(), 0)
    assert Board(0).standing().finish is None


def test_each_end_is_counted_as_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(9, [replace(trial(7), state="stopped"), trial(8)])
    for event in (Rejected("cap", "too large"), Rejected("cap", "too large"), Rejected("known", "again")):
        board(event)
    for number, state in enumerate(("complete", "stopped", "failed", "failed", "failed", "failed")):
        board(Started(trial(number)))
        board(ended(number, state))
    assert board.states == {"complete": 1, "stopped": 2, "failed": 4}
    assert (board.done, board.rejected) == (7, {"cap": 2, "known": 1})
    assert board.failures == tuple(f"trial {number}: loss is NaN" for number in (3, 4, 5))
    assert board.standing().running == ()


def test_rates_count_what_this_call_has_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    board = Board(8, [replace(trial(0), state="complete")])
    board.begin()
    for event in (Started(trial(1)), Started(trial(2), resumed=True), told(1, 0), told(2, 0)):
        board(event)
    clock.now = 1800.0
    board(told(1, 1))
    board(told(2, 4))  # three of them in an earlier call
    found = board.standing()
    assert (found.trials_per_hour, found.epochs_per_hour) == (pytest.approx(2 * 0.5), pytest.approx(2 * 2))
    assert found.running[1] == Running(2, 4, 4, {}, "a", "cpu", first=3)
    clock.now = 3600.0
    for epoch in (2, 3, 4):
        board(told(1, epoch))
    board(ended(1))
    board(ended(2, "stopped"))
    found = board.standing()
    assert (found.trials_per_hour, found.epochs_per_hour) == (pytest.approx(2), pytest.approx(5))
    assert found.finish is not None
    assert found.finish - found.time == pytest.approx(5 * 1800)


def test_a_search_that_is_done_has_no_end_to_wait_for() -> None:
    board = Board(1)
    board(Started(trial(0)))
    board(told(0, 1))
    assert board.standing().finish is not None
    board(ended(0))
    assert board.standing().finish is None


def test_no_search_is_expected_to_outlast_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    board = Board(10**15)
    clock.now = 1e4
    board(told(0, 1))
    found = board.standing()
    assert found.finish is not None
    assert "left, until 2" in finish_words(found.finish, found.time)


def test_hosts_and_gpus_are_those_of_running_trials_each_once() -> None:
    board = Board(9)
    for number, where in enumerate([("b", "cuda:1"), ("b", "cuda:0"), ("b", "cuda:0"), ("a", "cpu"), ("a", "cuda:0")]):
        board(told(number, 1, *where))
    board(Started(trial(8)))
    found = board.standing()
    assert found.places == {"a": ("cpu", "cuda:0"), "b": ("cuda:0", "cuda:1")}
    assert found.gpus == 3
    assert found.pace.endswith("3 GPUs in use, on a (cpu, cuda:0), b (cuda:0, cuda:1)")
    for number in (0, 1, 2, 3):
        board(ended(number))
    assert board.standing().pace.endswith("1 GPU in use, on a (cuda:0)")


def test_of_many_hosts_some_are_named() -> None:
    running = tuple(Running(number, 1, 4, {}, f"node{number}", "cuda:0") for number in range(9))
    pace = Standing("search", 1, "head", 0.0, running).pace
    assert pace == ("9 GPUs in use, on node0 (cuda:0), node1 (cuda:0), node2 (cuda:0), node3 (cuda:0) and 5 more hosts")


def test_a_running_trial_in_words() -> None:
    assert Running(3).words == "trial 3: no epoch known"
    assert Running(3, 1, 4, {"train_loss": 1.25}).words == "trial 3: epoch 1 of 4, train loss 1.25"
    assert Running(3, 0, 4, {}, "a", "cuda:0").words == "trial 3: epoch 0 of 4 on a (cuda:0)"


@given(
    st.lists(
        st.builds(
            Running,
            st.integers(0, 9),
            st.integers(0, 9),
            st.integers(0, 9),
            st.dictionaries(st.text(), st.floats(allow_nan=False)),
            st.text(),
            st.text(),
        )
    ),
    st.none() | st.floats(0, 1e6),
)
def test_a_standing_survives_json(running: list[Running], rate: float | None) -> None:
    found = Standing("search", 1, "host", 2.5, tuple(running), rate, rate, rate)
    assert Standing.from_dict(json.loads(json.dumps(found.to_dict()))) == found
