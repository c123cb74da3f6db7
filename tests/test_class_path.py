"""A class path names a class, or the sentence says what was nearest."""

import textwrap
from pathlib import Path

import pytest

from invnas.class_path import load_class
from invnas.errors import BadInput

SHIPPED = ("collections.OrderedDict", "collections.Counter")


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_classes.py").write_text(
        textwrap.dedent("""
            from abc import ABC, abstractmethod
            from collections import OrderedDict

            class Mine(dict):
                pass

            class Open(dict, ABC):
                @abstractmethod
                def close(self): ...

            class Stranger:
                pass

            class _Hidden(dict):
                pass

            number, nothing = 3, None
        """)
    )
    (tmp_path / "their_needs.py").write_text("import no_such_package")
    (tmp_path / "their_bug.py").write_text("1 / 0")
    (tmp_path / "their_exit.py").write_text("import sys\nsys.exit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "their_classes"


def test_a_class_is_found(theirs: str) -> None:
    assert load_class(f"{theirs}.Mine", "mapping", SHIPPED, dict).__name__ == "Mine"
    assert load_class(f"{theirs}.number", "thing") == 3  # without a base the caller judges


@pytest.mark.parametrize("path", ["", ".", "Mine", ".x", "x.", "their_classes..Mine"])
def test_what_is_no_path_is_refused(theirs: str, path: str) -> None:
    with pytest.raises(BadInput, match=r"^unknown mapping '.*valid: .*, or a class path such as my_package\.MyClass$"):
        load_class(path, "mapping", SHIPPED, dict)
    with pytest.raises(BadInput, match=r"^unknown mapping '.*; it must be a class path such as my_package\.MyClass$"):
        load_class(path, "mapping")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("collection.Counter", "'collection.Counter': No module named 'collection'; nearest: 'collections.Counter'"),
        ("their_classes.no.Mine", "unknown mapping 'their_classes.no.Mine': No module named 'their_classes.no'; "),
        ("collections.Countr", "`collections` has no class `Countr`; nearest: 'Counter'; valid: OrderedDict, Counter"),
        ("their_classes.Mines", "`their_classes` has no class `Mines`; nearest: 'Mine'; valid: Mine"),
        ("their_classes.nothing", "`their_classes` has no class `nothing`; valid: Mine"),
        ("math.Sine", "`math` has no class `Sine`; it has none"),
        ("their_classes.Stranger", "it must be a dict, but is the class Stranger"),
        ("their_classes.Open", "'their_classes.Open' is no mapping: it must be a dict, but is the class Open"),
        ("their_classes.number", "it must be a dict, but is of type int"),
        ("their_needs.Mine", "the mapping `their_needs.Mine` cannot be imported: No module named 'no_such_package'"),
        ("their_bug.Mine", "the import of the mapping `their_bug.Mine` raised ZeroDivisionError"),
        ("their_exit.Mine", "the import of the mapping `their_exit.Mine` called sys.exit(0)"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence(theirs: str, path: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_class(path, "mapping", SHIPPED, dict)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_module_needs_is_not_taken_for_a_wrong_path(theirs: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_class("their_needs.Mine", "mapping", SHIPPED)
    assert "unknown" not in str(caught.value)
    assert "nearest" not in str(caught.value)
