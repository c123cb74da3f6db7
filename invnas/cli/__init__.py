"""The command line: arguments in, one call, print out.

Torch and Optuna are imported by the commands that need them, never by the help or a refusal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from invnas import __version__
from invnas.cli import doctor, networks, runs, spaces, use
from invnas.engine.signals import stopped_by_signals
from invnas.errors import BadInput, InvnasError, disk_failure, nearest

COMMANDS: Mapping[str, Callable[..., None]] = {
    "search": runs.search,
    "resume": runs.resume,
    "confirm": runs.confirm,
    "status": runs.status,
    "report": runs.report,
    "export": runs.export,
    "retrain": runs.retrain,
    "predict": use.predict,
    "evaluate": use.evaluate,
    "profile": networks.profile,
    "space check": spaces.check,
    "space sample": spaces.sample,
    "space show": spaces.show,
    "list": spaces.list_shipped,
    "doctor": doctor.doctor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 (ran and failed, or was stopped) or 2 (bad input)."""
    if "" not in sys.path:
        # As with python -m: a user's own data module or sampler may lie in the current folder. Last, to hide nothing.
        sys.path.append("")
    with stopped_by_signals():
        return _ended(list(sys.argv[1:] if argv is None else argv))


def _ended(words: list[str]) -> int:
    try:
        return _run(words)
    except BadInput as error:
        _say(f"error: {error}")
        return 2
    except InvnasError as error:
        _say(f"error: {error}")
    except KeyboardInterrupt as stop:
        _say(str(stop) or "stopped")
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if (refused := disk_failure(error)) is not None:
            _say(f"error: {refused}")
            return 1
        if os.environ.get("INVNAS_DEBUG"):
            raise
        _say(f"internal error: {type(error).__name__}: {error}; INVNAS_DEBUG=1 shows where, please report it")
    return 1


def _say(sentence: str) -> None:
    with suppress(OSError):  # the terminal may be what is gone
        print(f"invnas: {' '.join(sentence.split())}", file=sys.stderr)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help(COMMANDS))
        return 0
    if words[0] == "--version":
        print(f"invnas {__version__}")
        return 0
    group = {name: command for name, command in COMMANDS.items() if name.startswith(f"{words[0]} ")}
    if group and (len(words) == 1 or words[1] in ("-h", "--help")):
        print(_help(group))
        return 0
    name, rest = (" ".join(words[:2]), words[2:]) if group else (words[0], words[1:])
    if name not in COMMANDS:
        raise BadInput(f"unknown command '{name}'; {nearest(name, COMMANDS)}")
    from invnas.cli.parser import parse

    try:
        arguments = parse(name, COMMANDS[name], rest)
    except SystemExit:  # the help of the command was shown
        return 0
    COMMANDS[name](**arguments)
    return 0


def _help(commands: Mapping[str, Callable[..., None]]) -> str:
    lines = [f"  invnas {name:<13} {(command.__doc__ or '').splitlines()[0]}" for name, command in commands.items()]
    return "\n".join(
        [
            "invnas: neural architecture search over hybrids of convolution and involution",
            "",
            *lines,
            "",
            "invnas COMMAND --help says what a command takes. Exit codes: 0 done, 1 failed or stopped",
            "(by Ctrl-C, SIGTERM or SIGHUP: what was trained is kept), 2 bad input.",
            "Example: invnas search digits --run-dir runs/digits --export models/digits",
        ]
    )
