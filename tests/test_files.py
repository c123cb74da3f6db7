from __future__ import annotations

import os
from pathlib import Path

import pytest

from invnas.errors import BadInput
from invnas.files import cache_folder, read_json, replacing, write_text


def test_a_file_is_written_and_an_older_one_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    write_text(tmp_path / "a", "new\n")
    assert (tmp_path / "a").read_bytes() == b"new\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_fails_inside_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")

    def torn() -> None:
        with replacing(tmp_path / "a") as fresh:
            fresh.write_text("ne")
            assert (tmp_path / "a").read_text() == "old"
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        torn()
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        write_text(tmp_path / "gone" / "a", "text")


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b))[1])
    write_text(tmp_path / "a", "text")
    assert done == (["sync", "replace", "sync"] if os.name == "posix" else ["sync", "replace"])


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"1 2", b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000], ids=range(7)
)
def test_what_is_no_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BadInput, match=r"a is malformed: it is not valid JSON: .") as raised:
        read_json(tmp_path / "a")
    assert "\n" not in str(raised.value)


def test_json_that_is_missing_a_folder_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("missing", "."):
        with pytest.raises(BadInput, match="cannot be read"):
            read_json(tmp_path / name)
    monkeypatch.setattr("invnas.files.MAX_JSON", 3)
    (tmp_path / "a").write_text("[1]")
    assert read_json(tmp_path / "a") == [1]
    (tmp_path / "a").write_text("[1, 2]")
    with pytest.raises(BadInput, match="larger than 3 bytes"):
        read_json(tmp_path / "a")


def test_where_what_another_run_can_use_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("INVNAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "invnas"
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.join("not", "absolute"))
    assert cache_folder() == Path.home() / ".cache" / "invnas"
