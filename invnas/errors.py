"""What can go wrong, as one sentence each. This module imports nothing of invnas."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return the end of an error sentence: the valid choice nearest to `word`, then all of them.

    >>> nearest("marcs", ["macs", "top1"])
    "nearest: 'macs'; valid: macs, top1"
    """
    names = [str(name) for name in valid]
    match = difflib.get_close_matches(word, names, n=1, cutoff=0.4)
    return (f"nearest: '{match[0]}'; " if match else "") + f"valid: {', '.join(names)}"
