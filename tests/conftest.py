from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# Threads that wait for one another sleep, in the processes that tests start as well: where others use the cores, those
# that spin take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from hypothesis import HealthCheck, settings

from invnas.cli import main

# The same examples on every machine, however slow it is.
settings.register_profile(
    "invnas", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("invnas")
torch.set_num_threads(1)
# Else the first Ray that is started here asks for a token, which later clusters want of processes that have none.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
CLOCKS = time.time, time.monotonic


@pytest.fixture(autouse=True)
def clocks_are_put_back() -> Iterator[None]:
    """Of tests that set a clock, none leaves it so to the next."""
    yield
    assert (time.time, time.monotonic) == CLOCKS


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests time is not kept for anyone else."""
    os.environ["INVNAS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: its words in; exit code, standard output and standard error out."""

    def called(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return called
