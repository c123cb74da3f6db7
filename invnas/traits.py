"""What a space says of its architectures beside choices and costs: numbers that are known before anything is trained.

A surrogate that sees how often each option was taken has to find out by trainings what they are together: how many
ways lead through a cell, how deep a network is. Who wrote the space can often compute that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Real
from typing import Any

from invnas.architecture import Architecture
from invnas.errors import BadInput, InvalidArchitecture, shown
from invnas.gate import user_code
from invnas.measurement import Cost

#: Takes the network value, returns positive numbers by name.
Traits = Callable[[Any], Mapping[str, float]]

#: What stands before the name of a trait in a cost: no objective is called so.
PREFIX = "trait_"


def with_traits(price: Callable[[Architecture], Cost], traits: Traits) -> Callable[[Architecture], Cost]:
    """Return a price that has the traits of an architecture beside what it costs.

    It raises InvalidArchitecture for an architecture whose traits raise something, and BadInput for traits that are no
    positive numbers by name, or that have other names than those of the architecture before.
    """
    said = f"the traits `{getattr(traits, '__name__', repr(traits))}`"
    names: list[str] = []

    def priced(architecture: Architecture) -> Cost:
        with user_code(said, InvalidArchitecture):
            found = traits(architecture.network)
        if not isinstance(found, Mapping) or not all(isinstance(name, str) and name for name in found):
            wanted = "numbers by name, such as {'depth': 4}"
            raise BadInput(f"{said} must return {wanted}, but returned {shown(found, 60)}")
        if names and names != sorted(found):
            raise BadInput(
                f"{said} must return the same names for every architecture, but returned {', '.join(sorted(found))} "
                f"after {', '.join(names)}"
            )
        names[:] = sorted(found)
        numbers = {PREFIX + name: _positive(said, name, found[name]) for name in names}
        return Cost({**price(architecture).values, **numbers})

    return priced


def _positive(said: str, name: str, value: Any) -> float:
    with suppress(OverflowError):  # beyond all floats
        if isinstance(value, Real) and 0 < (number := float(value)) < math.inf:
            return number
    # A share of none would be infinitely far from one of 1 %: they are compared by ratio, as costs are.
    raise BadInput(
        f"{said} must return positive numbers, which are compared by their ratios, but `{name}` is {shown(value)}; "
        "add 1 to what may be 0"
    )
