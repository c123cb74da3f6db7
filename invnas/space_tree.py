"""What the tree of a space may hold: values that travel as JSON, types that are told apart by name, or a function."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, make_dataclass
from typing import Any

from invnas.architecture import SHIPPED
from invnas.choice import Choice, Repeat, children, join
from invnas.errors import BadInput, shown


def classes(node: Any) -> Iterator[type]:
    """Yield the dataclasses of a tree, those of every option among them."""
    if is_dataclass(node) and not isinstance(node, Repeat):
        yield type(node)
    parts = node.options if isinstance(node, Choice) else [part for _, part in children(node)]
    for part in parts:
        yield from classes(part)


def check_leaves(node: Any, path: str) -> None:
    """Raise BadInput unless everything in a tree can travel as JSON."""
    if isinstance(node, Repeat):
        check_leaves(node.item, path)
        check_leaves(node.times, join(path, "times"))
        return
    if isinstance(node, Choice):
        for label, option in zip(node.labels, node.options, strict=True):
            check_leaves(option, f"{path}={label}")
        return
    for name, part in children(node):
        check_leaves(part, join(path, name))
    plain = node is None or isinstance(node, bool | int | float | str | tuple | list)
    if not plain and (not is_dataclass(node) or isinstance(node, type)):
        raise BadInput(
            f"a space holds numbers, text, None and frozen dataclasses, or lists of these, "
            f"but `{path}` is {shown(node, 60)}"
        )
    if isinstance(node, int) and abs(node) >= 2**63:
        raise BadInput(f"whole numbers of a space lie below 2**63, but `{path}` has {node.bit_length():,} bits")
    if isinstance(node, float) and math.isnan(node):  # not even equal to itself, so it is not found again in a record
        raise BadInput(f"numbers of a space must not be NaN, but `{path}` is: None may say that there is none")


def check_types(found: set[type]) -> None:
    """Raise BadInput unless each type is known by its name: in JSON, in fingerprints and in the memory of prices."""
    known = dict(SHIPPED)
    for cls in sorted(found, key=lambda cls: cls.__module__):
        if known.setdefault(cls.__name__, cls) is not cls:
            raise BadInput(f"two dataclasses of the space are called {cls.__name__}: rename one")
        if cls.__hash__ is None:
            raise BadInput(f"{cls.__name__} must be frozen: write @dataclass(frozen=True)")
        if any(field.name == "type" for field in fields(cls)):
            raise BadInput(f"{cls.__name__} has a field `type`, but that key names the class in JSON: rename it")


def as_value(function: Callable[..., Any]) -> Any:
    """Return a frozen dataclass whose fields are the parameters of a function that have defaults."""
    parameters = inspect.signature(function).parameters.values()
    tree = {p.name: p.default for p in parameters if p.default is not p.empty}
    if loose := [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]:
        raise BadInput(f"the parameters of a space have names and defaults, but {function.__name__} takes {loose[0]}")
    given = [p.name for p in parameters if p.default is p.empty]
    for name in given:
        if name not in ("input_shape", "classes"):
            raise BadInput(
                f"the parameter `{name}` of {function.__name__} needs a default (a Choice or a value); "
                "only input_shape and classes are given by invnas"
            )

    def build(self: Any, input_shape: tuple[int, int, int], classes: int) -> Any:
        facts = {"input_shape": input_shape, "classes": classes}
        return function(**{name: facts[name] for name in given}, **{name: getattr(self, name) for name in tree})

    cls = make_dataclass(
        function.__name__,
        [(name, Any) for name in tree],
        frozen=True,
        namespace={"build": build, "__doc__": function.__doc__, "kind": getattr(function, "kind", None)},
    )
    return cls(**tree)
