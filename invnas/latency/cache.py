"""What was timed, kept by what it was: a file each, in the run and in the user's cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from invnas.errors import BadInput
from invnas.files import read_json, write_text

Key = Mapping[str, Any]
Values = dict[str, float]


class Cache:
    """Numbers by a key of plain data, in a folder that many processes may use.

    A file that is damaged, missing or cannot be written is no error: what it held is timed anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Key) -> Values | None:
        """Return the numbers that are kept under a key, finite and not negative; None where there are none."""
        found = _read(self._folder / _name(key))
        return found[1] if found is not None and found[0] == dict(key) else None

    def put(self, key: Key, values: Values) -> None:
        """Keep numbers under a key; the file appears whole or not at all."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_text(self._folder / _name(key), json.dumps({"key": dict(key), "values": values}), durable=False)

    def every(self) -> Iterator[tuple[Key, Values]]:
        """Yield all that is kept."""
        for path in sorted(self._folder.glob("*.json")):
            if (found := _read(path)) is not None:
                yield found


def _read(path: Path) -> tuple[Key, Values] | None:
    with suppress(BadInput, KeyError, TypeError, ValueError, AttributeError):
        found = read_json(path)
        values = {str(name): float(value) for name, value in found["values"].items()}
        if isinstance(found["key"], dict) and all(math.isfinite(one) and one >= 0 for one in values.values()):
            return found["key"], values
    return None


def _name(key: Key) -> str:
    return f"{hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]}.json"
