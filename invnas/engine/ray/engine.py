"""The engine of a search under Ray Tune: the search feeds it in one thread, Tune runs in another."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from invnas.engine.local import GRACE, STEP
from invnas.engine.ray.cluster import Cluster, search_path
from invnas.engine.ray.desk import Letter, open_desk
from invnas.engine.ray.handover import Handover
from invnas.engine.ray.mirror import mirror_of
from invnas.engine.ray.running import RETRIES, Running
from invnas.engine.ray.worker import Runner, train_job
from invnas.errors import InvnasError
from invnas.experiment import Experiment
from invnas.messages import Ended, Failure, Job, Message, Progress, from_dict, to_dict

#: Seconds between two looks at how many trainings fit on the cluster.
_LOOK = 2.0
#: Seconds in which Tune ends when it is told to.
_GONE = 15.0

Tell = Callable[[Message], None]


class RayEngine:
    """Jobs as trials of Ray Tune.

    Args:
        folder: The run folder.
        experiment: Its workers, stopper, storage and what a training takes.
        cluster: The connection to Ray, made before; by default one is made, and closed with the engine.
        grace: Seconds beyond `max_minutes` until an actor is killed.
        run: Does a job in an actor; by default `run_job` does.

    Raises:
        BadInput: If Ray is missing, nobody answers, a training fits on no node, or the storage cannot be reached.
    """

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        cluster: Cluster | None = None,
        *,
        grace: float = GRACE,
        run: Runner | None = None,
    ) -> None:
        self._experiment, self._grace, self._minutes = experiment, grace, experiment.recipe.max_minutes
        self._cluster = cluster or Cluster(experiment)
        self._mirror = mirror_of(folder, experiment.storage)
        self._mirror.share()
        self._slots, self._counted = self._cluster.slots(), time.monotonic()
        self._looked = self._counted
        self._jobs: queue.Queue[int] = queue.Queue()
        self._mail: Any = None
        self._untold: list[Letter] = []
        self._running: dict[int, Running] = {}
        self._handover = Handover()
        self._closing = False
        self._scratch = tempfile.TemporaryDirectory(prefix="invnas-tune-", ignore_cleanup_errors=True)
        self._fault: BaseException | None = None
        try:
            self._desk = open_desk()
            self._tune = self._started(folder, run)
        except BaseException:
            self._cluster.close()
            raise

    @property
    def workers(self) -> int:
        """Jobs it takes at a time: what fits on the cluster as it is now, at most what the experiment says."""
        if time.monotonic() - self._counted > _LOOK:
            self._slots, self._counted = self._cluster.slots(), time.monotonic()
        return max(1, min(self._slots, self._experiment.workers or self._slots))

    def submit(self, job: Job) -> None:
        """Hand a job to Tune; it starts where it fits."""
        self._mirror.give(job.number)
        self._desk.put.remote(job.number, job.to_dict())
        self._running[job.number] = Running(job)
        self._jobs.put(job.number)

    def stop(self, number: int) -> None:
        """End a training after its epoch; a scheduler of Tune calls it, too."""
        import ray

        ray.get(self._desk.stop.remote(number))

    def wait(self, timeout: float, tell: Tell) -> None:
        """Tell of what arrived, at the latest after `timeout` seconds."""
        self._handover.let_go(self._desk, self._full)
        self._untold = self._untold or self._arrived(timeout)
        ended = False
        while self._untold and not ended:  # an actor goes on as soon as the search has submitted what comes next
            ended = self._hand_on(self._untold.pop(0), tell)
        if not self._untold:  # one that has ended, or waits at a rung, is not late because the search was busy
            self._end_overdue()

    def _arrived(self, timeout: float) -> list[Letter]:
        import ray

        if self._fault is not None:
            raise InvnasError(f"Ray Tune ended: {_sentence(self._fault)}; the run can be resumed") from self._fault
        try:
            self._mail = self._mail or self._desk.letters.remote()
            if not ray.wait([self._mail], timeout=timeout if self._minutes is None else min(timeout, 1.0))[0]:
                return []
            mail, self._mail = self._mail, None
            letters = ray.get(mail)
        except ray.exceptions.RayError as error:
            raise InvnasError(f"Ray was lost: {_sentence(error)}; the run can be resumed") from error
        return letters

    def _hand_on(self, letter: Letter, tell: Tell) -> bool:
        """Tell of a message; return whether a training has ended."""
        message = from_dict(letter.message)
        running = self._running.get(message.number)
        if running is None or (isinstance(message, Progress) and message.attempt != running.job.attempt):
            return False
        running.letter = letter
        if isinstance(message, Progress):
            self._handover.begun(message.number)
            running.begun = True
            tell(message)
            if message.rung is not None:
                self._desk.answer.remote(message.number)
            return False
        del self._running[message.number]
        self._desk.drop.remote(message.number)
        self._handover.done(message.number, dead=letter.pid is None)  # then we wrote it ourselves
        self._mirror.take(message.number, message.outcome)
        tell(message)
        return True

    @property
    def _full(self) -> bool:
        return (self._experiment.workers or self._slots) >= self._slots

    def _end_overdue(self) -> None:
        """Kill the actors of trials that take longer than they may and do not end by themselves."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, STEP), now
        for number, running in self._running.items():
            running.spent += passed * running.begun
            if self._minutes is None or running.over or running.spent <= 60 * self._minutes + self._grace:
                continue
            reason = f"took longer than max_minutes={self._minutes:g} and did not end by itself: its actor was killed"
            self._untold.append(_failure(running.job, reason))
            running.over = True
            self._drop_and_kill(number)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold the trainings on this machine for as long as the context is open."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        letters = [running.letter for running in self._running.values() if running.letter is not None]
        pids = [letter.pid for letter in letters if letter.pid is not None and letter.node == here]
        while self._running and sys.platform == "win32":
            self._untold += self._arrived(1.0)
            self._end_overdue()
        began = time.monotonic()
        _signal(pids, "SIGSTOP")
        try:
            yield
        finally:
            _signal(pids, "SIGCONT")
            self._looked += time.monotonic() - began

    def close(self) -> None:
        """End everything that runs, and Tune; checkpoints come to the run folder."""
        import ray

        if self._closing:
            return
        self._closing = True
        with suppress(Exception):  # a cluster that is gone has ended everything
            self._desk.let_go.remote(self._handover.leaving)
            for number in self._running:
                self._drop_and_kill(number)
        numbers = list(self._running)
        self._running.clear()
        self._tune.join(_GONE)
        with suppress(Exception):
            ray.kill(self._desk)
        self._cluster.close()
        self._mirror.bring_back(numbers)
        self._scratch.cleanup()

    def _drop_and_kill(self, number: int) -> None:
        import ray

        actor = ray.get(self._desk.drop.remote(number))
        if actor is not None:
            ray.kill(actor)

    # What Tune calls, in its own thread.

    def next_number(self, idle: bool) -> int | None:
        """Return the next job; while Tune is idle wait for one, or it would sleep for a second."""
        if not self._closing and not self._full:  # else not before the search has submitted what comes next
            self._handover.let_go(self._desk, self._full)
        while self._handover.may_begin(self._jobs.qsize(), self._full):
            with suppress(queue.Empty):
                number = self._jobs.get(timeout=0.2) if idle else self._jobs.get_nowait()
                self._handover.given(number, self._full)
                return number
            if not idle or self._closing:
                break
        return None

    def closing(self) -> bool:
        """Tell whether no more jobs will come."""
        return self._closing

    def retried(self, number: int, error: BaseException | None) -> None:
        """Take note that an actor died: its job is laid down for the next one, or its trial has failed."""
        import ray

        running = self._running.get(number)
        if running is None or running.over or self._closing:
            return
        if (reason := running.died(error)) is None:
            ray.get(self._desk.again.remote(number, running.job.to_dict()))
        else:  # the next actor finds no job
            running.over = True
            ray.get(self._desk.drop.remote(number))
            self._desk.tell.remote(number, _failure(running.job, reason))

    def over(self, number: int, reason: str) -> None:
        """Take note that Tune is done with a trial, in case its training has not said how it ended."""
        self._handover.gone(number)
        running = self._running.get(number)
        if running is not None and not self._closing:
            self._desk.tell.remote(number, _failure(running.job, reason))

    def _started(self, folder: Path, run: Runner | None) -> threading.Thread:
        """Start Tune in a thread of its own."""
        tuner = self._tuner(folder, run)

        def fit() -> None:
            try:
                tuner.fit()
                if not self._closing:
                    raise RuntimeError("it ended before the search")
            except BaseException as error:
                if not self._closing:
                    self._fault = error

        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        thread = threading.Thread(target=fit, name="ray-tune", daemon=True)
        thread.start()
        return thread

    def _tuner(self, folder: Path, run: Runner | None) -> Any:
        from ray import tune

        from invnas.engine.ray.tuning import Closing, Feed, bear_kills_for_memory, callback_on_deaths, make_scheduler

        bear_kills_for_memory()
        experiment, share = self._experiment, self._cluster.share
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(experiment.workers or 1024)
        training = partial(
            train_job,
            desk=self._desk,
            folder=str(folder.absolute()),
            storage=experiment.storage,
            path=search_path(),
            threads=experiment.recipe.threads or max(1, int(share.cpus)),
            scheduled=experiment.tune_scheduler is not None,
            run=run,
        )
        return tune.Tuner(
            tune.with_resources(training, share.resources),
            tune_config=tune.TuneConfig(
                search_alg=Feed(self),
                scheduler=make_scheduler(experiment, self),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="ray",
                stop=Closing(self),
                storage_path=self._scratch.name,  # of Tune's own: none of it is read again
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=(RETRIES + 1) ** 2),  # more than we let it
                callbacks=[callback_on_deaths(self)],
            ),
        )


def _failure(job: Job, reason: str) -> Letter:
    return Letter(to_dict(Ended(job.number, Failure(reason), job.attempt)))


def _signal(pids: list[int], name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        return
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _sentence(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]:.200}" if lines else type(error).__name__
