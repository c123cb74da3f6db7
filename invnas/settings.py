"""The fields of settings, each of the type its annotation names: what is meant is taken, the rest refused by name."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from invnas.errors import BadInput, nearest, shown

#: Metadata of a field that is a count and may be written as 30M.
COUNT: Mapping[str, bool] = {"count": True}

#: No whole number of a setting is this large: what reads it has 64 bits.
LIMIT = 2**63
#: Bits of a whole number that Python still writes as text.
WRITABLE = 14_000

_COUNT = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\d{1,2})?)\s*([kKmMgG]?)")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_count(text: str | int) -> int:
    """Return a count written as 30M, 1.5G, 200k or a plain number.

    >>> parse_count("1.5M")
    1500000
    """
    match = _COUNT.fullmatch(str(text).strip())
    if match is None or isinstance(text, bool):
        raise BadInput(f"'{text}' is not a count: write a number, or a number with k, M or G, such as 30M")
    number, scale = match[1], _SCALE[match[2].lower()]
    return int(number) * scale if number.isdecimal() else round(float(number) * scale)


def path_of(value: Any, name: str) -> Path:
    """Return a path that was given as text or as a path.

    Raises:
        BadInput: If it is something else, or no system has such a path.
    """
    if not isinstance(value, str | PurePath) or not str(value) or "\0" in str(value):
        raise _refused(name, "a path", value)
    return Path(value)


def settle(value: Any, prefix: str = "") -> None:
    """Give each field of a frozen dataclass the type of its annotation.

    Args:
        value: The value, while it is made.
        prefix: What its fields are called after, such as "recipe.".

    Raises:
        BadInput: If a field holds what cannot be meant, with its name.
    """
    kinds = get_type_hints(type(value))
    for one in fields(value):
        taken = _taken(getattr(value, one.name), kinds[one.name], f"{prefix}{one.name}", one)
        object.__setattr__(value, one.name, taken)


def _taken(value: Any, kind: Any, name: str, field: Field[Any]) -> Any:
    options = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        if isinstance(value, str) and str in options:  # text or a mapping
            options = (str,)
        words = next((option for option in options if get_origin(option) is Literal), None)
        if words:  # a number, or a word in its place
            return value if value in get_args(words) else _number(value, name, f"a number or {get_args(words)[0]}")
        kind = next(option for option in options if option is not type(None))
    if kind is int and field.metadata.get("count"):
        return _count(value, name)
    if get_origin(kind) is Literal:
        return _one_of(value, options, name)
    if is_dataclass(kind):
        return _made(value, kind, name)
    take = _TAKE.get(get_origin(kind) or kind)
    return value if take is None else take(value, name)


def _refused(name: str, wanted: str, value: Any) -> BadInput:
    said = value[:60] if isinstance(value, str) else shown(value, 60)
    quote = "" if "'" in said else "'"  # a list of words has quotes of its own
    return BadInput(f"`{name}` must be {wanted}, but got {quote}{said}{quote}")


def whole(value: Any, name: str) -> int:
    """Return a whole number that was given as one or as text; otherwise raise BadInput with its name."""
    text = isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,19}\s*", value)
    if isinstance(value, bool) or not (isinstance(value, Integral) or text):
        raise _refused(name, "a whole number", value)
    if not -LIMIT <= int(value) < LIMIT:
        raise BadInput(f"`{name}` must be below 2**63, but is larger")
    return int(value)


def _count(value: Any, name: str) -> int:
    try:
        return whole(value if isinstance(value, Integral) else parse_count(value), name)
    except BadInput as error:
        raise error if str(error).startswith("`") else BadInput(f"`{name}`: {error}") from None


def _number(value: Any, name: str, wanted: str = "a number") -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, Real | str):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _refused(name, wanted, value) from None
    if not math.isfinite(number):
        raise _refused(name, "a finite number", value)
    return number


def _truth(value: Any, name: str) -> bool:
    known: Mapping[Any, bool] = {"true": True, "yes": True, "false": False, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise _refused(name, "true or false", value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str | PurePath):
        raise _refused(name, "text", value)
    return str(value)


def names(value: Any, name: str) -> tuple[str, ...]:
    """Return words that were given in a list or with commas between; otherwise raise BadInput with their name."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise _refused(name, "names such as top1,macs", value)
    return tuple(part for part in parts if part)


def _one_of(value: Any, valid: tuple[str, ...], name: str) -> str:
    if value not in valid:
        near = nearest(str(value), valid).split(";")[0]
        raise BadInput(f"`{name}` must be one of {', '.join(valid)}, but got '{value!s:.60}'; {near}")
    return str(value)


def _made(value: Any, kind: Any, name: str) -> Any:
    if isinstance(value, kind):
        return value
    known = [one.name for one in fields(kind)]
    if not isinstance(value, Mapping):
        raise _refused(name, f"a {kind.__name__} or a mapping of {', '.join(known)}", value)
    for key in value:
        if key not in known:
            raise BadInput(
                f"unknown key '{name}.{key}'; {nearest(f'{name}.{key}', [f'{name}.{one}' for one in known])}"
            )
    return kind(**value)


def _arguments(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _refused(name, "a mapping such as {key: value}", value)
    found: dict[str, Any] = _plain(value, name, 0)
    return found


def _plain(value: Any, name: str, depth: int) -> Any:
    """Return what JSON can hold, which is how arguments are written to the run folder."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral) and int(value).bit_length() <= WRITABLE:
        return int(value)
    if isinstance(value, Real) and not isinstance(value, Integral) and math.isfinite(value):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if depth > 50:
        raise BadInput(f"`{name}` nests deeper than 50 values")
    if isinstance(value, list | tuple):
        return [_plain(part, name, depth + 1) for part in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(part, name, depth + 1) for key, part in value.items()}
    raise BadInput(f"`{name}` must hold finite numbers, text, lists and mappings by text, but holds {shown(value, 60)}")


_TAKE: Mapping[Any, Callable[[Any, str], Any]] = {
    int: whole,
    float: _number,
    bool: _truth,
    str: _text,
    tuple: names,
    dict: _arguments,
}
