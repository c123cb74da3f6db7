"""The parameters of an Optuna study as a space: numbers at some of their values, categories as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import make_dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from invnas.architecture import Architecture
from invnas.choice import Choice, Decisions
from invnas.errors import BadInput
from invnas.rules import check_whole
from invnas.space import Space


class Grid:
    """Places of a plain space of parameters.

    Args:
        distributions: The parameters by name.
        levels: Values of a number at most.

    Raises:
        BadInput: If there is no parameter, or no grid can stand for one.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], levels: int) -> None:
        if not distributions:
            raise BadInput("`search_space` must name at least one parameter, but it is empty")
        check_whole("levels", levels, 1, 2**16)
        self.distributions = dict(distributions)
        self._values = [grid_of(name, one, levels) for name, one in self.distributions.items()]
        point = make_dataclass("Point", [(f"p{i}", Any) for i in range(len(self._values))], frozen=True)
        self.space = Space(point(*(Choice(*range(len(values))) for values in self._values)), name="search_space")

    def parameters(self, decisions: Decisions) -> dict[str, Any]:
        """Return the parameters of a place."""
        columns = zip(self.distributions, self._values, strict=True)
        return {name: values[decisions[f"p{i}"]] for i, (name, values) in enumerate(columns)}

    def architecture(self, decisions: Decisions) -> Architecture:
        """Return a place as an architecture."""
        return Architecture(self.space.resolver.resolve(lambda path, choice: decisions[path]))

    def decisions(self, parameters: Mapping[str, Any]) -> Decisions | None:
        """Return the place nearest to parameters, which others suggest as they like; None where one has no place."""
        found = {}
        for i, (name, distribution) in enumerate(self.distributions.items()):
            if name not in parameters:
                return None
            values, value = self._values[i], parameters[name]
            if not isinstance(distribution, CategoricalDistribution):
                found[f"p{i}"] = min(range(len(values)), key=lambda at: abs(values[at] - value))
                continue
            try:
                category = distribution.choices[int(distribution.to_internal_repr(value))]
            except ValueError:  # one of an earlier time
                return None
            found[f"p{i}"] = next(at for at, one in enumerate(values) if one is category)
        return found

    def numbers(self, decisions: Decisions) -> list[float]:
        """Return how far up its grid each number is: a grid of numbers has an order that options have not."""
        plain = [not isinstance(one, CategoricalDistribution) for one in self.distributions.values()]
        return [decisions[f"p{i}"] / max(len(self._values[i]) - 1, 1) for i, number in enumerate(plain) if number]


def grid_of(name: str, distribution: BaseDistribution, levels: int) -> list[Any]:
    """Return the values that are looked at, in their order."""
    if isinstance(distribution, CategoricalDistribution):
        # Of equal ones, such as 1 and True, a study knows the first alone.
        choices = enumerate(distribution.choices)
        return [one for at, one in choices if int(distribution.to_internal_repr(one)) == at]
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise BadInput(f"the parameter `{name}` has a {type(distribution).__name__}, which no grid can stand for")
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None or distribution.log:
        values = np.geomspace(low, high, levels) if distribution.log else 2 * np.linspace(low / 2, high / 2, levels)
        found = sorted({round(value) for value in values} if isinstance(low, int) else set(values.tolist()))
        return [min(max(value, low), high) for value in found]
    steps = round((high - low) / step)
    places = np.linspace(0, float(steps), min(steps + 1, levels)).round()
    return [low + min(int(at), steps) * step for at in sorted({*places.tolist()})]
