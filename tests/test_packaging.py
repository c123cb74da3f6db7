"""What a wheel would hold, without building one: nothing of the package may be left out of pyproject.toml."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import invnas
from invnas.export.graphs import GRAPHS

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


def test_every_extra_that_an_error_names_can_be_installed() -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {graph.extra for graph in GRAPHS.values() if graph.extra}
    for path in (ROOT / "invnas").rglob("*.py"):
        named |= set(re.findall(r"""MissingExtra\(\S+, ["'](\w+)["']\)""", path.read_text(encoding="utf-8")))
    assert len(named) > 5
    assert named <= set(offered)


def test_the_reference_is_what_the_docstrings_say() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import make_reference; print(make_reference.page(), end='')"],
        cwd=ROOT / "docs", capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == made.stdout, (
        "run python docs/make_reference.py"
    )


def _imports(body: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(ast.iter_child_nodes(node))


def _imported(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Return the modules that a file names in its imports; a name that is taken from a package needs the package."""
    found: set[str] = set()
    for node in _imports(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        else:
            found |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
    return found & modules.keys()


def test_no_module_waits_for_itself_when_the_package_is_imported() -> None:
    files = sorted((ROOT / "invnas").rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files)
    modules = dict(zip(names, files, strict=True))
    graph = {name: _imported(path, modules) - {name} for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 200
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"an import cycle: {' -> '.join(error.args[1])}")
