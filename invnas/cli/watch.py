"""Where a run stands, as it is printed: once, or again and again."""

from __future__ import annotations

import json as text
import time
from collections.abc import Callable

from invnas.run import Run
from invnas.status import Status, status_of

#: Seconds between two looks.
_PAUSE = 2.0


def show_status(run: Run, *, watch: bool, json: bool) -> None:
    """Print where a run stands; with `watch` again and again, until no process is at it."""
    if not watch:
        _print(status_of(run), json)
        return
    if json:
        _follow(run, lambda found: print(text.dumps(found.to_dict()), flush=True))
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        _follow(run, lambda found: print(*found.lines(), "", sep="\n", flush=True))
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        _follow(run, lambda found: live.update(Text("\n".join(found.lines())), refresh=True))


def _print(found: Status, json: bool) -> None:
    if json:
        print(text.dumps(found.to_dict(), indent=2))
    else:
        print(*found.lines(), sep="\n")


def _follow(run: Run, show: Callable[[Status], None]) -> None:
    while True:
        found = status_of(run)
        show(found)
        if found.holder is None:
            return
        time.sleep(_PAUSE)
        run.refresh()
