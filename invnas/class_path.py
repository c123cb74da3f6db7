"""From a class path such as my_package.MyData to what it names: anyone's class takes the place of one of invnas."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

from invnas.errors import BadInput, nearest
from invnas.gate import user_code


def load_class(class_path: str, role: str, shipped: Iterable[str] = (), base: type | None = None) -> Any:
    """Import what a class path names; what the module does then goes through the gate of a user's code.

    Args:
        class_path: Dotted path of a class.
        role: What it is to be, as a sentence says it: "data source".
        shipped: What could have been meant: names or class paths of those that come with the library.
        base: What it must be a subclass of; None: the caller checks it, and it may be any callable.

    Raises:
        BadInput: If there is no such module or nothing of that name in it, the module cannot be imported, or what is
            there is no (concrete) class of the base.

    >>> load_class("collections.OrderedDict", "mapping", base=dict)
    <class 'collections.OrderedDict'>
    """
    known, unknown = list(shipped), f"unknown {role} '{class_path}'"
    module_name, _, name = class_path.rpartition(".")
    if not all(class_path.split(".")) or not module_name:
        raise BadInput(f"{unknown}; {_choice(class_path, known)}a class path such as my_package.MyClass")
    with user_code(f"the import of the {role} `{class_path}`"):
        try:
            module = import_module(module_name)
        except ImportError as error:
            if not _is_missing(module_name, error):  # the path is right: it needs something that is not there
                raise BadInput(f"the {role} `{class_path}` cannot be imported: {error}") from None
            raise BadInput(f"{unknown}: {error}" + (f"; {nearest(class_path, known)}" if known else "")) from None
        found = getattr(module, name, None)
    if found is None:
        raise BadInput(f"{unknown}: `{module_name}` has no class `{name}`; {_others(name, module, known, base)}")
    if base is not None and not _is_a(found, base):
        near = f"; {nearest(class_path, known)}" if known else ""
        raise BadInput(f"'{class_path}' is no {role}: it must be a {base.__name__}, but is {_said(found)}{near}")
    return found


def _choice(word: str, known: list[str]) -> str:
    return f"{nearest(word, known)}, or " if known else "it must be "


def _is_missing(module_name: str, error: ImportError) -> bool:
    """Tell whether it is the module itself, or a package around it, that does not exist."""
    return isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")


def _is_a(found: Any, base: type) -> bool:
    return inspect.isclass(found) and issubclass(found, base) and not inspect.isabstract(found)


def _others(name: str, module: ModuleType, known: list[str], base: type | None) -> str:
    """Return the names that the module has instead: those that are shipped in it, or all its own classes."""
    inside = [path.rpartition(".")[2] for path in known if path.rpartition(".")[0] == module.__name__]
    kinds = inside or [
        key
        for key, value in vars(module).items()
        if key[0] != "_" and _is_a(value, base or object) and value.__module__.startswith(module.__name__)
    ]
    return nearest(name, kinds) if kinds else "it has none"


def _said(value: Any) -> str:
    return f"the class {value.__name__}" if inspect.isclass(value) else f"of type {type(value).__name__}"
