"""Jobs on this machine: in this process, or in worker processes of their own."""

from __future__ import annotations

import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from invnas.engine.cores import unreserved
from invnas.engine.process import PAUSES, Inbox, Process, devices
from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.gate import no_exit
from invnas.messages import Ended, Failure, Job, Message, Progress, from_dict
from invnas.store import FolderStore

#: Seconds beyond `max_minutes` after which a worker that has not ended its trial itself is killed.
GRACE = 30.0
#: Seconds in which a new worker has imported what it needs and takes up its job.
START = 300.0
#: Seconds between two looks at the workers; what is longer, a busy or held search has not looked: no trial's fault.
STEP = 5.0
#: Deaths of a worker that a trial survives.
RETRIES = 1

Tell = Callable[[Message], None]


def threads_of(experiment: Experiment) -> int:
    """Return the torch threads of each training: what the recipe says, or a fair share of the cores."""
    cores = (os.cpu_count() or 1) - experiment.reserve_cores
    return experiment.recipe.threads or max(1, cores // (experiment.workers or 1))


def local_engine(folder: Path, experiment: Experiment) -> InProcess | Workers:
    """Return the engine for as many trainings at a time as the experiment says.

    One at a time runs in this process, unless it has a time limit, for what hangs can be ended from outside only, or
    leaves cores free.
    """
    alone = experiment.recipe.max_minutes is None and not experiment.reserve_cores
    here = alone and not experiment.parallel
    return InProcess(folder, experiment) if here else Workers(folder, experiment)


class _Told(BaseException):
    """What the search raised while a training told it of an epoch: never a failure of the training."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class InProcess:
    """One job at a time, here."""

    workers = 1

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._folder, self._threads = folder, threads_of(experiment)
        self._waiting: deque[Job] = deque()
        self._stopped: set[int] = set()

    def submit(self, job: Job) -> None:
        """Take a job; it runs at the next `wait`."""
        self._waiting.append(job)

    def stop(self, number: int) -> None:
        """End a training after its epoch."""
        self._stopped.add(number)

    def wait(self, timeout: float, tell: Tell) -> None:
        """Run the next job to its end, however long that takes."""
        import torch

        from invnas.engine.evaluate import run_job

        if not self._waiting:
            return
        job = self._waiting.popleft()

        def guarded(message: Message) -> None:
            try:
                tell(message)
            except Exception as error:
                raise _Told(error) from error

        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            stopped = lambda: job.number in self._stopped  # noqa: E731
            with no_exit():
                outcome = run_job(job, FolderStore(self._folder), self._folder, guarded, stopped)
        except _Told as told:
            raise told.error from None
        finally:
            torch.set_num_threads(before)
        tell(Ended(job.number, outcome, job.attempt))

    def quiet(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: between two calls of `wait` nothing runs."""
        return nullcontext()

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


@dataclass
class _Running:
    """A job with the worker that has it.

    Attributes:
        job: The job, with the number of this attempt.
        worker: Who has it.
        deaths: Workers it has survived.
        spent: Seconds since it was handed out, or began, in which somebody looked.
        heard: Whether the worker has taken it up.
        stopped: Whether it shall end early.
    """

    job: Job
    worker: Process
    deaths: int
    spent: float = 0.0
    heard: bool = False
    stopped: bool = False


class Workers:
    """Jobs in processes of their own, one each: a crash or a kill for memory ends none of them, unless it comes again.

    With several GPUs each worker sees one, in turn.

    Args:
        folder: The run folder.
        experiment: Its workers, threads and time limit count here.
        grace: Seconds beyond the time limit after which a worker is killed.
    """

    def __init__(self, folder: Path, experiment: Experiment, *, grace: float = GRACE) -> None:
        self.workers = experiment.workers or 1
        self._folder, self._threads, self._minutes = folder, threads_of(experiment), experiment.recipe.max_minutes
        self._grace, self._devices, self._looked = grace, devices(), time.monotonic()
        self._cores = unreserved(experiment.reserve_cores)
        self._idle: list[Process] = []
        self._running: dict[int, _Running] = {}
        self._killed: list[Process] = []
        self._inbox: Inbox = queue.Queue()
        self._untold: list[Message] = []
        (folder / "logs").mkdir(exist_ok=True)

    def submit(self, job: Job) -> None:
        """Hand a job to an idle worker, or to a new one."""
        self._start(job, deaths=0)

    def stop(self, number: int) -> None:
        """End a training after its epoch."""
        if (running := self._running.get(number)) is not None:
            running.stopped = True
            running.worker.send(json.dumps({"stop": number}))

    def wait(self, timeout: float, tell: Tell) -> None:
        """Tell of what arrived, at the latest after `timeout` seconds."""
        untold, self._untold = self._untold, []
        for message in untold:
            tell(message)
        self._take(0.0 if untold else timeout, tell)

    def _take(self, timeout: float, tell: Tell) -> None:
        for worker in self._all():
            if worker.gone:
                worker.kill()  # a loader that outlives it may hold its pipe open
        for worker, line in self._arrived(min(timeout, STEP)):
            if line is None:
                self._lost(worker, tell)
            else:
                self._heard(worker, line, tell)
        # Only now: one that has ended, or asks and waits for an answer, is not late because nobody read it.
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, STEP), now
        for running in list(self._running.values()):
            running.spent += passed
            if running.spent > self._limit(running):
                self._end_overdue(running, tell)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold the workers for as long as the context is open; without such signals wait until they are idle."""
        while self._running and not PAUSES:
            self._take(1.0, self._untold.append)
        workers, began = self._all(), time.monotonic()
        for worker in workers:
            worker.pause()
        try:
            yield
        finally:
            for worker in workers:
                worker.proceed()
            self._looked += time.monotonic() - began

    def close(self) -> None:
        """Kill all workers at once."""
        workers = [*self._all(), *self._killed]
        for some in (self._idle, self._running, self._killed):
            some.clear()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.bury()

    def _all(self) -> list[Process]:
        return [*self._idle, *(running.worker for running in self._running.values())]

    def _start(self, job: Job, deaths: int, stopped: bool = False) -> None:
        alive = [worker for worker in self._idle if not worker.gone]
        worker = alive[-1] if alive else self._new()
        if alive:
            self._idle.remove(worker)
        self._running[job.number] = _Running(job, worker, deaths)
        worker.send(json.dumps(job.to_dict()))
        if stopped:
            self.stop(job.number)

    def _new(self) -> Process:
        taken = {worker.slot for worker in self._all() if not worker.gone}
        slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        device = self._devices[slot % len(self._devices)] if self._devices else None
        return Process(slot, device, self._folder, self._threads, self._inbox, self._cores)

    def _arrived(self, timeout: float) -> list[tuple[Process, str | None]]:
        arrived = []
        with suppress(queue.Empty):
            arrived.append(self._inbox.get(timeout=timeout))
            while True:
                arrived.append(self._inbox.get_nowait())
        return arrived

    def _heard(self, worker: Process, line: str, tell: Tell) -> None:
        try:
            message = from_dict(json.loads(line))
        except (ValueError, BadInput):  # something else that wrote into the pipe
            return
        running = self._running.get(message.number)
        if running is None or running.worker is not worker or message.attempt != running.job.attempt:
            return
        if isinstance(message, Progress):
            if not running.heard:
                running.heard, running.spent = True, 0.0
            tell(message)
            if message.rung is not None:  # after a stop, if there was one: the worker waits
                worker.send(json.dumps({"judged": message.number}))
            return
        del self._running[message.number]
        worker.used = True
        self._idle.append(worker)
        tell(message)

    def _lost(self, worker: Process, tell: Tell) -> None:
        """Try the trial of a worker that is gone once more."""
        words = worker.bury()
        for some in (self._idle, self._killed):
            if worker in some:
                some.remove(worker)
        running = next((running for running in self._running.values() if running.worker is worker), None)
        if running is None:
            return
        job = running.job
        del self._running[job.number]
        # One that died between two trials is no fault of the second.
        deaths = running.deaths + (running.heard or not worker.used)
        if deaths > RETRIES:
            half = ", at last with half a batch at a time" if job.micro_batches > 1 else ""
            tell(Ended(job.number, Failure(f"{words} (tried {deaths} times{half})"), job.attempt))
        else:
            parts = 2 if worker.killed and running.heard else job.micro_batches  # most likely memory ran out
            self._start(replace(job, attempt=job.attempt + 1, micro_batches=parts), deaths, running.stopped)

    def _limit(self, running: _Running) -> float:
        if self._minutes is None:
            return float("inf")
        return 60 * self._minutes + self._grace + (0.0 if running.heard else START)

    def _end_overdue(self, running: _Running, tell: Tell) -> None:
        del self._running[running.job.number]
        running.worker.kill()
        self._killed.append(running.worker)
        reason = f"took longer than max_minutes={self._minutes:g} and did not end by itself: its worker was killed"
        tell(Ended(running.job.number, Failure(reason), running.job.attempt))
