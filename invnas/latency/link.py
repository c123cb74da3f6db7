"""How the runner is reached: a process here, or one on another host by ssh, with its answers in time or a sentence."""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from invnas.errors import BadInput, InvnasError
from invnas.latency.runner import ANSWER
from invnas.latency.settings import Host

#: Seconds in which a host answers, a runtime is loaded there, and a network is timed.
ANSWERS, LOADS, TIMES = 10.0, 120.0, 600.0

# The runner comes through the pipe like all else: nothing is laid on the disk of another machine.
_BOOT = "import sys; b = sys.stdin.buffer; exec(compile(b.read(int(b.readline())), 'runner.py', 'exec'))"
_SSH = (
    "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={ANSWERS:.0f}", "-o", "ServerAliveInterval=10",
    "-o", "ServerAliveCountMax=3",
)  # fmt: skip

#: The words that run a line of Python where the networks shall run.
Reach = Callable[[str], list[str]]


def here(code: str) -> list[str]:
    """Return the command of this Python, with the search path of this process."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]


def by_ssh(host: Host) -> Reach:
    """Return the command of a Python on another host.

    Raises:
        BadInput: If there is no ssh on this machine.
    """
    if shutil.which("ssh") is None:
        raise BadInput(f"`latency.on`: ssh is not installed on this machine, so {host.name} cannot be reached")
    port = ["-p", str(host.port)] if host.port else []
    user = ["-l", host.user] if host.user else []
    return lambda code: ["ssh", *_SSH, *port, *user, "--", host.name, shlex.join([host.python, "-c", code])]


class Lost(InvnasError):
    """The runner is gone, or does not answer."""


class Link:
    """A runner that is asked and answers.

    Args:
        reach: How to reach it.
        name: What its machine is called in sentences.

    Attributes:
        greeting: What the runner says first: system and processor.

    Raises:
        BadInput: If nobody answers within `ANSWERS` seconds.
    """

    def __init__(self, reach: Reach, name: str) -> None:
        self._name, self._said = name, tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._process = subprocess.Popen(
            reach(_BOOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # Ctrl-C is for the search, which then ends the runner
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        text = Path(__file__).with_name("runner.py").read_bytes()
        try:
            self._send(b"%d\n%s" % (len(text), text))
            self.greeting = self._answer(ANSWERS)
        except Lost as lost:
            self.close()
            raise BadInput(f"`latency.on`: {lost}") from None

    def ask(self, do: str, facts: Mapping[str, Any], *given: bytes, seconds: float = TIMES) -> dict[str, Any]:
        """Return the answer to a request.

        Args:
            do: What is asked.
            facts: Its arguments, plain JSON data.
            given: Bytes that go with it.
            seconds: How long the answer may take.

        Raises:
            Lost: If there is none.
        """
        head = json.dumps({**facts, "do": do, "bytes": [len(one) for one in given]}).encode()
        self._send(b"".join([head, b"\n", *given]))
        return self._answer(seconds)

    def close(self) -> None:
        """End the runner."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        if sys.platform == "win32":
            self._process.kill()
        else:  # with what a shell has started in between, which would hold the pipe
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        self._said.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                text = line.decode("utf-8", "replace")
                if text.startswith(ANSWER):  # a shell there may print lines of its own
                    self._lines.put(text.removeprefix(ANSWER))
        self._lines.put(None)

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # the end of the answers says why
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise Lost(f"{self._name} did not answer within {seconds:.0f} s") from None
        if line is None:
            raise Lost(f"{self._name} did not answer{self._last_words()}")
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
        raise Lost(f"{self._name} answered {line[:60]!r}, which is no answer of the runner")

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        time.sleep(0.01)
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""
