"""Every setting of an experiment with its value, as YAML: what --print_config prints."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from invnas.class_path import load_class
from invnas.errors import BadInput
from invnas.experiment import LATER, DataSource, Experiment
from invnas.gate import user_code


def config_of(experiment: Experiment) -> str:
    """Return an experiment as the YAML file that asks for it, each default in it."""
    source, missing = experiment.data, list[str]()
    # A class that cannot be read has no defaults to show; a search says why.
    with suppress(Exception), user_code(source.class_path):
        source, missing = _with_defaults(source)
    whole = replace(experiment, recipe=experiment.recipe.resolved(), data=source)
    needs = "".join(f"# data.init_args needs `{name}`: {source.class_path} has no default for it\n" for name in missing)
    settings = whole.to_dict() | {name: getattr(whole, name) for name in LATER}
    return needs + yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, allow_unicode=True)


def _with_defaults(source: DataSource) -> tuple[DataSource, list[str]]:
    """Return a source with the defaults of its class, and the names of those that have none and are not given."""
    module, _, kind = source.class_path.rpartition(".")
    ours = module in ("", "invnas.data") or module.startswith("invnas.data.")
    defaults, needed = _written(kind, module) if ours else _imported(load_class(source.class_path, "data source"))
    given = {**defaults, **source.init_args}
    return replace(source, init_args=given), [name for name in needed if name not in given]


def _written(kind: str, module: str) -> tuple[Mapping[str, Any], list[str]]:
    """Return the defaults of a source of invnas from its text, and what has none: it imports torch, which is slow."""
    from invnas.data import _HOME

    spec = find_spec(_HOME[kind] if module in ("", "invnas.data") else module)
    text = Path(str(spec and spec.origin)).read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    while True:
        node = classes[kind]
        made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        if made is not None:
            named = made.args.args[len(made.args.args) - len(made.args.defaults) :]
            pairs = [*zip(named, made.args.defaults, strict=True)]
            pairs += [(a, d) for a, d in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True) if d is not None]
            known = {name.arg: ast.literal_eval(default) for name, default in pairs}
            every = [name.arg for name in (*made.args.args[1:], *made.args.kwonlyargs)]
            return known, [name for name in every if name not in known]
        kind = ast.unparse(node.bases[0])


def _imported(kind: Any) -> tuple[Mapping[str, Any], list[str]]:
    found: dict[str, Any] = {}
    needed: list[str] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is parameter.empty:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                needed.append(name)
            continue
        try:
            found |= DataSource(init_args={name: parameter.default}).init_args
        except BadInput:  # an object, which no file can hold
            continue
    return found, needed
