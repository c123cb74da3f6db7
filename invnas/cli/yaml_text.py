"""What a user writes as YAML, in a file or behind an option: looked at before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from invnas.errors import BadInput

#: The parser mode of every command: YAML that is checked first.
MODE = "invnas"

#: Largest file, in bytes, the most values it may hold (each alias counts as what it names), and how deep they nest.
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 2**20, 10_000, 50

#: Tags of plain data; with any other one a value would be an object.
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in "null bool int float str seq map merge timestamp value".split()}


class _Refused(yaml.MarkedYAMLError):
    def __init__(self, problem: str, place: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=place)


def read_yaml(path: Path) -> Mapping[str, yaml.Node]:
    """Return the keys of a YAML file that holds a mapping, each with its value as YAML reads it.

    Raises:
        BadInput: If it cannot be read, is malformed (with the line), too large, or holds no mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise BadInput(f"{path} is larger than {MAX_BYTES:,} bytes: these are no settings")
        return mapping(_composed(content.decode("utf-8-sig")), "the file", path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise BadInput(f"{path} is malformed YAML{place}: {said}") from None


def mapping(node: yaml.Node | None, what: str, path: Path) -> Mapping[str, yaml.Node]:
    """Return the keys of a mapping with their values, those of merged mappings first.

    Raises:
        BadInput: If it is something else, with what was to be a mapping.
    """
    if not isinstance(node, yaml.MappingNode):
        held = "nothing" if node is None else repr(node.value if isinstance(node, yaml.ScalarNode) else "a list")
        raise BadInput(f"{path}: {what} must be a mapping of keys to values, but holds {held:.60}")
    yaml.constructor.SafeConstructor().flatten_mapping(node)
    return {str(key.value): value for key, value in node.value}


def text_of(node: yaml.Node) -> str:
    """Return a value as it is written behind an option: text in the user's own words, anything else as YAML."""
    _spell_nulls(node)
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    return str(yaml.serialize(node, Dumper=yaml.SafeDumper, width=float("inf"), allow_unicode=True))


def _spell_nulls(node: yaml.Node) -> None:
    if node.tag == "tag:yaml.org,2002:null":
        node.value = "null"  # jsonargparse takes {a:} for text
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        for value in part if isinstance(part, tuple) else (part,):
            _spell_nulls(value)


def _composed(text: str) -> yaml.Node | None:
    """Return a text as nodes.

    Raises:
        YAMLError: If it is malformed or too deep, or holds too many values, a key twice, itself, or an object.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):  # composing recurses, this does not
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _Refused(f"values must not nest deeper than {MAX_DEPTH}", event.start_mark)
    node = yaml.compose(text, yaml.SafeLoader)
    if node is not None:
        _check(node, (), MAX_VALUES)
    return node


def _check(node: yaml.Node, above: tuple[int, ...], budget: int) -> int:
    """Check a node and all below it, an alias as often as it stands there; return how many values are left."""
    if node.tag not in _PLAIN:
        raise _Refused(f"the tag '{node.tag.removeprefix('tag:yaml.org,2002:')}' names no plain value", node.start_mark)
    if id(node) in above:
        raise _Refused("an alias stands inside of what it names", node.start_mark)
    if budget <= 0:
        raise _Refused(f"there are more than {MAX_VALUES:,} values", node.start_mark)
    budget, above = budget - 1, (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        _refuse_twice(node)
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        for value in part if isinstance(part, tuple) else (part,):
            budget = _check(value, above, budget)
    return budget


def _name_keys(node: yaml.Node | None) -> bool:
    """Have keys that YAML takes for true or false as text, such as `on`; tell whether there are any."""
    found = False
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        key, *values = part if isinstance(part, tuple) else (None, part)
        if key is not None and key.tag == "tag:yaml.org,2002:bool":
            key.tag, found = "tag:yaml.org,2002:str", True
        for value in values:
            found = _name_keys(value) or found
    return found


def _refuse_twice(node: yaml.MappingNode) -> None:
    """Raise for a key that is no text or stands there twice: YAML would take the last one without a word."""
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused("a key must be text", key.start_mark)
        if key.value in seen:
            raise _Refused(f"the key '{key.value}' stands there twice", key.start_mark)
        seen.add(key.value)
        merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if key.value == "<<" and not all(isinstance(one, yaml.MappingNode) for one in merged):
            raise _Refused("`<<` merges mappings only", value.start_mark)


def _load(text: str) -> Any:
    node = _composed(text)
    if _name_keys(node):
        text = str(yaml.serialize(node, Dumper=yaml.SafeDumper, width=float("inf"), allow_unicode=True))
    try:
        return get_loader("yaml")(text)
    except ValueError as error:  # a number of thousands of digits
        raise yaml.YAMLError(str(error)) from None


set_loader(MODE, _load, (yaml.YAMLError,))
