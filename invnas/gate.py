"""The one gate through which code of a user is called: whatever it raises becomes one sentence, whoever calls it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from invnas.errors import BadInput, InvnasError, UnpricedOperator, said_of

_EXIT = os._exit
# Processes and threads in which a user's code runs, as often as it is entered.
_inside: list[tuple[int, int]] = []


class Exited(SystemExit):
    """A user's code called `os._exit`."""


@contextmanager
def no_exit() -> Iterator[None]:
    """Let `os._exit` in this thread raise `Exited`: it would end the search without a word, even with success.

    Processes that are forked meanwhile, and other threads, end as they want to.
    """
    place = os.getpid(), threading.get_ident()
    _inside.append(place)
    os._exit = _refuse
    try:
        yield
    finally:
        _inside.remove(place)
        if not _inside:
            os._exit = _EXIT


def _refuse(status: Any) -> NoReturn:
    if (os.getpid(), threading.get_ident()) in _inside:
        raise Exited(status)
    _EXIT(status)


def call_of(error: SystemExit) -> str:
    """Return the call that raised it, as it may have been written.

    >>> call_of(SystemExit(0))
    'sys.exit(0)'
    """
    name = "os._exit" if isinstance(error, Exited) else "sys.exit"
    return f"{name}({'' if error.code is None else repr(error.code)})"


@contextmanager
def user_code(what: str, refusal: type[InvnasError] = BadInput) -> Iterator[None]:
    """Turn whatever a user's code raises into one sentence that says what was called.

    `sys.exit()` and `os._exit()` in it do not end the program; Ctrl-C and errors that invnas raises on purpose pass as
    they are.

    Args:
        what: What is called, as the sentence begins: "the constraint `no_pools`".
        refusal: What is raised.
    """
    try:
        with no_exit():
            yield
    except UnpricedOperator:  # to leave the operator out without a word would hide what the user has to state
        raise
    except BadInput as error:  # a user's own value may refuse what it is given in our words
        if isinstance(error, refusal) or not issubclass(refusal, BadInput):
            raise
        raise refusal(str(error)) from error
    except (InvnasError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise refusal(f"{what} called {call_of(error)}") from error
    except BaseException as error:
        said = said_of(error)
        raise refusal(f"{what} raised {type(error).__name__}" + (f": {said:.500}" if said else "")) from error
