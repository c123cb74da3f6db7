"""Every example of a docstring runs; those that need a run follow one another in one folder."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import invnas

#: In the order in which a user meets them: each may use what the ones before left in the folder.
WITH_A_RUN = (
    "run_search",
    "resume_search",
    "Run",
    "write_report",
    "show_report",
    "export_model",
    "load_model",
    "evaluate_model",
    "retrain",
    "confirm_front",
)


def modules() -> list[str]:
    """Name the modules whose text holds an example."""
    found = pkgutil.walk_packages(invnas.__path__, "invnas.")
    sources = {one.name: importlib.util.find_spec(one.name) for one in found}
    return [
        name
        for name, spec in sources.items()
        if spec is not None and spec.origin and spec.origin.endswith(".py") and ">>> " in Path(spec.origin).read_text()
    ]


def run(examples: list[doctest.DocTest]) -> str:
    """Run examples and return what went wrong."""
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        runner.run(example, out=said.append)
    return "".join(said)


def of_a_run(example: doctest.DocTest) -> bool:
    return example.name.rpartition(".")[2] in WITH_A_RUN


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_run(name: str) -> None:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    assert run([example for example in found if example.examples and not of_a_run(example)]) == ""


def test_the_examples_with_a_run_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in WITH_A_RUN:
        value = getattr(invnas, name)
        examples = doctest.DocTestFinder(recurse=False).find(value, name, module=inspect.getmodule(value))
        assert run(examples) == ""


@pytest.mark.parametrize("name", invnas.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(invnas, name).__doc__ or "")


def test_an_example_that_is_wrong_is_seen() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert "Expected:" in run([wrong])
