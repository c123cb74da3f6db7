"""A folder that one process writes to at a time, on every system."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invnas.errors import BadInput

#: Seconds to wait for a lock: `holder_of` takes it for a moment.
_PATIENCE = 0.2
#: What a system says of a file that another process has locked.
_LOCKED = PermissionError if sys.platform == "win32" else BlockingIOError


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder for writing. A kill of this process lets go of it, and no forked child keeps it.

    Args:
        folder: An existing folder; the files `lock` and `holder` appear in it.

    Raises:
        BadInput: If another process holds the folder (it is named), or the folder cannot be written or locked.
    """
    from filelock import FileLock, Timeout  # it takes asyncio along, which no reader needs

    if not folder.is_dir():  # the lock would make it anew
        raise BadInput(f"cannot write the run folder {folder}: there is no such folder")
    # A file that stands for a lock would outlive a kill.
    lock = FileLock(folder / "lock", timeout=_PATIENCE, thread_local=False, fallback_to_soft=False)
    # Beside the lock: where locks are mandatory, nobody else can read a locked file.
    holder = folder / "holder"
    try:
        lock.acquire(poll_interval=0.02)
        holder.write_text(str(os.getpid()), encoding="utf-8")
    except Timeout:
        raise BadInput(f"the run {folder} is in use by process {_named(holder)}: wait for it or stop it") from None
    except OSError as error:
        lock.release()
        raise BadInput(f"cannot write the run folder {folder}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def holder_of(folder: Path) -> str | None:
    """Return the number of the process that holds a folder, "unknown" where it cannot be read, None where none does."""
    try:
        with (folder / "lock").open("rb") as file:
            if sys.platform == "win32":
                file.read(1)  # refused where another process has locked it
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except _LOCKED:
        return _named(folder / "holder")
    except OSError:  # no lock, or a file system that knows none
        return None
    return None


def _named(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8").strip() or "unknown"
    except (OSError, ValueError):
        return "unknown"
