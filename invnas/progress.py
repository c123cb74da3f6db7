"""How far a long task is: a bar in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from invnas.in_place import InPlace, in_notebook

if TYPE_CHECKING:
    from rich.console import Console

# Seconds between two plain lines.
_PAUSE = 10.0


class ProgressBar:
    """Steps of a task on standard error, with the time that is left; use it inside a `with`.

    Args:
        title: What runs.
        total: Steps of the whole task.
        quiet: Show nothing.
        console: Where to show it; standard error by default.
    """

    def __init__(self, title: str, total: int, *, quiet: bool = False, console: Console | None = None) -> None:
        from rich.console import Console

        self._title, self._total, self._quiet = title, total, quiet
        self._console = console or Console(stderr=True)
        self._done = self._skipped = 0
        self._began, self._said = time.monotonic(), -_PAUSE
        self._bar: Any = None
        self._place = InPlace(lambda: self._bar) if console is None and not quiet and in_notebook() else None

    def __enter__(self) -> ProgressBar:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._began = time.monotonic()
        if (self._console.is_terminal and not self._quiet) or self._place:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            left = TextColumn("{task.fields[left]}")
            self._bar = Progress(*columns, left, console=self._console, refresh_per_second=2)
            self._bar.add_task(self._title, total=self._total, left="")
            (self._place or self._bar).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            (self._place or self._bar).stop()

    def skip(self, steps: int) -> None:
        """Count steps that were done by an earlier call: they say nothing about the time of the others."""
        self._done += steps
        self._skipped += steps

    def step(self, said: str, *, last: bool = False) -> None:
        """Count a step.

        Args:
            said: Where the task is, such as "seed 1, epoch 3 of 30".
            last: Whether it ends a part, so that a plain line is due.
        """
        self._done += 1
        if self._bar is not None:
            self._bar.update(0, completed=self._done, description=f"{self._title}: {said}", left=self._left())
            if self._place:
                self._place.refresh()
        elif not self._quiet and (last or time.monotonic() - self._said >= _PAUSE):
            self._said = time.monotonic()
            line = f"{self._title} {self._done}/{self._total}: {said}, {self._left()}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end, if the rest is as fast as what was done; None before the first step."""
        done = self._done - self._skipped
        return (time.monotonic() - self._began) / done * (self._total - self._done) if done else None

    def _left(self) -> str:
        left = int(self.seconds_left or 0)
        return f"about {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
