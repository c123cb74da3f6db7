"""The folder an export is written to: whole or not at all, and never over somebody else's files."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from invnas.errors import BadInput
from invnas.export.description import FILE
from invnas.files import sync, sync_folder

CARD = "README.md"


def check_target(folder: Path, files: frozenset[str]) -> None:
    """Raise BadInput unless a folder is new, empty, or a previous export that nobody added to."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"'{folder}' is a file; an export needs a folder of its own")
    if folder.resolve() == Path.cwd():
        raise BadInput("the export folder is replaced as a whole, so it cannot be the current folder; name another")
    found = {path.name for path in folder.iterdir()}
    foreign = found - files if FILE in found else found
    if foreign:
        raise BadInput(
            f"'{folder}' holds `{min(foreign)}`, which is not of an export: name a new folder, so that nothing is lost"
        )


@contextlib.contextmanager
def replacing(folder: Path, files: frozenset[str]) -> Iterator[Path]:
    """Give an empty folder to write to, which takes the place of `folder` if nothing fails inside.

    Raises:
        BadInput: If the place cannot be written or holds files other than `files`.
    """
    target = folder.resolve()
    mark = uuid.uuid4().hex[:8]
    staging, old = (target.with_name(f".{target.name}.{mark}.{end}") for end in ("new", "old"))
    try:
        check_target(folder, files)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        yield staging
        check_target(folder, files)  # tracing takes a while
        for path in staging.iterdir():
            sync(path)
        sync_folder(staging)
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(staging, target)
        except BaseException:
            if old.exists():
                _put_back(old, target)
            raise
        sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"the export cannot be written to '{folder}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_back(old: Path, target: Path) -> None:
    """Name a previous export as it was called.

    Raises:
        BadInput: If that fails too; it then lies where it is, and the sentence says where.
    """
    try:
        os.rename(old, target)
    except OSError as error:
        raise BadInput(
            f"the export cannot be written to '{target}', and the previous one cannot be put back "
            f"({error.strerror or error}): nothing of it is lost, it lies in '{old}'"
        ) from error
