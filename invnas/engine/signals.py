"""What SLURM, `timeout` and a closed terminal send is Ctrl-C's equal: the search stops, says so and can be resumed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds in which a stop is under way: a second Ctrl-C shall not break it off.
STOPPING = 5.0


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Make a KeyboardInterrupt of SIGINT, SIGTERM and SIGHUP.

    A signal that somebody handles or ignores (nohup) stays as it is. Elsewhere than in the main thread, where Python
    sets no handlers, nothing is done.
    """
    last = float("-inf")

    def stop(number: int, frame: object) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > STOPPING:
            raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
    taken = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in ((getattr(signal, name, None), handler) for name, handler in usual.items()):
            if number is not None and signal.getsignal(number) == handler:
                taken[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
