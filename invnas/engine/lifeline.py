"""A worker ends with the process that started it, whatever it is doing: nobody would read what it still finds out.

On Linux the kernel kills it, in a C loop that never lets go of Python's lock too, and with it the processes it forks
(loaders of images). Elsewhere a thread watches.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from os import _exit  # the one that nobody can replace meanwhile

_PR_SET_PDEATHSIG = 1
#: Seconds between two looks at the parent.
LOOK = 0.5


def hold_to(parent: int) -> None:
    """End this process when its parent is gone; call it first, in a process that leads its own group.

    Args:
        parent: Process number of the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which then stops its workers
    # A library (Lightning) that finds a handler calls it; where it finds none the signal would pass as an exception.
    signal.signal(signal.SIGTERM, lambda number, _: _exit(128 + number))
    if sys.platform == "linux":
        _die_with_parent()
        by_main = [False]

        def note() -> None:
            # The kernel means the thread that forks: one that ends early would take its children along.
            by_main[0] = threading.current_thread() is threading.main_thread()

        def follow() -> None:
            if by_main[0]:
                _die_with_parent()

        os.register_at_fork(before=note, after_in_child=follow)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _die_with_parent() -> None:
    if sys.platform != "win32":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    end_group()


def end_group() -> None:
    """End this process and those it started, without a word."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    _exit(1)
