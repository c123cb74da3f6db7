"""The command doctor says what this machine has, in words and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
import torch

from invnas.cli import main
from invnas.cli.doctor import facts
from invnas.ops import backend_of, why_not


def test_json_holds_environment_backends_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == facts()
    assert found["environment"]["torch"] == torch.__version__
    assert found["involution"]["cpu"] == {"backend": backend_of("cpu"), "why_not": why_not("cpu")}
    assert (found["involution"]["cuda"]["backend"] is None) == (not torch.cuda.is_available())
    assert {"onnx", "report", "data", "ray"} <= set(found["extras"])
    assert found["extras"]["onnx"]["install"] == "pip install 'invnas[onnx]'"
    assert found["extras"]["onnx"]["missing"] == []  # the tests need it


def test_words_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    found = facts()
    for text in (*found["environment"].values(), backend_of("cpu"), *found["extras"]):
        assert text in out
    for ran in found["involution"].values():
        assert ran["why_not"] is None or f"not native: {ran['why_not']}" in out
    for extra in found["extras"].values():
        assert (extra["install"] in out) == bool(extra["missing"])


def test_a_backend_that_is_not_native_says_why() -> None:
    environment = {**os.environ, "INVNAS_BACKEND": "shift", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "invnas", "doctor", "--json"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(ran.stdout)["involution"]["cpu"] == {
        "backend": "shift (pure torch)",
        "why_not": "INVNAS_BACKEND=shift asks for shift-and-accumulate",
    }


def test_missing_and_outdated_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "onnx":
            return "1.0"
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    missing = facts()["extras"]["onnx"]["missing"]
    assert [text for text in missing if "onnxruntime" in text] == ["onnxruntime"]
    assert any(text.startswith("onnx>=") and text.endswith("(installed: 1.0)") for text in missing)


def test_a_folder_that_was_never_installed_has_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", metadata)
    assert facts()["extras"] == {}
