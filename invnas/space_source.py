"""The Python file of a space that is given as an object: a run folder holds the text of its space."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from invnas.architecture import SHIPPED
from invnas.errors import BadInput
from invnas.shipped import find
from invnas.space import Space, load_space

_IMPORTS = f"from invnas import Choice, Repeat, Space, {', '.join(SHIPPED)}"

#: Files that are being read to see whether they define the space: a search that one of them starts would read it again.
_reading: list[str] = []


@contextmanager
def space_file(space: Any) -> Iterator[Path]:
    """Give the file of a space: the one that is named, or one with the text of an object.

    Args:
        space: A shipped name, a path, or a `Space`, a network value or a function.

    Raises:
        BadInput: If there is no such file, or no text that defines the object could be found.
    """
    if isinstance(space, str):
        yield find("search_spaces", space)
        return
    with TemporaryDirectory(prefix="invnas-") as folder:
        path = Path(folder, "space.py")
        _write(space, path)
        yield path


def _write(given: Any, path: Path) -> None:
    if _reading:
        raise BadInput(
            f"'{_reading[-1]}' starts a search when it is read: put that below `if __name__ == '__main__':`, since the "
            "file is copied into the run folder for the space in it"
        )
    space, reason = given if isinstance(given, Space) else Space(given), ""
    for file, text in _texts(given, space):
        path.write_text(text, encoding="utf-8")
        _reading.append(file)
        try:
            found = load_space(path)
        except BadInput as error:
            reason = f" ({error})"
            continue
        finally:
            _reading.pop()
        if _same(found, space):
            return
    raise BadInput(
        "the space cannot be written to the run folder: put it and the classes it is made of into a Python file, and "
        f"give that file as `space`{reason}"
    )


def _texts(given: Any, space: Space) -> Iterator[tuple[str, str]]:
    """Yield texts that may define a space, each with the file it is from, the surest first."""
    rebuilt = f"{_IMPORTS}\n\nspace = Space({space.network!r}, name={space.name!r})\n"
    plain = not space.constraints and space.traits is None
    if plain and not space.types:
        yield "space.py", rebuilt
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if (value is given or value is space.network) and (text := _source(module)):
                yield str(module.__file__), f"{text}\n\nspace = {name}\n"
    for module in [module for name, module in list(sys.modules.items()) if name.startswith("invnas_space_")]:
        if _holds(module, space) and (text := _source(module)):  # a function becomes another value
            yield str(module.__file__), text
    homes = {sys.modules.get(kind.__module__) for kind in space.types.values()}
    if plain and len(homes) == 1 and (text := _source(home := homes.pop())):
        yield str(getattr(home, "__file__", "")), f"{text}\n\n{rebuilt}"


def _holds(module: Any, space: Space) -> bool:
    """Whether a file that was read has such a space: no other one is executed once more."""
    for value in list(vars(module).values()):
        own = getattr(value, "__module__", "") == module.__name__ or isinstance(value, Space) or is_dataclass(value)
        if own and not isinstance(value, type):
            with suppress(BadInput):
                if _same(value if isinstance(value, Space) else Space(value), space):
                    return True
    return False


def _source(module: Any) -> str:
    try:
        return inspect.getsource(module) if str(getattr(module, "__file__", "")).endswith(".py") else ""
    except (OSError, TypeError):
        return ""


def _same(one: Space, other: Space) -> bool:
    """Whether two spaces are alike, though their classes were made by two readings of one file."""

    def text(space: Space) -> str:
        return re.sub(r" at 0x[0-9a-f]+", "", repr((space.network, len(space.constraints), space.traits is None)))

    return text(one) == text(other) and (bool(other.types) or one.network == other.network)
