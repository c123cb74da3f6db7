"""What can go wrong, as one sentence each. This module imports nothing of invnas."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator


class InvnasError(Exception):
    """Base of every error invnas raises on purpose; its text is one sentence for the user."""


class BadInput(InvnasError):
    """The user's input breaks a rule (the command line exits with code 2)."""


class InvalidArchitecture(BadInput):
    """An architecture that cannot be built, with the reason and the place."""


class UnpricedOperator(BadInput):
    """A network runs an operator for which nobody stated how many multiply-adds it needs."""


class MissingExtra(BadInput):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package `{package}`, which is not installed: run pip install 'invnas[{extra}]'"
        )


class TrialFailed(InvnasError):
    """One training ended without a measurement (NaN, divergence, out of memory); the search goes on."""


class DiskFailed(InvnasError):
    """A disk is full, over its quota, read-only or broken: neither the input nor a trial is at fault."""


_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG})
# What torch says of a file that it could not write has no number.
_DISK_WORDS = (*(os.strerror(number) for number in _DISK), "file write failed")


def disk_failure(error: BaseException | None) -> str | None:
    """Return what a disk refused, when that is what an error comes from, and None otherwise."""
    for one in _causes(error):
        text = " ".join(str(one).split())
        if isinstance(one, OSError) and one.errno in _DISK:
            return f"{one.filename or 'a file'} cannot be written or read: {one.strerror}"
        said = isinstance(one, RuntimeError) and any(words in text for words in _DISK_WORDS)
        if said or isinstance(one, DiskFailed):
            return text
    return None


# What the libraries below torch say has no class: its CPU allocator (by system), C++, oneDNN, CUDA's libraries, mmap.
_MEMORY_WORDS = (
    "can't allocate memory", "not enough memory", "std::bad_alloc", "could not execute a primitive",
    "could not create a memory", "out of memory", "ALLOC_FAILED", "Cannot allocate memory",
)  # fmt: skip
# As a whole: of an operator that oneDNN does not have it says "could not create a primitive descriptor".
_MEMORY_SENTENCE = "could not create a primitive"


def out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error comes from memory that ran out, on the CPU or on a GPU."""
    for one in _causes(error):
        # Those of torch and CuPy for GPUs are told by their name: this module imports nothing.
        if isinstance(one, MemoryError) or type(one).__name__ == "OutOfMemoryError":
            return True
        said = str(one)
        if isinstance(one, RuntimeError | OSError) and (
            said == _MEMORY_SENTENCE or any(words in said for words in _MEMORY_WORDS)
        ):
            return True
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it comes from, as a traceback shows them."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def said_of(error: BaseException) -> str:
    """Return what an error says in one line, without the frames of C++ that torch adds."""
    return " ".join(str(error).partition("\nException raised from ")[0].split()).rstrip('" ')


def unwritable(what: str, error: OSError) -> InvnasError:
    """Return the error of something that cannot be written: `DiskFailed` or, where the name is wrong, `BadInput`."""
    kind = DiskFailed if error.errno in _DISK else BadInput
    return kind(f"{what}: {error.strerror or error}")


def shown(value: object, most: int = 40) -> str:
    """Return a value as a message repeats it: the beginning of its text, whatever it is.

    >>> shown("wide"), shown(range(10**9), 8), shown(10**5000)
    ("'wide'", 'range(0,', 'an int too long to be written')
    """
    try:
        return repr(value)[:most]
    except Exception:  # Python writes no whole number of more than 4,300 digits, and a user's own __repr__ may fail
        kind = type(value).__name__
        return f"a{'n' if kind[0].lower() in 'aeiou' else ''} {kind} too long to be written"


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return the end of an error sentence: the valid choice nearest to `word`, then all of them.

    >>> nearest("marcs", ["macs", "top1"])
    "nearest: 'macs'; valid: macs, top1"
    """
    names = [str(name) for name in valid]
    match = difflib.get_close_matches(word, names, n=1, cutoff=0.4)
    return (f"nearest: '{match[0]}'; " if match else "") + f"valid: {', '.join(names)}"
