"""A real file system without room: the search stops with a sentence, blames no trial, and can be resumed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from invnas.experiment import DataSource, Experiment, Recipe

SPACE = """
from invnas import Bottleneck, Choice, Convolution, HybridNet, PlainStem, Stage
space = HybridNet(PlainStem(Choice(8, 16, 24, 32), 3, 1, False),
                  [Stage(Choice(48, 64, 72, 80), (Bottleneck(Convolution(3), expansion=1),))])
"""
# In a mount namespace of its own, which is gone with the shell, whatever happens.
SCRIPT = """
mount -t tmpfs -o size=600k tmpfs "$1" || exit 77
exec "$2" -c "$3" "$1" "$4"
"""
# One process for all commands: each would import torch.
COMMANDS = """
import contextlib, io, subprocess, sys
from invnas.cli import main
from invnas.run import Run

def call(*words):
    with contextlib.redirect_stdout(io.StringIO()):
        code = main([*words, "--quiet"])
    print(words[0], code, file=sys.stderr, flush=True)

place, workers = sys.argv[1:]
call("search", "mine.yaml", "--run-dir", f"{place}/run")
print(*(trial.state for trial in Run.open(f"{place}/run").trials()))
if workers == "1":
    call("resume", f"{place}/run", "--json")
subprocess.run(["mount", "-o", "remount,size=60m", place], check=True)
call("resume", f"{place}/run")
print(*(trial.state for trial in Run.open(f"{place}/run").trials()))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(("workers", "stopper"), [(1, "halving"), (2, "none")])
def test_a_full_disk_stops_the_search_and_blames_no_trial(tmp_path: Path, workers: int, stopper: str) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare to mount a small file system")
    (tmp_path / "small").mkdir()
    (tmp_path / "space.py").write_text(SPACE)
    asked = Experiment(
        str(tmp_path / "space.py"), DataSource("HardDigits", {"batch_size": 256}), Recipe(epochs=2, threads=1),
        trials=5, workers=workers, stopper=stopper,
    )  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked.to_dict()))
    command = ["unshare", "-rm", "sh", "-c", SCRIPT, "sh"]
    done = subprocess.run(
        [*command, str(tmp_path / "small"), sys.executable, COMMANDS, str(workers)],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    print(done.stderr)  # shown where it goes wrong
    said = [line for line in done.stderr.splitlines() if line.startswith("invnas:")]
    ends = re.findall(r"^(search|resume) (\d+)$", done.stderr, re.MULTILINE)
    stopped = [("search", "1"), ("resume", "1")][: 3 - workers]  # once is enough with two, which take their time
    assert ends == [*stopped, ("resume", "0")]
    assert len(said) == len(stopped)  # one sentence each
    assert all(str(tmp_path / "small" / "run") in line.partition(" cannot be written")[0] for line in said)
    assert all("No space left on device" in line for line in said)
    assert all(line.endswith(f"continue with: invnas resume {tmp_path / 'small' / 'run'}") for line in said)
    cut_off, at_last = (line.split() for line in done.stdout.splitlines())
    assert set(cut_off) <= {"complete", "running", "stopped"}
    assert "running" in cut_off
    assert (set(at_last), len(at_last)) == ({"complete"} if stopper == "none" else {"complete", "stopped"}, 5)
