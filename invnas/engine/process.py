"""One worker process, as the engine holds it: its pipes, its group, its last words."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# With the search path of this process: `python -m` would put the current folder first, and a source tree there would
# shadow the installed package. So would an empty entry of that path, as notebooks, `python -c` and Ray have it: the
# package is taken from where this process has it. The lifeline comes before the imports that take seconds.
_WORKER = """import sys; sys.path[:] = [{home!r}, *{path!r}]
import invnas; sys.path[:] = {path!r}
from pathlib import Path
from invnas.engine.lifeline import hold_to
hold_to({parent})
{bind}from invnas.engine.worker import main
main(Path({folder!r}), {threads})"""

#: Whether processes can be held and let go on, in a group of their own.
PAUSES = os.name == "posix"
#: Seconds in which a killed process is gone.
_GONE = 10.0


def devices() -> list[str]:
    """Return the GPUs of this machine as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device for device in named.split(",") if device.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


class Process:
    """A process that takes jobs as lines and answers in lines.

    Args:
        slot: Its place among the workers.
        device: The GPU that it sees; None changes nothing.
        folder: The run folder.
        threads: Torch threads of a training.
        inbox: Where its lines go, each with the process; None when its pipe has ended.
        cores: Cores that it is bound to; none leaves that to the system.

    Attributes:
        used: Whether it has ended a job.
        killed: Whether it was found killed by somebody else, as the kernel does when memory runs out.
    """

    def __init__(
        self, slot: int, device: str | None, folder: Path, threads: int, inbox: Inbox, cores: Sequence[int] = ()
    ) -> None:
        self.slot, self.used, self.killed = slot, False, False
        self._log = (folder / "logs" / "workers.log").open("a+")
        home = str(Path(__file__).parents[2])
        bind = f"import os; os.sched_setaffinity(0, {tuple(cores)!r})\n" if cores else ""
        named = {"folder": str(folder), "threads": threads, "parent": os.getpid(), "bind": bind}
        code = _WORKER.format(home=home, path=sys.path, **named)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            # A group of its own: what is sent to that of the search is for the search, which then stops its workers.
            start_new_session=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                **({} if device is None else {"CUDA_VISIBLE_DEVICES": device}),
            },
        )
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, args=(inbox,), daemon=True)
        self._listener.start()

    def _listen(self, inbox: Inbox) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                if line.endswith("\n"):  # the last line of one that was killed may be a part
                    inbox.put((self, line))
        inbox.put((self, None))

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def send(self, line: str) -> None:
        """Write a line; a process that is gone says so through its own pipe."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(line + "\n")

    def kill(self) -> None:
        """Kill the process and what it started; `bury` it then."""
        if sys.platform == "win32":
            self._process.kill()
        else:
            self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the process until `proceed`; nothing where there are no such signals."""
        if sys.platform == "win32" or self.gone:
            return
        self._signal(signal.SIGSTOP)
        with suppress(ChildProcessError):
            # Until it stands; the end of one that died meanwhile is left to be read.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def proceed(self) -> None:
        """Let the process go on."""
        if sys.platform != "win32" and not self.gone:
            self._signal(signal.SIGCONT)

    def bury(self) -> str:
        """Wait for the end of a process that died or was killed, and return why it is gone."""
        assert self._process.stdin is not None
        self.kill()
        try:
            code = self._process.wait(_GONE)
        except subprocess.TimeoutExpired:  # in the kernel, such as in a driver or a file system that hangs
            return "the worker does not end, although it was killed"
        self._listener.join(_GONE)
        with suppress(OSError):
            self._process.stdin.close()
        self._log.close()
        if code == -9:
            self.killed = True
            return "the worker was killed, most likely because memory ran out"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the worker died with {how}; see logs/workers.log in the run folder"

    def _signal(self, number: int) -> None:
        if sys.platform != "win32":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


Inbox = queue.Queue[tuple[Process, str | None]]
