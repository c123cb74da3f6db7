from __future__ import annotations

from pathlib import Path

import pytest

from invnas.errors import BadInput
from invnas.shipped import find, shipped
from invnas.space import load_space


def test_four_spaces_come_with_invnas_and_each_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = {name: load_space(name).size for name in shipped("search_spaces")}
    assert sizes["plain_function"] == 36
    assert sizes["digits"] == 2 * (3 * (32 + 32**2)) ** 2
    assert {"digits", "hybrid_cifar", "hybrid_imagenet", "plain_function"} <= set(sizes)
    assert all(load_space(name).name == name for name in sizes)


def test_a_file_is_found_by_its_path_before_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.py").write_text("")
    assert find("search_spaces", "digits.py") == Path("digits.py")
    assert find("search_spaces", "digits") == shipped("search_spaces")["digits"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digit", "unknown name 'digit' in search_spaces; nearest: 'digits'; valid: "),
        ("", "unknown name '' in search_spaces; valid: "),
        ("cifar10", "unknown name 'cifar10' in search_spaces; it is an experiment, which names a search space"),
        ("digit.py", "there is no file 'digit.py'; nearest: 'digits'; valid: "),
        ("no/where/hybrid_cifr.py", "there is no file 'no/where/hybrid_cifr.py'; nearest: 'hybrid_cifar'; valid: "),
    ],
)
def test_what_is_not_found_is_named_with_the_nearest(name: str, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        find("search_spaces", name)
    assert str(error.value).startswith(sentence)


def test_a_folder_is_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(BadInput, match=r"there is no file 'mine.py'"):
        find("search_spaces", "mine.py")
