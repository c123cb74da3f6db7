"""One training under Tune, in an actor that takes one after the other.

A trial of Tune is a number: its job is fetched from the desk, and what it has to say goes there.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invnas.engine.ray.desk import Letter
from invnas.messages import Ended, Halt, Job, Message, Outcome, Progress, Store, to_dict

#: What does a job, as `run_job`: job, store, scratch folder, whom to tell, whether to end.
Runner = Callable[[Job, Store, Path, Callable[[Message], None], Callable[[], bool]], Outcome]


class _Left(BaseException):
    """Tune takes the actor away in the middle of a training: no failure of it, it goes on from its checkpoint."""


class _Line:
    """The line of a training to the desk.

    Args:
        desk: The actor with the jobs.
        job: What is trained.
        scheduled: Whether a scheduler of Tune judges, too.
    """

    def __init__(self, desk: Any, job: Job, scheduled: bool) -> None:
        import ray

        self._desk, self._job, self._scheduled = desk, job, scheduled
        self._node = ray.get_runtime_context().get_node_id()
        self._answer: Any = None

    def tell(self, message: Message) -> None:
        """Send a message; return from a rung when it is judged."""
        import ray

        rung = message.rung if isinstance(message, Progress) else None
        to = self._desk.tell if rung is None else self._desk.ask
        self._answer = to.remote(self._job.number, self._letter(message))
        if rung is None:
            return
        ray.get(self._answer)
        if self._scheduled:
            _report({**self._job.cost.values, **rung.values, "epoch": rung.epochs})
            self._answer = self._desk.stopped.remote(self._job.number)

    def stopped(self) -> bool:
        """Tell whether the training shall end, as the desk knew when the last message came."""
        import ray

        return bool(ray.get(self._answer or self._desk.stopped.remote(self._job.number)))

    def leave(self, outcome: Outcome) -> None:
        """Send how it ended; return when the actor may go."""
        import ray

        # Tune keeps an actor only for a trial that waits for one: by then the search has handed on its next job.
        message = Ended(self._job.number, outcome, self._job.attempt)
        ray.get(self._desk.leave.remote(self._job.number, self._letter(message)))

    def _letter(self, message: Message) -> Letter:
        return Letter(to_dict(message), os.getpid(), self._node)


def _report(values: Mapping[str, Any]) -> None:
    from ray import tune

    try:
        tune.report(dict(values))
    except SystemExit:
        raise _Left from None


def train_job(
    config: Mapping[str, Any],
    *,
    desk: Any,
    folder: str,
    storage: str | None,
    path: list[str],
    threads: int,
    scheduled: bool,
    run: Runner | None = None,
) -> None:
    """Train the job of a number; a function trainable of Tune, which hears but of rungs that its scheduler judges.

    Args:
        config: The number of the trial.
        desk: The actor with the jobs.
        folder: The run folder, where this machine sees it.
        storage: Where files are kept instead.
        path: Where the search finds modules.
        threads: Torch threads of a training.
        scheduled: Whether a scheduler of Tune judges at rungs.
        run: Does a job; by default `run_job` does.
    """
    import ray

    data = ray.get(desk.take.remote(int(config["number"]), ray.get_runtime_context().current_actor))
    if data is None:  # it was ended while this actor was being made
        return
    sys.path.extend(entry for entry in path if entry not in sys.path)
    job = Job.from_dict(data)
    line, place = _Line(desk, job, scheduled), _place(Path(folder), storage)
    # A machine that cannot train says so before it imports torch.
    line.leave(place if isinstance(place, Halt) else (run or _run_job(threads))(job, *place, line.tell, line.stopped))


def _run_job(threads: int) -> Runner:
    import torch

    from invnas.engine.evaluate import run_job

    torch.set_num_threads(threads)
    return run_job


def _place(folder: Path, storage: str | None) -> tuple[Store, Path] | Halt:
    """Return where this machine keeps files and where it lays them; why not, where it sees nothing of the run."""
    from invnas.store import FolderStore, SharedStore

    if storage is not None:
        return SharedStore(storage), Path(_scratch())
    if not (folder / "run.json").is_file():
        return Halt(
            f"the machine {platform.node()} does not see the run folder {folder}: give --storage a folder or a URL "
            "that all machines share"
        )
    return FolderStore(folder), folder


_made: list[tempfile.TemporaryDirectory[str]] = []


def _scratch() -> str:
    """Return a fresh folder for the files of a training; that of the last one is gone."""
    while _made:
        _made.pop().cleanup()
    _made.append(tempfile.TemporaryDirectory(prefix="invnas-", ignore_cleanup_errors=True))
    return _made[-1].name
