"""Writes docs/reference.md from the docstrings of the public names: python docs/make_reference.py."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from pathlib import Path
from typing import Any

import invnas

PAGE = Path(__file__).parent / "reference.md"
HEAD = """# Reference

The public names of invnas, as `dir(invnas)` shows them. Made from their docstrings by `python
docs/make_reference.py`; every example runs as a test.
"""


def page() -> str:
    """Return the whole page."""
    return "\n\n".join([HEAD.strip(), *(_entry(name, getattr(invnas, name)) for name in invnas.__all__)]) + "\n"


def _entry(name: str, value: Any) -> str:
    kind = "class" if inspect.isclass(value) else "def"
    text = [f"## {name}\n", f"```python\n{kind} {name}{_signature(value)}\n```\n", _body(inspect.getdoc(value) or "")]
    if inspect.isclass(value) and not (dataclasses.is_dataclass(value) and name == "Trial"):
        text += [_method(name, key, part) for key, part in vars(value).items() if _is_public(key, part)]
    return "\n".join(text).strip()


def _is_public(key: str, part: Any) -> bool:
    documented = isinstance(part, property | cached_property | classmethod | staticmethod) or inspect.isfunction(part)
    return documented and not key.startswith("_") and bool(inspect.getdoc(part))


def _method(owner: str, key: str, part: Any) -> str:
    called = part.__func__ if isinstance(part, classmethod | staticmethod) else part
    head = (
        f"`{owner}.{key}`"
        if isinstance(part, property | cached_property)
        else f"`{owner}.{key}{_signature(called, method=True)}`"
    )
    return f"- {head}: {(inspect.getdoc(part) or '').splitlines()[0]}"


def _signature(value: Any, method: bool = False) -> str:
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    kept = list(found.parameters.values())[1 if method else 0 :]
    # Factories and functions show an address.
    shown = [one.replace(default="...") if str(one.default).startswith("<f") else one for one in kept]
    return str(found.replace(parameters=shown)).replace("'", "")


def _body(doc: str) -> str:
    lines, inside = [], False
    for line in doc.splitlines():
        example = line.lstrip().startswith(">>> ")
        if example and not inside:
            lines.append("```python")
            inside = True
        if inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line.lstrip() if inside else _listed(line))
    return "\n".join([*lines, *(["```"] if inside else [])]) + "\n"


def _listed(line: str) -> str:
    name, colon, rest = line.strip().partition(": ")
    if line.startswith("    ") and not line.startswith("     ") and colon and name.isidentifier():
        return f"- `{name}`: {rest}"
    if line in ("Args:", "Attributes:", "Returns:", "Raises:"):
        return f"**{line.removesuffix(':')}**\n"
    return line.strip() if not line.startswith("        ") else f"  {line.strip()}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
