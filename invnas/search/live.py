"""What a user sees while a search runs: a live view in a terminal, one plain line per finished trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invnas.belief import Belief
from invnas.caps import Caps
from invnas.fixed_box import Ends, fixed_box
from invnas.in_place import InPlace, in_notebook
from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.pareto import RunningFront, hypervolume, values_of
from invnas.search.believe import believe
from invnas.search.board import Board, finish_words
from invnas.search.events import Advanced, Event, Failed, Finished, Stopped

if TYPE_CHECKING:
    from rich.console import Console

_FRONT_ROWS, _SHOWN = 8, 4
#: Seconds without a line after which a log is told how far the running trials are.
_SILENCE = 60.0
#: Seconds between two looks at what is believed, and the share of a core they may take.
_BELIEVED_EVERY, _BELIEVED_SHARE = 5.0, 0.05


class LiveView:
    """Follows the events of a search; pass it as `on_event`, inside a `with`.

    Args:
        trials: Finished trials the search shall reach.
        objectives: The axes of the front.
        found: Trials of this phase known before.
        caps: Largest cost, for the hypervolume.
        ends: Where the space ends, likewise.
        front: Trials of the search, where those of this phase have no front of their own.
        title: What runs, such as "search".
        quiet: Show nothing.
        console: Where to show it; standard error by default.

    Attributes:
        board: Where the search stands.
    """

    def __init__(
        self,
        trials: int,
        objectives: Sequence[Objective],
        found: Sequence[Trial] = (),
        *,
        caps: Caps | None = None,
        ends: Ends | None = None,
        front: Sequence[Trial] | None = None,
        title: str = "search",
        quiet: bool = False,
        console: Console | None = None,
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self.board = Board(trials, found, title)
        self._objectives, self._title, self._quiet = objectives, title, quiet
        self._front = RunningFront(objectives)
        self._caps, self._ends = caps, ends
        self._of_its_own = front is None
        shown = found if front is None else front
        self._front.add([trial for trial in shown if trial.state == "complete"])
        self._table: Any = None
        self._believed = _Believed(objectives, shown)
        self._said = time.monotonic()
        self._console = console or Console(stderr=True)
        self._live: Live | InPlace | None = None
        if not quiet and console is None and in_notebook():
            self._live = InPlace(self.__rich__)
        elif not quiet and self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=2)

    def __enter__(self) -> LiveView:
        self._said = time.monotonic()
        self.board.begin()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.board(event)
        if isinstance(self._live, InPlace):
            self._live.refresh()
        if isinstance(event, Advanced):
            self._say_progress(event)
        elif isinstance(event, Finished | Stopped | Failed):
            self._believed.add(event.trial)
            if isinstance(event, Finished):
                self._front.add([event.trial] if self._of_its_own else [])
                self._table = None
            if self._live is None and not self._quiet:
                self._said = time.monotonic()
                self._console.print(self._line(event), markup=False, highlight=False, soft_wrap=True)

    @property
    def _head(self) -> str:
        return f"{self._title} {self.board.done}/{self.board.total}"

    def _line(self, event: Finished | Stopped | Failed) -> str:
        trial, head = event.trial, f"{self._head}: trial {event.trial.number}"
        if trial.measurement is None:
            return f"{head} failed: {trial.reason}"
        if not isinstance(event, Finished):
            return f"{head} stopped after {trial.measurement.epochs} of {trial.measurement.planned_epochs} epochs"
        values = ", ".join(f"{axis.name} {axis.exact(trial.value(axis.name))}" for axis in self._objectives)
        parts = trial.measurement.micro_batches
        how = "measured before" if event.reused else f"{trial.measurement.train_seconds:.1f} s"
        split = "" if parts == 1 else f", batches in {parts} parts: memory ran out"
        return f"{head} {values} ({trial.architecture.kind}, {how}{split})"

    def _say_progress(self, event: Advanced) -> None:
        """Print a line where nothing was printed for long: a log that stands still looks like a search that hangs."""
        if self._live is not None or self._quiet or event.epoch == 0 or time.monotonic() - self._said < _SILENCE:
            return
        self._said = time.monotonic()
        running = next(one for one in self.board.running if one.trial == event.trial.number)
        self._console.print(f"{self._head}: {running.words}", markup=False, highlight=False)

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        board, now = self.board, self.board.standing()
        head = Table.grid(padding=(0, 1))
        eta = "" if now.finish is None else finish_words(now.finish, now.time)
        bar = ProgressBar(board.total, board.done, width=40)
        head.add_row(self._title, bar, f"{board.done}/{board.total}", eta)
        ended = ", ".join(f"{board.states[state]} {state}" for state in ("stopped", "failed") if board.states[state])
        refused = ", ".join(f"{number} {kind}" for kind, number in sorted(board.rejected.items()))
        said = (ended, f"rejected before training: {refused}" if refused else "", now.pace)
        lines = [Text(line) for line in said if line]
        lines += [Text(one.words, style="dim") for one in now.running[:_SHOWN]]
        lines += [Text(f"and {len(now.running) - _SHOWN} more run", style="dim")] if len(now.running) > _SHOWN else []
        failures = [Text(f"failed: {failure}", style="red") for failure in board.failures]
        return Group(head, *([self._front_table()] if self._front.seen else []), *lines, *failures)

    def _front_table(self) -> Any:
        from rich.table import Table

        belief, new = self._believed.now()
        if self._table is not None and not new:  # drawn twice a second, changed once a trial
            return self._table
        measured = self._front.trials
        complete = [trial for trial in self._believed.complete if self._of_its_own or trial.phase == "search"]
        points, how = measured, ""
        if belief.known:
            points = belief.front(complete, self._objectives)
            how = f" as believed, {len(measured)} as measured"
        reference = fixed_box(complete, self._objectives, self._caps, self._ends)
        share = hypervolume(values_of(belief.of(points), self._objectives), self._objectives, reference)
        table = Table(
            title=f"front: {len(points)} of {self._front.seen}{how}, hypervolume {share:.3f}", title_justify="left"
        )
        for name in ("trial", "kind", *(axis.name for axis in self._objectives)):
            table.add_column(name, justify="right")
        # The accurate end of a long front: the cheap end is rarely what one waits for.
        for trial in points[-_FRONT_ROWS:]:
            values = (_words(belief, trial, axis) for axis in self._objectives)
            table.add_row(str(trial.number), trial.architecture.kind, *values)
        self._table = table
        return table


def _words(belief: Belief, trial: Trial, axis: Objective) -> str:
    """Return what is believed of a trial with half its band, or what was measured where that is all there is."""
    if (one := belief.estimate(trial, axis.name)) is None:
        return axis.exact(trial.value(axis.name))
    return f"{axis.exact(one.mean)} ± {axis.exact((one.high - one.low) / 2)}"


class _Believed:
    """What is believed while a search runs: found where it is drawn, so that it never keeps the search waiting."""

    def __init__(self, objectives: Sequence[Objective], found: Sequence[Trial]) -> None:
        self._objectives = objectives
        self._trials = [trial for trial in found if trial.state != "running"]
        self._belief, self._known, self._next = Belief(), 0, 0.0

    def add(self, trial: Trial) -> None:
        self._trials.append(trial)

    @property
    def complete(self) -> list[Trial]:
        return [trial for trial in self._trials if trial.state == "complete"]

    def now(self) -> tuple[Belief, bool]:
        """Return the belief, found anew at most every few seconds and where a trial ended, and whether it was."""
        began = time.monotonic()
        if len(self._trials) == self._known or began < self._next:
            return self._belief, False
        trials = list(self._trials)
        self._belief, self._known = believe(trials, self._objectives), len(trials)
        ended = time.monotonic()
        self._next = ended + max(_BELIEVED_EVERY, (ended - began) / _BELIEVED_SHARE)
        return self._belief, True
