"""Trials on this machine: in this process, or in worker processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from invnas.experiment import Experiment
from invnas.measurement import Measurement, Trial

Outcome = tuple[Trial, Measurement | str]

# With the search path of this process: `python -m` would put the current folder first, and a source tree there would
# shadow the installed package.
_WORKER = """import sys; sys.path[:] = {path!r}
from pathlib import Path
from invnas.engine.worker import main
main(Path({folder!r}), {threads})"""


def threads_of(experiment: Experiment) -> int:
    """Return the torch threads of each training: what the recipe says, or a fair share of the cores."""
    return experiment.recipe.threads or max(1, (os.cpu_count() or 1) // experiment.workers)


def local_engine(folder: Path, experiment: Experiment) -> InProcess | Workers:
    """Return the engine for as many trainings at a time as the experiment says."""
    return InProcess(folder, experiment) if experiment.workers == 1 else Workers(folder, experiment)


def _job(trial: Trial) -> dict[str, Any]:
    return {"number": trial.number, "architecture": trial.architecture.to_dict(), "cost": asdict(trial.cost)}


def _read(trial: Trial, answer: dict[str, Any]) -> Outcome:
    found = answer.get("measurement")
    return trial, Measurement.from_dict(found) if found else str(answer["reason"])


class InProcess:
    """One trial at a time, here."""

    workers = 1

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._folder, self._experiment = folder, experiment
        self._waiting: deque[Trial] = deque()

    def submit(self, trial: Trial) -> None:
        """Take a trial; it runs at the next `wait`."""
        self._waiting.append(trial)

    def wait(self, timeout: float) -> list[Outcome]:
        """Run the next trial to its end, however long that takes."""
        import torch

        from invnas.engine.evaluate import outcome_of

        if not self._waiting:
            return []
        trial = self._waiting.popleft()
        before = torch.get_num_threads()
        torch.set_num_threads(threads_of(self._experiment))
        try:
            return [_read(trial, outcome_of(_job(trial), trial.architecture, self._experiment, self._folder))]
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


class Workers:
    """Trials in processes of their own, one each: a crash or a kill for memory ends one trial, not the search."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.workers = experiment.workers
        self._folder, self._threads = folder, threads_of(experiment)
        self._idle: list[_Worker] = []
        self._busy: dict[int, tuple[_Worker, Trial]] = {}
        self._answers: queue.Queue[tuple[int, str]] = queue.Queue()
        (folder / "logs").mkdir(exist_ok=True)

    def submit(self, trial: Trial) -> None:
        """Hand a trial to an idle worker, or to a new one."""
        worker = self._idle.pop() if self._idle else _Worker(self._folder, self._threads, self._answers)
        self._busy[worker.pid] = (worker, trial)
        worker.send(json.dumps(_job(trial)))

    def wait(self, timeout: float) -> list[Outcome]:
        """Return what finished, at the latest after `timeout` seconds."""
        try:
            arrived = [self._answers.get(timeout=timeout)]
        except queue.Empty:
            return []
        while not self._answers.empty():
            arrived.append(self._answers.get_nowait())
        gone = {pid for pid, line in arrived if not line}
        for worker in [worker for worker in self._idle if worker.pid in gone]:
            self._idle.remove(worker)
            worker.last_words()
        return [self._take(pid, line) for pid, line in arrived if pid in self._busy]

    def _take(self, pid: int, line: str) -> Outcome:
        worker, trial = self._busy.pop(pid)
        if not line:  # the pipe ended before the answer
            return trial, worker.last_words()
        self._idle.append(worker)
        return _read(trial, json.loads(line))

    def close(self) -> None:
        """Stop all workers at once."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.stop()
        self._idle.clear()
        self._busy.clear()


class _Worker:
    def __init__(self, folder: Path, threads: int, answers: queue.Queue[tuple[int, str]]) -> None:
        self._log = (folder / "logs" / "workers.log").open("a+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER.format(path=sys.path, folder=str(folder), threads=threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            # Ctrl-C is for the search, which then stops its workers.
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, args=(answers,), daemon=True)
        self._listener.start()

    def _listen(self, answers: queue.Queue[tuple[int, str]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                answers.put((self.pid, line))
        answers.put((self.pid, ""))

    def send(self, line: str) -> None:
        """Give the worker its next trial; one that died meanwhile says so through its pipe."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")

    def last_words(self) -> str:
        """Return why the worker is gone."""
        code = self._gone()
        if code == -9:
            return "the worker was killed, most likely because memory ran out"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the worker died with {how}; see logs/workers.log in the run folder"

    def stop(self) -> None:
        """Kill the worker; its trial continues from the last checkpoint when the run is resumed."""
        self._process.kill()
        self._gone()

    def _gone(self) -> int:
        assert self._process.stdin is not None
        code = self._process.wait()
        self._listener.join()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._log.close()
        return code
