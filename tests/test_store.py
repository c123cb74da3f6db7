from __future__ import annotations

from pathlib import Path

import pytest

from invnas.store import FolderStore, checkpoint_of, logs_of, weights_of


def test_what_was_kept_is_fetched_and_what_was_not_is_not(tmp_path: Path) -> None:
    store, scratch = FolderStore(tmp_path / "run"), tmp_path / "scratch"
    scratch.mkdir()
    assert not store.fetch(checkpoint_of(3), scratch / "a" / "last.ckpt")
    assert not (scratch / "a").exists()
    for content in (b"first", b"second"):
        (scratch / "mine").write_bytes(content)
        store.keep(checkpoint_of(3), scratch / "mine")
        assert store.fetch(checkpoint_of(3), scratch / "a" / "last.ckpt")
        assert (scratch / "a" / "last.ckpt").read_bytes() == content
    assert [path.name for path in (tmp_path / "run" / "checkpoints" / "3").iterdir()] == ["last.ckpt"]


def test_who_trains_in_the_run_folder_copies_nothing(tmp_path: Path) -> None:
    store, path = FolderStore(tmp_path), tmp_path / weights_of(3)
    path.parent.mkdir()
    path.write_bytes(b"weights")
    inode = path.stat().st_ino
    store.keep(weights_of(3), path)
    assert store.fetch(weights_of(3), path)
    assert path.stat().st_ino == inode


def test_what_cannot_be_kept_leaves_the_older_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "old").write_bytes(b"old")
    store.keep(weights_of(3), tmp_path / "old")
    with pytest.raises(OSError):
        store.keep(weights_of(3), tmp_path / "missing")
    assert (tmp_path / weights_of(3)).read_bytes() == b"old"
    assert len(list((tmp_path / "weights").iterdir())) == 1


def test_the_names_are_those_of_a_run_folder() -> None:
    assert (checkpoint_of(17), weights_of(17), logs_of(17)) == (
        "checkpoints/17/last.ckpt", "weights/17.safetensors", "logs/17",
    )  # fmt: skip
