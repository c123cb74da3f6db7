"""A worker ends with its parent, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.acting import alive, make_run, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see what processes run")

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
LIMIT = 5.0

# A parent that starts a process as the engine does; that one forks a loader, and both say who they are.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
time.sleep(1000)
"""
CHILD = """
import itertools, os, sys, time
{before}
from invnas.engine.lifeline import hold_to
hold_to(os.getppid())
loader = os.fork()
os.write(1, b"%d\\n" % os.getpid())  # at once: two processes write
{then}
"""


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ("", "time.sleep(1000)"),
        ("", "sum(itertools.repeat(1, 10**15))"),  # in C: no other thread of it ever runs
        ("sys.platform = 'other'", "time.sleep(1000)"),  # without help of the kernel
    ],
)
def test_nothing_outlives_its_parent(before: str, then: str) -> None:
    code = CHILD.format(before=before, then=then)
    with subprocess.Popen([sys.executable, "-c", PARENT, code], env=ENVIRONMENT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            started = [int(parent.stdout.readline()) for _ in range(2)]
        finally:
            parent.kill()
        try:
            until(lambda: not any(map(alive, started)), LIMIT)
        finally:
            for pid in filter(alive, started):
                os.kill(pid, signal.SIGKILL)


SEARCH = """
import sys
from dataclasses import replace
from pathlib import Path
from engine.acting import EXPERIMENT, job
from invnas.engine.local import Workers
from invnas.run import Run

run = Run.open(sys.argv[1])
engine = Workers(run.folder, replace(EXPERIMENT, workers=2))
engine.submit(job(run, "spin", 0))
engine.submit(job(run, "sleep", 1))
begun = set()
while len(begun) < 2:
    engine.wait(1, lambda message: begun.add(message.number))
print(*(worker.pid for worker in engine._all()), flush=True)
engine.wait(1000, print)
"""


def test_workers_of_a_killed_search_end_in_the_middle_of_their_trials(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(run.folder)], env=ENVIRONMENT, stdout=subprocess.PIPE
    ) as search:
        assert search.stdout is not None
        workers = list(map(int, search.stdout.readline().split()))
        search.kill()
        assert len(workers) == 2
        until(lambda: not any(map(alive, workers)), LIMIT)
