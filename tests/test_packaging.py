"""What a wheel would hold, without building one: nothing of the package may be left out of pyproject.toml."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

import invnas

ROOT = Path(invnas.__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


@pytest.fixture
def setuptools_says() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return found


def test_every_file_of_the_package_lies_in_a_wheel(setuptools_says: dict[str, Any]) -> None:
    folders = {name: ROOT / name.replace(".", "/") for name in setuptools_says["packages"]}
    folders |= {name: ROOT / folder for name, folder in setuptools_says["package-dir"].items()}
    wanted = [p for top in ("invnas", "search_spaces", "experiments") for p in (ROOT / top).rglob("*") if p.is_file()]
    # What the build itself makes is no source.
    sources = [path for path in wanted if path.suffix not in (".so", ".o") and "__pycache__" not in path.parts]
    packed = [
        path
        for name, folder in folders.items()
        for path in folder.iterdir()
        if any(fnmatch(path.name, pattern) for pattern in ("*.py", *setuptools_says["package-data"].get(name, ())))
    ]
    assert len(sources) > 90
    assert sorted(set(sources) - set(packed)) == []


def test_every_pattern_of_package_data_means_something(setuptools_says: dict[str, Any]) -> None:
    for name, patterns in setuptools_says["package-data"].items():
        folder = ROOT / setuptools_says["package-dir"].get(name, name.replace(".", "/"))
        assert all(any(folder.glob(pattern)) for pattern in patterns), name
