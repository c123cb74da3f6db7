"""Calm memory for measurements: what is timed shall be arithmetic, not page faults."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> None:
    """Tell glibc to neither map nor return the memory of big tensors: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-1, 2**31 - 1)
        libc.mallopt(-3, 2**30)
