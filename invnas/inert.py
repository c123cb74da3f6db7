"""Values that only look like a user's own: what a stranger's run holds can be shown without executing his files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, make_dataclass
from functools import lru_cache
from typing import Any

from invnas.architecture import SHIPPED
from invnas.errors import BadInput


def inert_types(plain: Any) -> Mapping[str, type]:
    """Return a dataclass for each type in plain data that is not of invnas: its fields, and nothing that runs.

    Args:
        plain: What `Architecture.to_dict` returned.

    Raises:
        BadInput: If a type or one of its fields has a name that no class can have.
    """
    found: dict[str, dict[str, None]] = {}
    waiting = [plain]
    while waiting:  # not by recursion: it may nest without end
        value = waiting.pop()
        if isinstance(value, dict):
            if (name := str(value.get("type"))) not in SHIPPED:
                found.setdefault(name, {}).update(dict.fromkeys(key for key in value if key != "type"))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return {name: _inert(name, tuple(keys)) for name, keys in found.items()}


@lru_cache(maxsize=256)
def _inert(name: str, keys: tuple[str, ...]) -> type:
    try:
        if not name.isidentifier():
            raise ValueError(name)
        return make_dataclass(name, [(key, Any, field(default=None)) for key in keys], frozen=True)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"'{name:.60}' cannot be the name of a type of an architecture, or a field of it: {error}"
        ) from None
