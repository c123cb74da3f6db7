"""A worker process: reads trials as lines of JSON, answers with measurements.

What a user's code prints goes to standard error, so that it cannot mix with the answers. When the parent is gone, the
input ends and the worker stops at once: nobody would read what it still finds out.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path

import torch

from invnas.architecture import Architecture
from invnas.engine.evaluate import outcome_of
from invnas.manifest import Manifest
from invnas.space import load_space


def _read(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def main(folder: Path, threads: int) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    torch.set_num_threads(threads)
    experiment = Manifest.read(folder / "run.json").experiment
    types = load_space(folder / "space.py").types
    while True:
        trial = json.loads(lines.get())
        architecture = Architecture.from_dict(trial["architecture"], types)
        print(json.dumps(outcome_of(trial, architecture, experiment, folder)), file=answers, flush=True)
