from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from invnas.errors import BadInput
from invnas.lock import holder_of, holding

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def held_by(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a process that holds a folder and runs lines of code meanwhile; its first line of output is awaited."""
    lines = ["import os, sys, time", "from pathlib import Path", "from invnas.lock import holding",
             "with holding(Path(sys.argv[1])):", *(f"    {line}" for line in code.splitlines())]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines), str(folder)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with holding(tmp_path):
        with pytest.raises(BadInput, match=f"in use by process {os.getpid()}: wait"), holding(tmp_path):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == ["holder", "lock"]
    with holding(tmp_path):
        pass


def test_a_kill_lets_go(tmp_path: Path) -> None:
    child = held_by(tmp_path, "print(1, flush=True)\ntime.sleep(60)")
    try:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(BadInput, match=f"in use by process {child.pid}:"), holding(tmp_path):
            pass
    finally:
        end(child)
    with holding(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_keeps_nothing_and_ends_nothing(tmp_path: Path) -> None:
    """A child that leaves the block must not let go of what its parent holds; of a killed parent nothing is held."""
    code = (
        "if os.fork() == 0:\n    raise SystemExit(0)\n"
        "os.wait()\n"
        # The child says it, when it is past what happens at a fork.
        "if os.fork() == 0: print(os.getpid(), flush=True); time.sleep(60); os._exit(0)\n"
        "time.sleep(60)"
    )
    parent = held_by(tmp_path, code)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        with pytest.raises(BadInput, match=f"in use by process {parent.pid}:"), holding(tmp_path):
            pass
        parent.kill()
        parent.wait()
        with holding(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGTERM)
        end(parent)


def test_hooks_do_not_grow_with_every_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holding(tmp_path):  # what is registered once for all
        pass
    hooks: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **hook: hooks.append(hook), raising=False)
    for _ in range(3):
        with holding(tmp_path):
            pass
    assert hooks == []


def test_a_folder_that_is_gone_or_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match=r"cannot write the run folder .*: there is no such folder"),
        holding(tmp_path / "gone"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    for taken in ("lock", "holder"):
        folder = tmp_path / f"with_{taken}"
        (folder / taken).mkdir(parents=True)
        with pytest.raises(BadInput, match=r"cannot write the run folder .*: Is a directory"), holding(folder):
            pass
        (folder / taken).rmdir()
        with holding(folder):  # what was refused holds nothing
            pass


def test_what_fails_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), holding(tmp_path):
        raise KeyboardInterrupt
    with holding(tmp_path):
        pass


def test_who_holds_a_folder_is_seen_without_taking_it(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    assert holder_of(tmp_path / "gone") is None
    with holding(tmp_path):
        assert holder_of(tmp_path) == str(os.getpid())
        (tmp_path / "holder").unlink()
        assert holder_of(tmp_path) == "unknown"
    assert holder_of(tmp_path) is None


def test_a_look_at_the_lock_refuses_nobody(tmp_path: Path) -> None:
    with holding(tmp_path):
        pass
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            holder_of(tmp_path)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            with holding(tmp_path):
                pass
    finally:
        over.set()
        looking.join()
