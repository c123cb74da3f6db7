"""Latency in the runtimes of small devices: the real ones, in a process of their own."""

from __future__ import annotations

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
