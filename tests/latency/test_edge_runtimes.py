"""Latency in the runtimes of small devices: the real ones, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from invnas import Bottleneck, HybridNet, Involution, PlainStem, Stage
from invnas.architecture import Architecture
from invnas.export.graphs import GRAPHS
from invnas.latency import stopwatch
from invnas.latency.forms import FORMS
from invnas.latency.settings import Latency

SMALL = Architecture(HybridNet(PlainStem(8, 3, 2, False), (Stage(16, (Bottleneck(Involution(3, 4, 2), 2),), 2),)))
SHAPE = (3, 32, 32)


def installed(runtime: str) -> Any:
    missing = [name for name in GRAPHS[FORMS[runtime]].packages if find_spec(name) is None]
    return pytest.param(runtime, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}"))


@pytest.mark.parametrize("runtime", [installed("executorch"), installed("openvino")])
def test_a_batch_takes_longer_than_the_image_of_the_reference(
    runtime: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path))
    monkeypatch.setattr(stopwatch, "SECONDS", 0.0)
    monkeypatch.setattr(stopwatch, "REFERENCE", SMALL)  # ExecuTorch takes seconds for each network
    with stopwatch.Stopwatch(Latency(runtime, batch=16), SHAPE, 10) as clock:  # type: ignore[arg-type]
        timing = clock(SMALL)
        assert 2 * clock._reference_ms < timing.ms < 200 * clock._reference_ms
        assert clock.version[0].isdigit()
        assert clock.words.startswith(f"{runtime} {clock.version}, 1 thread, batch 16")


USED_TWICE = """
import faulthandler, os, signal, sys, threading, time
import numpy, openvino
from openvino import opset13
from invnas.latency.runner import Openvino

faulthandler.enable()  # gives this thread a stack for signals, as pytest does
images = opset13.parameter([1, 3, 8, 8], numpy.float32)
openvino.serialize(openvino.Model([opset13.relu(images)], [images]), "it.xml", "it.bin")
model = open("it.xml", "rb").read() + b"\\0" + open("it.bin", "rb").read()
used = []
for _ in range(2):
    run = Openvino(1, None).load(model, [1, 3, 8, 8])
    run()
    used.append(run)
del run
used.pop(0)  # the first goes first
last = threading.Thread(target=used.clear)  # and the other in another thread
last.start()
last.join()
signal.signal(signal.SIGCHLD, lambda *_: print("heard"))
if not (child := os.fork()):
    os._exit(0)
os.waitpid(child, 0)
time.sleep(0.1)
"""


@pytest.mark.parametrize("runtime", [installed("openvino")])
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_what_was_used_leaves_no_trap_for_the_next_signal(runtime: str, tmp_path: Path) -> None:
    """Else the end of a loader of images, which is a signal, ends a process that has used OpenVINO."""
    done = subprocess.run([sys.executable, "-c", USED_TWICE], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
