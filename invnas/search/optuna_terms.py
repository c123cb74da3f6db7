"""Decisions and objectives in Optuna's terms. Optuna is imported on use: it takes half a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from invnas.choice import Choice, Decisions, resolve
from invnas.measurement import OBJECTIVES
from invnas.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import StudyDirection


def walk(space: Space, decide: Callable[[str, Choice], int]) -> Decisions:
    """Return the decisions on the way through a space, also where they lead to an invalid architecture."""
    taken: Decisions = {}

    def recorded(path: str, choice: Choice) -> int:
        taken[path] = decide(path, choice)
        return taken[path]

    with suppress(ValueError, TypeError, ZeroDivisionError):  # a user's own __post_init__ may refuse a value
        resolve(space.network, recorded)
    return taken


def parameters(space: Space, decisions: Decisions) -> tuple[dict[str, str], dict[str, BaseDistribution]]:
    """Return Optuna's parameters (readable labels) and distributions; a choice with one option is none."""
    from optuna.distributions import CategoricalDistribution

    params: dict[str, str] = {}
    distributions: dict[str, BaseDistribution] = {}

    def decide(path: str, choice: Choice) -> int:
        if len(choice.options) > 1:
            params[path] = choice.labels[decisions[path]]
            distributions[path] = CategoricalDistribution(choice.labels)
        return decisions[path]

    walk(space, decide)
    return params, distributions


def directions(objectives: tuple[str, ...]) -> list[StudyDirection]:
    """Return which way is better for each objective."""
    from optuna.study import StudyDirection

    return [StudyDirection[OBJECTIVES[name].upper()] for name in objectives]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log lines below warnings, and its notes that an argument is experimental."""
    import warnings

    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
