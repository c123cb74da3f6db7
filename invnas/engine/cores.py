"""Which cores of this machine are for trainings, and which are kept free for the clock."""

from __future__ import annotations

import os
import sys

from invnas.errors import BadInput


def free_cores() -> list[int]:
    """Return the cores that this process may use."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def reserved(number: int) -> tuple[int, ...]:
    """Return the last so many cores, which trainings leave free.

    Raises:
        BadInput: If nothing would be left for trainings, or this system binds no process to cores.
    """
    if not number:
        return ()
    if sys.platform != "linux":
        raise BadInput("`reserve_cores` binds processes to cores, which invnas does on Linux alone")
    cores = free_cores()
    if number >= len(cores):
        raise BadInput(
            f"`reserve_cores` must leave a core for the trainings: this machine has {len(cores)}, but got {number}"
        )
    return tuple(cores[-number:])


def unreserved(number: int) -> tuple[int, ...]:
    """Return the cores that are left for trainings; none where none are reserved: that binds nothing."""
    kept = reserved(number)
    return tuple(core for core in free_cores() if core not in kept) if kept else ()
