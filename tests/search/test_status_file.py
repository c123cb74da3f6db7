from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invnas.errors import BadInput
from invnas.search import status_file
from invnas.search.board import Board
from invnas.search.events import Started
from invnas.search.status_file import StatusFile
from search.test_board import told, trial


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def running(folder: Path) -> list[tuple[int, int]]:
    found = StatusFile.read(folder)
    return [] if found is None else [(one.trial, one.epoch) for one in found.running]


def test_before_and_after_a_search_there_is_a_whole_file(tmp_path: Path) -> None:
    assert StatusFile.read(tmp_path) is None
    board = Board(1)
    with StatusFile(tmp_path, board):
        assert running(tmp_path) == []
        board(told(0, 2))
    assert running(tmp_path) == [(0, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_what_happens_is_written_while_the_search_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_file, "_PAUSE", 0.02)
    board = Board(2)
    with StatusFile(tmp_path, board):
        board(Started(trial(0)))
        board(told(0, 1))
        until(lambda: running(tmp_path) == [(0, 1)])
        board(told(1, 3))
        until(lambda: running(tmp_path) == [(0, 1), (1, 3)])


def test_it_is_written_seldom_and_only_when_something_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = status_file.write_text
    monkeypatch.setattr(status_file, "write_text", lambda *args, **kw: (written.append(kw), write(*args, **kw)))
    board = Board(2)
    with StatusFile(tmp_path, board):
        for epoch in range(100):
            board(told(0, epoch))
    assert len(written) == 2
    assert not any(kw["durable"] for kw in written)  # no waiting for the disk
    file = StatusFile(tmp_path, board)
    for _ in range(3):
        file._write()
    assert len(written) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_no_search_ends_because_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: Any, **kw: Any) -> None:
        raise OSError(number, "no")

    board = Board(2)
    monkeypatch.setattr(status_file, "write_text", refuse)
    with StatusFile(tmp_path, board):
        board(told(0, 1))
    assert not list(tmp_path.iterdir())
    with StatusFile(tmp_path / "gone", board):
        board(told(0, 2))


RUNNING = {"trial": 1, "epoch": 2, "of": 3, "values": {}, "host": "", "device": "", "first": None}
WHOLE = {"phase": "search", "process": 1, "host": "a", "time": 0, "running": [RUNNING],
         "trials_per_hour": None, "epochs_per_hour": None, "finish": 5}  # fmt: skip
BROKEN = [
    {**WHOLE, "process": "x"},
    {**WHOLE, "running": 3},
    {**WHOLE, "running": [{}]},
    {**WHOLE, "running": [{**RUNNING, "values": {"top1": "high"}}]},
    {**WHOLE, "running": [{**RUNNING, "values": 3}]},
    {**WHOLE, "running": [{**RUNNING, "epoch": None}]},
    {**WHOLE, "trials_per_hour": "many"},
    {**WHOLE, "finish": 1e30},
    {**WHOLE, "finish": float("nan")},
]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", *map(json.dumps, BROKEN)])
def test_what_is_torn_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(json.dumps(WHOLE))
    assert running(tmp_path) == [(1, 2)]
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(BadInput, match=r"status\.json is malformed: "):
        StatusFile.read(tmp_path)
