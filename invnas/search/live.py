"""What a user sees while a search runs: a live view in a terminal, one plain line per finished trial elsewhere."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invnas.measurement import Trial
from invnas.pareto import box, front, hypervolume, values_of
from invnas.search.events import Event, Failed, Finished, Rejected

if TYPE_CHECKING:
    from rich.console import Console

_FRONT_ROWS, _FAILURES = 8, 3


class LiveView:
    """Follows the events of a search; pass it as `on_event`, inside a `with`.

    Args:
        trials: Finished trials the search shall reach.
        objectives: Names of the axes of the front.
        found: Trials of this phase known before.
        caps: Largest cost by objective, for the hypervolume.
        title: What runs, such as "search".
        quiet: Show nothing.
        console: Where to show it; standard error by default.
    """

    def __init__(
        self,
        trials: int,
        objectives: tuple[str, ...],
        found: Sequence[Trial] = (),
        *,
        caps: Mapping[str, float | None] | None = None,
        title: str = "search",
        quiet: bool = False,
        console: Console | None = None,
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._total, self._objectives, self._caps, self._title, self._quiet = trials, objectives, caps, title, quiet
        self._complete = [trial for trial in found if trial.state == "complete"]
        self._done = self._before = sum(trial.state != "running" for trial in found)
        self._rejected: Counter[str] = Counter()
        self._failures: deque[str] = deque(maxlen=_FAILURES)
        self._began = time.monotonic()
        self._console = console or Console(stderr=True)
        shown = self._console.is_terminal and not quiet
        self._live = Live(self, console=self._console, refresh_per_second=2) if shown else None

    def __enter__(self) -> LiveView:
        self._began = time.monotonic()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Rejected):
            self._rejected[event.kind] += 1
        elif isinstance(event, Finished | Failed):
            self._done += 1
            if isinstance(event, Finished):
                self._complete.append(event.trial)
            else:
                self._failures.append(f"trial {event.trial.number}: {event.trial.reason}")
            if self._live is None and not self._quiet:
                self._console.print(self._line(event), markup=False, highlight=False, soft_wrap=True)

    def _line(self, event: Finished | Failed) -> str:
        trial, head = event.trial, f"{self._title} {self._done}/{self._total}: trial {event.trial.number}"
        if trial.measurement is None:
            return f"{head} failed: {trial.reason}"
        values = ", ".join(f"{name} {_shown(getattr(trial.measurement, name))}" for name in self._objectives)
        how = (
            "measured before"
            if isinstance(event, Finished) and event.reused
            else f"{trial.measurement.train_seconds:.1f} s"
        )
        return f"{head} {values} ({trial.architecture.kind}, {how})"

    def seconds_left(self) -> float | None:
        """Return the expected seconds until the end, or None before the first trial of this call is done."""
        done = self._done - self._before
        return (time.monotonic() - self._began) / done * (self._total - self._done) if done else None

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        left = self.seconds_left()
        head = Table.grid(padding=(0, 1))
        eta = "" if left is None else f"about {int(left) // 60}:{int(left) % 60:02d} left"
        head.add_row(self._title, ProgressBar(self._total, self._done, width=40), f"{self._done}/{self._total}", eta)
        refused = ", ".join(f"{number} {kind}" for kind, number in sorted(self._rejected.items()))
        lines = [Text(f"rejected before training: {refused}")] if refused else []
        failures = [Text(f"failed: {failure}", style="red") for failure in self._failures]
        return Group(head, *([self._front_table()] if self._complete else []), *lines, *failures)

    def _front_table(self) -> Any:
        from rich.table import Table

        points = front(self._complete, self._objectives)
        share = hypervolume(
            values_of(points, self._objectives), self._objectives, box(self._complete, self._objectives, self._caps)
        )
        table = Table(
            title=f"front: {len(points)} of {len(self._complete)}, hypervolume {share:.3f}", title_justify="left"
        )
        for name in ("trial", "kind", *self._objectives):
            table.add_column(name, justify="right")
        # The accurate end of a long front: the cheap end is rarely what one waits for.
        for trial in points[-_FRONT_ROWS:]:
            values = (_shown(getattr(trial.measurement, name)) for name in self._objectives)
            table.add_row(str(trial.number), trial.architecture.kind, *values)
        return table


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
