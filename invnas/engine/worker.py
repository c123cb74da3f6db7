"""A worker process: reads jobs as lines of JSON, answers with messages.

What a user's code prints goes to standard error, so that it cannot mix with the answers.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from invnas.engine.evaluate import reason_of, run_job
from invnas.engine.lifeline import end_group
from invnas.messages import Ended, Failure, Job, Message, Progress, to_dict
from invnas.store import FolderStore


def _read(jobs: queue.Queue[Mapping[str, Any]], judged: queue.Queue[int], stopped: set[int]) -> None:
    for line in sys.stdin:
        said = json.loads(line)
        if "stop" in said:
            stopped.add(said["stop"])
        elif "judged" in said:
            judged.put(said["judged"])
        else:
            jobs.put(said)
    end_group()


def main(folder: Path, threads: int) -> None:
    """Answer until the input ends.

    Args:
        folder: Where trainings lay their files: the run folder itself.
        threads: Torch threads of a training.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if hasattr(os, "register_at_fork"):  # the pipe shall end with this process, whatever it has forked by then
        os.register_at_fork(after_in_child=lambda: os.close(answers.fileno()))
    jobs: queue.Queue[Mapping[str, Any]] = queue.Queue()
    judged: queue.Queue[int] = queue.Queue()
    stopped: set[int] = set()
    threading.Thread(target=_read, args=(jobs, judged, stopped), daemon=True).start()
    torch.set_num_threads(threads)

    def tell(message: Message) -> None:
        print(json.dumps(to_dict(message)), file=answers, flush=True)
        if isinstance(message, Progress) and message.rung is not None:
            while judged.get() != message.number:  # what was meant for an earlier job
                pass

    while True:
        data = jobs.get()
        try:
            job = Job.from_dict(data)
            outcome = run_job(job, FolderStore(folder), folder, tell, lambda: job.number in stopped)  # noqa: B023
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # a space that cannot be read, an exit of a user's
            outcome = Failure(reason_of(error))
        tell(Ended(data["number"], outcome, data["attempt"]))
