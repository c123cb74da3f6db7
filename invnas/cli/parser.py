"""From words on a command line and keys of a YAML file to values; what is wrong with them becomes one sentence."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter
from jsonargparse.typing import register_type

from invnas.cli.options import CAPS, add_experiment, add_options, helps_of
from invnas.cli.words import Count, Names
from invnas.cli.yaml_text import MODE, mapping, read_yaml, text_of
from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.latency.settings import Latency
from invnas.shipped import find

register_type(Count, int, Count.parse)
register_type(Names, list, Names.parse)

#: Parameters whose fields are options of a command, none of which is set unless it is said.
_OPTIONS = ("recipe", "data")
_WITH_PARTS = (
    *("--recipe", "--recipe.class_weights", "--recipe.loss_args", "--latency", "--sampler_args", "--stopper_args"),
    "--data.init_args",
)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping such as {key: value}",
}


class _Help(DefaultHelpFormatter):
    def _get_help_string(self, action: Action) -> str:
        # Types are named in the docstrings, in the user's words; so are defaults that are not plain values.
        value = action.default
        if isinstance(value, bool) or not isinstance(value, str | int | float | tuple) or value in ("", SUPPRESS):
            return action.help or ""
        return f"{action.help} Default: {','.join(value) if isinstance(value, tuple) else value}."


class Parser(ArgumentParser):
    """The arguments of one command; whatever is wrong with them is raised as BadInput."""

    _words: Sequence[str] = ()

    def values(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the arguments by name; an error repeats the words."""
        self._words = words
        for word in words:
            self._refuse_part(word.partition("=")[0])
        found: dict[str, Any] = self.parse_args(list(words)).as_dict()
        _refuse_endless(found, "", words)
        return found

    def _refuse_part(self, option: str) -> None:
        """Refuse a part of an option that has none, such as --trials.help: jsonargparse would name its own types."""
        known = {name for action in self._actions for name in action.option_strings}
        whole = option.rpartition(".")[0]
        if option not in known and whole in known and whole not in _WITH_PARTS:
            self.error(f"unrecognized arguments: {option}")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as one sentence."""
        options = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        raise BadInput(_sentence(message, options, self.prog, self._words))


def _sentence(message: str, options: Sequence[str], prog: str, words: Sequence[str]) -> str:
    text = " ".join(message.split())
    if found := re.match(r"unrecognized arguments: ((?:--)?)([^ =]+)", text):
        dashes, word = found.groups()
        if not dashes:
            return f"unexpected word '{word}'; see {prog} --help"
        close = nearest(f"--{word}", options).split(";")[0]
        hint = f"{close}; " if close.startswith("nearest") else ""
        return f"unknown option '--{word}'; {hint}see {prog} --help"
    if found := re.match(r'Parser key "(.+?)": (.*)', text):
        return f"`{found[1]}`{_expected(found[2], _said(found[1], words))}"
    if found := re.match(r'(?:(?:Option|Key) "(?=.+?" is required)|the following arguments are required: )(\w+)', text):
        return f"`{found[1]}` is missing; see {prog} --help"
    if found := re.match(r"argument (?:-\w[/,] ?)?--([\w.]+)\S*: (.*)", text):
        for told, rule in _SWITCHES.items():
            if value := re.fullmatch(told, found[2]):
                return f"`{found[1]}` {rule}{_but(value[1] if value.groups() else _after(found[1], words))}"
    return f"{text.removeprefix('argument ')}; see {prog} --help"


#: What argparse says of a value that is not there, or should not be, and the rule of it.
_SWITCHES = {
    r"invalid _boolean_type value: (.*)": "stands alone, or with true or false",
    r"ignored explicit argument (.*)": "stands alone",
    r"expected one argument": "needs a value that is no option",
}


def _but(given: str | None) -> str:
    return "" if given is None else f", but got {given:.60}"


def _after(key: str, words: Sequence[str]) -> str | None:
    """Return the word after an option that was not taken for its value, unless it is another option."""
    word = _said(key, words)
    return None if word is None or word.startswith("--") else f"'{word}'"


def _said(key: str, words: Sequence[str]) -> str | None:
    """Return what the words say of a key last: the value itself may have been read otherwise, 1e9999 as inf."""
    found = None
    for place, word in enumerate(words):
        if word == f"--{key}":
            found = words[place + 1] if place + 1 < len(words) else None
        elif word.startswith(f"--{key}="):
            found = word.partition("=")[2]
    return found


def _refuse_endless(value: Any, key: str, words: Sequence[str]) -> None:
    """Refuse a number that no file can hold in the user's words: 1e9999 has been read as inf."""
    if isinstance(value, dict):
        for name, part in value.items():
            _refuse_endless(part, f"{key}.{name}" if key else name, words)
    elif isinstance(value, list):
        for part in value:
            _refuse_endless(part, key, words)
    elif isinstance(value, float) and not math.isfinite(value):
        keys = [key.rsplit(".", above)[0] for above in range(key.count(".") + 1)]
        said = next((found for one in keys if (found := _said(one, words)) is not None), repr(value))
        within = [word for word in re.findall(r"[-+.\w]+", said) if _reads_as(word, value)]
        raise BadInput(f"`{key}` must be a finite number, but got '{within[0] if within else said:.60}'")


def _reads_as(word: str, value: float) -> bool:
    try:
        return repr(float(word.replace(".inf", "inf").replace(".nan", "nan"))) == repr(value)
    except ValueError:
        return False


def _expected(text: str, said: str | None) -> str:
    text = text.removeprefix("Not of type Count: ")
    if found := re.fullmatch(r"Expected a <class '(\w+)'>\. Got value: (.*)", text):
        return f" must be {_KINDS.get(found[1], found[1])}, but got '{said or found[2]:.60}'"
    either = r"Expected a <class '(\w+)'> - Expected a typing\.Literal\[(.*)\]\. Got value: (.*)"
    if found := re.fullmatch(either, text):
        words = found[2].replace("'", "")
        return f" must be {_KINDS.get(found[1], found[1])} or {words}, but got '{said or found[3]:.60}'"
    if found := re.fullmatch(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", text):
        valid = found[1].replace("'", "").split(", ")
        near = nearest(found[2], valid).split(";")[0]
        hint = f"; {near}" if near.startswith("nearest") else ""
        return f" must be one of {', '.join(valid)}, but got '{said or found[2]:.60}'{hint}"
    if found := re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>.*Given value: (.*)", text):
        first = f"{found[1]}. Got value: {found[2]}" if found[1].startswith("Expected") else found[1]
        return _expected(first, said)
    if "integer string conversion" in text:  # a number of thousands of digits
        return f" must be a whole number, but got '{said:.60}'"
    return f": {text}"


def command_parser(name: str, function: Callable[..., Any]) -> Parser:
    """Return the parser of a command: its options are the parameters of a function, the help is its docstring."""
    doc = docstring_parser.parse(function.__doc__ or "")
    parser = Parser(
        prog=f"invnas {name}",
        description=doc.short_description,
        allow_abbrev=False,
        formatter_class=_Help,
        print_config=None,
        parser_mode=MODE,
    )
    parser.epilog = "Options may be written with - or _, counts as 30M or 1.5G."
    parameters = inspect.signature(function).parameters
    flags = {key for key, parameter in parameters.items() if parameter.default is False}
    own: set[str] = {"experiment"} & set(parameters)
    several = {"images"} & set(parameters)
    options = set(_OPTIONS) if "recipe" in parameters else set[str]()
    if own:
        parser.add_argument("experiment", nargs="?", type=str, help=helps_of(function)["experiment"])
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip={*flags, *own, *several, *options})
    for name_of_many in several:
        parser.add_argument(name_of_many, nargs="+", type=str, help=helps_of(function)[name_of_many])
    for flag in sorted(flags):
        parser.add_argument(f"--{flag}", action="store_true", help=helps_of(function)[flag])
    if own:
        add_experiment(parser)
    if options:
        add_options(parser)
    named = [action.dest.upper() if not own else "[EXPERIMENT]" for action in parser._positionals._group_actions]
    parser.usage = f"{parser.prog} {' '.join(named)} [options]"
    return parser


def words_of(argv: Sequence[str]) -> list[str]:
    """Return the words with each option written with underscores, as keys are."""
    return [re.sub(r"^--[^=]+", lambda option: "--" + option[0][2:].replace("-", "_"), word) for word in argv]


def parse(name: str, function: Callable[..., Any], argv: Sequence[str]) -> dict[str, Any]:
    """Return the arguments for the function of a command.

    Where an experiment is among them, the keys of its YAML file count first, then the options.

    Raises:
        BadInput: If a word, key or value cannot be.
    """
    parser, words = command_parser(name, function), words_of(argv)
    values = parser.values(words)
    if "experiment" not in values:
        options = _OPTIONS if "recipe" in values else ()
        return {name: _said_options(value) if name in options else value for name, value in values.items()}
    source = values["experiment"]
    if source is not None and source.endswith(".py"):  # a space alone: the default experiment on it
        values["space"], source = source, None
    path = None if source is None else find("experiments", source)
    if path is not None:
        keys = list(_as_options(path))
        try:
            _experiment(parser.values(keys), path)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None
        values = parser.values([*keys, *words])
    experiment = _experiment(values, path)
    stem = path.stem if path is not None else Path(experiment.space).stem
    return {**values, "experiment": experiment, "run_dir": values["run_dir"] or _free_folder(stem)}


def _said_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were said; null stands for none."""
    return {name: None if value == "null" else value for name, value in given.items() if value is not None}


def _experiment(values: dict[str, Any], path: Path | None) -> Experiment:
    """Take the settings of an experiment out of the arguments; its space may lie beside its file."""
    chosen = {field.name: values.pop(field.name) for field in fields(Experiment)}
    space = chosen["space"]
    beside = path.parent / space if path is not None else Path(space)
    if space.endswith(".py") and not Path(space).is_file() and beside.is_file():
        chosen["space"] = str(beside)
    return Experiment.from_dict({**chosen, **{cap: int(chosen[cap]) for cap in CAPS if chosen[cap] is not None}})


def _free_folder(name: str) -> str:
    numbers = itertools.count(1)
    return next(str(folder) for number in numbers if not (folder := Path("runs", f"{name}-{number}")).exists())


def _as_options(path: Path) -> Iterator[str]:
    """Yield each setting of a YAML file as an option."""
    parts = {"data": DataSource, "recipe": Recipe, "latency": Latency}
    data = read_yaml(path)
    _check_keys(data, Experiment, "", path)
    for key, value in data.items():
        if key in parts:
            inside = mapping(value, f"`{key}`", path)
            _check_keys(inside, parts[key], f"{key}.", path)
            yield from (f"--{key}.{name}={text_of(part)}" for name, part in inside.items())
        else:
            yield f"--{key}={text_of(value)}"


def _check_keys(data: Iterable[str], kind: type, prefix: str, path: Path) -> None:
    known = [f"{prefix}{field.name}" for field in fields(kind)]
    for key in data:
        if f"{prefix}{key}" not in known:
            raise BadInput(f"unknown key '{prefix}{key}' in {path}; {nearest(f'{prefix}{key}', known)}")
