"""What the CUDA backend asks of a machine, one sentence for each thing missing; what runs instead."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from invnas.ops import backend_of, cuda, why_not
from invnas.ops.cuda import requirements
from invnas.ops.cuda.requirements import Facts, reason

here = torch.device("cuda")
GOOD = Facts("13.0", True, 90, "14.2.0", None, 13020, 13000, (75, 80, 90, 100))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"torch_cuda": None}, "this torch is built without CUDA"),
        ({"device": False}, "torch finds no CUDA device on this machine"),
        ({"cupy": None}, "CuPy is not installed: run pip install 'invnas[cuda13]'"),
        ({"cupy": None, "torch_cuda": "12.8"}, "CuPy is not installed: run pip install 'invnas[cuda12]'"),
        (
            {"cupy": None, "cupy_problem": "OSError: no libfoo"},
            "CuPy is installed but does not import (OSError: no libfoo): run pip install 'invnas[cuda13]'",
        ),
        (
            {"driver_cuda": 12080},
            "the driver knows CUDA up to 12.8, and this CuPy is built for CUDA 13: update the driver or run "
            "pip install 'invnas[cuda12]'",
        ),
        (
            {"nvrtc_problem": "OSError: no libnvrtc"},
            "NVRTC, the compiler CuPy uses, does not load (OSError: no libnvrtc): run pip install 'invnas[cuda13]'",
        ),
        ({"capability": 75}, "the GPU has compute capability 7.5, and these kernels need at least 8.0"),
        (
            {"capability": 80, "architectures": (90, 100), "cupy": None},
            "the GPU has compute capability 8.0, and these kernels need at least 9.0",
        ),
    ],
)
def test_everything_that_can_be_missing_has_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert reason(replace(GOOD, **changes)) == sentence


@pytest.mark.parametrize(
    "facts",
    [
        GOOD,
        replace(GOOD, capability=121),
        replace(GOOD, cupy_cuda=12090, capability=80),
        replace(GOOD, driver_cuda=14010),
    ],
)
def test_nothing_is_missing(facts: Facts) -> None:
    assert reason(facts) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a CUDA device")
def test_without_a_device_pure_torch_runs_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "invnas")
    cuda._reason.cache_clear()
    sentence = why_not("cuda")
    assert sentence == why_not(here) == reason(requirements.gather(None))
    assert backend_of("cuda") == "shift (pure torch)"
    assert [record.message.endswith(str(sentence)) for record in caplog.records] == [True]
    assert cuda.warmup() is None  # nothing to compile


def run_python(code: str, **environment: str) -> str:
    path = os.pathsep.join([environment.pop("first", ""), *sys.path]).strip(os.pathsep)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ran.stdout + ran.stderr


FOUND = "from invnas.ops.cuda import requirements as r; print(r.reason(r.with_cupy(r.Facts('12.6', True, 90))))"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "raise ImportError('\\n=====\\nCuPy is broken.') from OSError('libfoo.so: not there\\nmore')",
            "CuPy is installed but does not import (OSError: libfoo.so: not there): run pip install 'invnas[cuda12]'\n",
        ),
        (
            "import no_such_module",
            "CuPy is installed but does not import (ModuleNotFoundError: No module named 'no_such_module'): "
            "run pip install 'invnas[cuda12]'\n",
        ),
        (
            "import sys\nraise ModuleNotFoundError(name='cupy')",
            "CuPy is not installed: run pip install 'invnas[cuda12]'\n",
        ),
    ],
)
def test_a_broken_cupy_is_a_reason_not_an_error(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "cupy.py").write_text(text)
    assert run_python(FOUND, first=str(tmp_path)) == expected


def test_importing_the_operator_imports_no_cupy() -> None:
    assert run_python("import sys, invnas.ops; print('cupy' in sys.modules)") == "False\n"


def test_the_switch_asks_for_cuda() -> None:
    said = run_python("from invnas.ops import backend_of; print(backend_of('cuda'))", INVNAS_BACKEND="cuda")
    problem = reason(requirements.gather(None))
    assert (f"`INVNAS_BACKEND` asks for `cuda`, but {problem}" if problem else "cuda (CuPy") in said
