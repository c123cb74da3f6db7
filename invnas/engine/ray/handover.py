"""Actors go from one job to the next: an order in which Tune keeps them, instead of making others in vain.

Tune keeps one actor whose trial has ended, and a further one only for a trial that waits. One that waits has an actor
made for it where there is room, and that one is thrown away half made as soon as a kept one can serve. An actor takes
seconds to be made, torch alone is three. So an actor that is done waits at the door until its next job is with Tune.
Where there is room for others, it goes first, and its next job begins when it has gone. None goes while one is made.
"""

from __future__ import annotations

import threading
import time
from typing import Any

#: Seconds in which an actor is made where there is room for it.
STARTING = 10.0


class Handover:
    """Which actors are done and wait to go, and which jobs may begin; told by the search and by the thread of Tune.

    `full` says that the trainings fill the cluster: no actor is made for a trial that waits, so all go at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.leaving: list[int] = []
        self._going: set[int] = set()
        self._kept = 0
        self._made: dict[int, float] = {}

    def done(self, number: int, dead: bool = False) -> None:
        """Take note that a job has ended: its actor waits at the door, unless it is dead."""
        with self._lock:
            self._made.pop(number, None)
            if not dead:
                self.leaving.append(number)

    def let_go(self, desk: Any, full: bool) -> None:
        """Let the next actors go, unless others are being made."""
        with self._lock:
            recent = time.monotonic() - STARTING
            made = sum(since > recent for since in self._made.values())
            if not self.leaving or (made > len(self.leaving) if full else made or self._going):
                return
            go = len(self.leaving) if full else 1
            now, self.leaving = self.leaving[:go], self.leaving[go:]
            self._going |= set(now)
            desk.let_go.remote(now)

    def may_begin(self, waiting: int, full: bool) -> bool:
        """Tell whether one of so many waiting jobs may be given to Tune: the others are for the actors at the door."""
        with self._lock:
            return full or self._kept > 0 or waiting == 0 or waiting > len(self.leaving) + len(self._going)

    def given(self, number: int, full: bool) -> None:
        """Take note that Tune has a job: a kept actor serves it, or one is made."""
        with self._lock:
            if self._kept and not full:
                self._kept -= 1
            else:
                self._made[number] = time.monotonic()

    def begun(self, number: int) -> None:
        """Take note that a job has an actor."""
        with self._lock:
            self._made.pop(number, None)

    def gone(self, number: int) -> None:
        """Take note that Tune is done with a trial: where no trial waits for its actor, it is kept."""
        with self._lock:
            self._made.pop(number, None)
            if number in self.leaving:  # its patience was over
                self.leaving.remove(number)
            if number in self._going:
                self._going.discard(number)
                self._kept = 1  # Tune keeps one
