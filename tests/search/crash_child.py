"""A search that a test kills: `crash_child.py RUN WORKERS` prints the number of each trial once it is recorded."""

from __future__ import annotations

import sys

from invnas.run import Run
from invnas.search.events import Event, Finished
from search.cheap import CheapEngine, go


def say(event: Event) -> None:
    if isinstance(event, Finished):
        print(event.trial.number, flush=True)


def main() -> None:
    run = Run.open(sys.argv[1])
    with run.locked():
        print("locked", flush=True)
        go(run, CheapEngine(int(sys.argv[2]), seconds=0.004), on_event=say)


if __name__ == "__main__":
    main()
