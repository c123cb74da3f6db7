"""The package can be imported where there is no POSIX: Windows has no fcntl, no fork and no SIGKILL."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import invnas

PACKAGE = Path(invnas.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

#: Modules that Windows lacks.
POSIX = set("crypt curses fcntl grp nis posix pty pwd resource spwd syslog termios tty".split())

#: What Windows lacks of modules that it has.
PARTS = {
    "os": set(
        """
        fork forkpty geteuid getpgid getpgrp getuid killpg register_at_fork sched_getaffinity setpgid setpgrp setsid
        statvfs sysconf uname WNOHANG
        """.split()
    ),
    "signal": set(
        """
        SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 alarm pthread_sigmask sigwait
        """.split()
    ),
}


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a module is imported: not the bodies of functions, nor what only a type checker reads."""
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: list[ast.AST] = list(node.orelse)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        children = [*node.decorator_list, node.args]
    elif isinstance(node, ast.Lambda):
        children = [node.args]
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from run_at_import(child)


def of_posix(source: str) -> list[str]:
    """Return what of POSIX a module wants when it is imported."""
    found = []
    for node in run_at_import(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in POSIX]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [str(node.module)] if str(node.module).split(".")[0] in POSIX else []
            found += [
                f"{node.module}.{name.name}" for name in node.names if name.name in PARTS.get(str(node.module), ())
            ]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{node.value.id}.{node.attr}"] if node.attr in PARTS.get(node.value.id, ()) else []
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_wants_posix_to_be_imported(path: Path) -> None:
    assert of_posix(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os, fcntl", ["fcntl"]),
        ("try:\n    from resource import getrusage\nexcept ImportError: pass", ["resource"]),
        ("from os import fork", ["os.fork"]),
        ("import os\nos.register_at_fork(before=print)", ["os.register_at_fork"]),
        ("import signal\nclass A:\n    kill = signal.SIGKILL", ["signal.SIGKILL"]),
        ("import signal\ndef f(s=signal.SIGHUP): ...", ["signal.SIGHUP"]),
        ("def f():\n    import fcntl", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pwd", []),
        ("import signal\nstop = signal.SIGINT", []),
    ],
)
def test_what_counts_as_posix(source: str, found: list[str]) -> None:
    assert of_posix(source) == found


def test_what_needs_no_torch_is_imported_without_posix() -> None:
    names = [".".join(("invnas", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in SOURCES]
    code = f"""
import sys, os, signal, importlib
import yaml, numpy, jsonargparse, docstring_parser, subprocess, shutil, tempfile, platform  # theirs is not our doing
for name in {["torch", "lightning", "ray", *sorted(POSIX)]}:
    sys.modules[name] = None
for module, names in (os, {sorted(PARTS["os"])}), (signal, {sorted(PARTS["signal"])}):
    for name in names:
        vars(module).pop(name, None)
for name in {[name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]}:
    try:
        importlib.import_module(name)
        print(name)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in ("torch", "lightning", "ray"):
            raise
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    imported = done.stdout.split()
    assert {"invnas.run", "invnas.commands", "invnas.results", "invnas.cli.runs", "invnas.search.loop"} <= set(imported)
    assert len(imported) > 45, imported
