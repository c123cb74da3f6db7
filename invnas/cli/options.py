"""The options of a command that are fields of values: an experiment, a recipe, a data source."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import docstring_parser
from jsonargparse import ActionYesNo

from invnas.cli.words import Count, Names
from invnas.experiment import DataSource, Experiment, Recipe

if TYPE_CHECKING:
    from invnas.cli.parser import Parser

CAPS = ("max_macs", "max_parameters")
_FLAGS = ("random_baseline", "branch_baseline", "baselines")


def helps_of(documented: Any) -> dict[str, str]:
    """Return what a docstring says of each parameter, by name."""
    return {one.arg_name: one.description or "" for one in docstring_parser.parse(documented.__doc__ or "").params}


def add_experiment(parser: Parser) -> None:
    """Add every setting of an experiment."""
    parser.add_class_arguments(Experiment, None, skip={*CAPS, *_FLAGS, "space", "data", "objectives"})
    helps = helps_of(Experiment)
    parser.add_argument(
        "--space", type=str, default=Experiment().space, help=helps["space"].split("; in Python")[0] + "."
    )
    for name in CAPS:
        parser.add_argument(f"--{name}", type=Count | None, help=helps[name])
    parser.add_argument("--objectives", type=Names, default=Names(Experiment().objectives), help=helps["objectives"])
    for name in _FLAGS:
        parser.add_argument(f"--{name}", action=ActionYesNo, nargs="?", help=helps[name])
    # Not as a class: jsonargparse would import what a class path names, and torch with it.
    _add_data(parser, DataSource().class_path)


def add_options(parser: Parser) -> None:
    """Add the options of a recipe and of data, none of which is set unless it is said."""
    helps, group = helps_of(Recipe), parser.add_argument_group("What differs from the recipe of the search")
    for one in fields(Recipe):
        # As text where it is no mapping: a recipe reads it, and says what is wrong with it.
        kind: Any = dict[str, Any] | str if "dict" in str(one.type) else str
        group.add_argument(f"--recipe.{one.name}", type=kind, default=None, help=helps[one.name])
    _add_data(parser, None)


def _add_data(parser: Parser, class_path: str | None) -> None:
    helps = helps_of(DataSource)
    group = parser.add_argument_group("Where the images come from")
    group.add_argument("--data.class_path", type=str, default=class_path, help=helps["class_path"])
    group.add_argument(
        "--data.init_args",
        type=dict[str, Any],
        default={},
        help=f"{helps['init_args']} Each is an option too: --data.init_args.batch_size 32.",
    )
