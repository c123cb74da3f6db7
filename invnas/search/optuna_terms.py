"""Decisions and objectives in Optuna's terms. Optuna is imported on use: it takes half a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from invnas.choice import Choice, Decisions
from invnas.objective import Objective
from invnas.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import StudyDirection


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

    space.walk(decide)
    return params, distributions


def directions(objectives: Sequence[Objective]) -> list[StudyDirection]:
    """Return which way is better for each objective."""
    from optuna.study import StudyDirection

    return [StudyDirection[objective.direction.upper()] for objective in objectives]


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
