"""What is trained from scratch, and how, as a frozen value: what tells one retraining from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource, Experiment, Recipe

#: Settings of a recipe that say where it trains and who watches: they tell no retraining from another, and those of the
#: search are not for one.
WHERE = ("threads", "logger", "max_minutes")


@dataclass(frozen=True)
class Retraining:
    """What is trained from scratch, and how: the same value is the same retraining, whatever else was asked.

    Attributes:
        trial: Number of the trial in the run.
        recipe: How each seed is trained.
        data: Where the images come from.
        all_data: Whether the validation images are trained on too.

    >>> first = Retraining(3, Recipe(epochs=100), DataSource())
    >>> Retraining.from_dict(first.to_dict()) == first
    True
    >>> first.name.startswith("trial3-epochs100-")
    True
    """

    trial: int
    recipe: Recipe = field(default_factory=Recipe)
    data: DataSource = field(default_factory=DataSource)
    all_data: bool = False

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        trial: int,
        epochs: int | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        data: DataSource | Mapping[str, Any] | None = None,
        all_data: bool = False,
    ) -> Retraining:
        """Return the retraining that a user's options ask for; what is not given is as in the search.

        Args:
            experiment: That of the search.
            trial: Number of the trial.
            epochs: Epochs of each training.
            recipe: Fields by name, or a whole recipe.
            data: A source, or `class_path` and `init_args` by name; arguments of the same class are added to those of
                the search.
            all_data: Whether the validation images are trained on too.

        Raises:
            BadInput: If there is no such option, or a value cannot be.
        """
        if not isinstance(all_data, bool):
            raise BadInput(f"`all_data` must be true or false, but got '{all_data!s:.60}'")
        search = replace(experiment.recipe, **{name: getattr(Recipe(), name) for name in WHERE})
        chosen = recipe if isinstance(recipe, Recipe) else replace(search, **_known(recipe or {}, Recipe, "recipe"))
        if epochs is not None:
            if isinstance(recipe, Mapping) and str(recipe.get("epochs", epochs)) != str(epochs):
                raise BadInput(f"`epochs` is {epochs} and `recipe.epochs` is {recipe['epochs']}: give one of them")
            chosen = replace(chosen, epochs=epochs)
        return cls(trial, chosen, _source(experiment.data, data), all_data)

    @property
    def settings(self) -> dict[str, Any]:
        """What tells it from another, by the names of options; a recipe's fields as far as they are not the usual."""
        usual = asdict(Recipe())
        recipe = {name: value for name, value in asdict(self.recipe.resolved()).items() if name not in WHERE}
        return {
            **{f"recipe.{name}": value for name, value in recipe.items() if value != usual[name]},
            "recipe.epochs": self.recipe.epochs,
            "data.class_path": self.data.class_path,
            **{f"data.init_args.{name}": value for name, value in self.data.init_args.items()},
            **({"all_data": True} if self.all_data else {}),
        }

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that differ where anything does that tells it from another."""
        text = json.dumps([self.trial, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"trial{self.trial}-epochs{self.recipe.epochs}-{self.fingerprint}"

    def differs(self, experiment: Experiment) -> dict[str, Any]:
        """Return the options that are not those of the search, by name, with their values; epochs are told beside."""
        mine, search = self.settings, Retraining.of(experiment, self.trial).settings
        # What is not among the settings has the usual value: a recipe holds it, of a source nobody knows it.
        usual = {f"recipe.{name}": value for name, value in asdict(self.recipe.resolved()).items()}
        names = [name for name in {**search, **mine} if name in mine or name in usual]
        found = {name: mine.get(name, usual.get(name)) for name in names if mine.get(name) != search.get(name)}
        return {name: value for name, value in found.items() if name != "recipe.epochs"}

    def words(self, experiment: Experiment) -> str:
        """Return the options that are not those of the search in words; empty where there are none."""
        found = self.differs(experiment).items()
        return ", ".join("all_data" if name == "all_data" else f"{name} {json.dumps(value)}" for name, value in found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Retraining:
        """Rebuild from `to_dict`; a KeyError, TypeError, ValueError or BadInput says that it cannot be."""
        whole = bool(data["all_data"])
        return cls(int(data["trial"]), Recipe(**data["recipe"]), DataSource(**data["data"]), whole)


def _known(given: Mapping[str, Any], kind: type, name: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadInput(f"`{name}` must be a {kind.__name__} or options by name, but got '{given!s:.60}'")
    known = [one.name for one in fields(kind)]
    for key in given:
        if key not in known:
            raise BadInput(f"unknown option '{name}.{key}'; {nearest(f'{name}.{key}', [f'{name}.{n}' for n in known])}")
    return dict(given)


def _source(search: DataSource, given: DataSource | Mapping[str, Any] | None) -> DataSource:
    if isinstance(given, DataSource):
        return given
    chosen = _known(given or {}, DataSource, "data")
    kind, arguments = chosen.get("class_path", search.class_path), chosen.get("init_args", {})
    if not isinstance(arguments, Mapping):
        raise BadInput(f"`data.init_args` must be arguments by name, but got '{arguments!s:.60}'")
    return DataSource(kind, {**(search.init_args if kind == search.class_path else {}), **arguments})
