"""Files that appear whole or not at all, after a kill and after a power cut."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from invnas.errors import BadInput, disk_failure

_T = TypeVar("_T")

#: Largest JSON file that is read, in bytes: a description of a network or a run is a thousandth of it.
MAX_JSON = 2**26


def cache_folder() -> Path:
    """Return where invnas keeps what another run can use: INVNAS_CACHE, or invnas in the user's cache directory."""
    if own := os.environ.get("INVNAS_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The standard says that a path that is not absolute is to be ignored.
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "invnas"


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a new file to write to, which takes the place of `path` once it is on the disk, if nothing fails inside.

    Args:
        path: Where to; an older file stays until then.
        durable: Whether it shall outlive a power cut: that costs milliseconds of waiting for the disk.

    Raises:
        OSError: If the folder is missing, or the disk is full; the older file is then as it was.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield fresh
        if durable:
            sync(fresh)
        os.replace(fresh, path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        if disk_failure(error) is None:
            raise
        # Who writes may know the file by another name, such as that of a temporary one.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file whole or not at all; arguments and errors are those of `replacing`."""
    with replacing(path, durable=durable) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="")


def read_json(path: Path, most: int = 0) -> Any:
    """Return what a JSON file holds.

    Raises:
        BadInput: If it cannot be read, is larger than `MAX_JSON` and `most` bytes, or is no JSON; one sentence with the
            file.
    """
    most = max(most, MAX_JSON)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise BadInput(f"{path} is larger than {most:,} bytes, so it is not read")
        return json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also bytes that are no text, and numbers of thousands of digits
        why = "values nest too deeply" if isinstance(error, RecursionError) else error
        raise BadInput(f"{path} is malformed: it is not valid JSON: {why}") from None


def read_as(path: Path, rebuild: Callable[[Any], _T]) -> _T:
    """Return what is rebuilt of what a JSON file holds.

    Raises:
        BadInput: As `read_json`, or if it holds something else; one sentence with the file.
    """
    data = read_json(path)
    try:
        return rebuild(data)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, OSError) as error:  # OSError: of a clock
        raise BadInput(f"{path} is malformed: {type(error).__name__}: {error}") from None


def sync(path: Path) -> None:
    """Wait until what a file holds is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can tell."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
