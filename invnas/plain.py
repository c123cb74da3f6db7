"""Values as plain JSON data and back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any

from invnas.choice import facts_of
from invnas.errors import BadInput, InvnasError, nearest, shown

#: Metadata of a field that joined a value after its first version: it is written only where it differs from its
#: default, so that values without it keep their JSON and their fingerprint.
LATER: Mapping[str, bool] = {"later": True}

#: What may stand in a field of an annotation, and how a sentence says it.
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "int | None": ((int, type(None)), "a whole number or null"),
    "bool": ((bool,), "true or false"),
}


def to_plain(value: Any) -> Any:
    """Return plain JSON data in which each dataclass says its type."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{name: to_plain(part) for name, part in _written(value)}}
    if isinstance(value, tuple | list):
        return [to_plain(part) for part in value]
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return _small(value)
    raise BadInput(f"an architecture holds numbers, text and dataclasses only, but found {shown(value, 80)}")


def to_text(value: Any) -> str:
    """Return the JSON of `to_plain` in one line; what a frozen value becomes is worked out once."""
    if is_dataclass(value) and not isinstance(value, type):
        facts = facts_of(value)
        text: str | None = facts.get("json")
        if text is None:
            kept = [f'"{name}":{to_text(part)}' for name, part in _written(value)]
            text = facts["json"] = "{" + ",".join([f'"type":"{type(value).__name__}"', *kept]) + "}"
        return text
    if isinstance(value, tuple | list):
        return "[" + ",".join(map(to_text, value)) + "]"
    return str(_small(value)) if type(value) is int else json.dumps(to_plain(value))


def _small(value: int) -> int:
    if value.bit_length() > 63:
        raise BadInput(f"whole numbers of an architecture lie below 2**63, but one has {value.bit_length():,} bits")
    return value


def _written(value: Any) -> list[tuple[str, Any]]:
    """Return the parts of a dataclass that JSON holds: all but those that joined later and are as by default."""
    kind: Any = type(value)
    parts = [(name, getattr(value, name), later, usual) for name, later, usual in _layout(kind)]
    return [(name, part) for name, part, later, usual in parts if not later or part != usual]


@lru_cache(maxsize=1_000)
def _layout(kind: type) -> tuple[tuple[str, bool, Any], ...]:
    """Return each field of a dataclass with whether it joined later, and its default."""
    found = [field for field in fields(kind) if field.init]
    return tuple((field.name, bool(field.metadata.get("later")), field.default) for field in found)


def from_plain(data: Any, types: Mapping[str, type], strict: Collection[str] = (), path: str = "architecture") -> Any:
    """Return the value of plain JSON data.

    Args:
        data: What `to_plain` returned.
        types: The dataclasses that may stand in it, by name.
        strict: Names of those whose `int`, `int | None` and `bool` fields are checked.
        path: Where in a larger value this one stands.

    Raises:
        BadInput: If a type or key is unknown or missing, or a value cannot be.
    """
    if isinstance(data, list):
        return tuple(from_plain(part, types, strict, f"{path}.{i}") for i, part in enumerate(data))
    if not isinstance(data, dict):
        return data
    name = str(data.get("type"))
    if name not in types:
        raise BadInput(f"unknown type '{name}' at {path}; {nearest(name, types)}")
    values = {key: from_plain(part, types, strict, f"{path}.{key}") for key, part in data.items() if key != "type"}
    target = types[name]
    known = {field.name: field for field in fields(target) if field.init}
    for key in values:
        if key not in known:
            raise BadInput(f"unknown key '{key}' in {name} at {path}; {nearest(str(key), known)}")
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise BadInput(f"the key '{key}' of {name} is missing at {path}")
        if key in values and name in strict:
            _check_kind(values[key], field.type, f"{path}.{key}")
    try:
        return target(**values)
    except InvnasError:
        raise
    except Exception as error:  # from a user's own __post_init__
        raise BadInput(f"{name} at {path} refuses its values: {type(error).__name__}: {error}") from error


def _check_kind(value: Any, kind: Any, path: str) -> None:
    wanted, words = _KINDS.get(str(kind), ((), ""))
    if wanted and type(value) not in wanted:
        raise BadInput(f"{path} must be {words}, but got {shown(value)}")
