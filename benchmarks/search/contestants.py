"""Who is compared: samplers by name, each through the loop of invnas, with its deduplication, caps and substitutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from invnas.search.sampler import Sampler
from invnas.space import Space

NSGA2 = "optuna.samplers.NSGAIISampler"


@dataclass(frozen=True)
class Contestant:
    """A sampler.

    Attributes:
        title: What a table calls it.
        sampler: What `replay` calls it, or what makes one for a space and a seed.
        args: Its arguments.
        slow: Whether a suggestion takes seconds: few seeds, and not on every ground.
        told: Whether it searches the space that has traits; where none has, it does not take part.
    """

    title: str
    sampler: str | Callable[[Space, int], Sampler]
    args: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False
    told: bool = False


def _qnehvi(space: Space, seed: int) -> Sampler:
    from qnehvi import QNehvi  # needs BoTorch, in an environment of its own

    return QNehvi(space, seed)


CONTESTANTS: Mapping[str, Contestant] = {
    "known-cost": Contestant("known-cost", "known-cost"),
    "known-cost-told": Contestant("known-cost, told the ways through a cell", "known-cost", told=True),
    "random": Contestant("random", "random"),
    "branch-uniform": Contestant("branch-uniform random", "branch-uniform"),
    "stratified": Contestant("stratified random", "stratified"),
    "evolution": Contestant("evolution", "evolution"),
    "nsga2-20": Contestant("NSGA-II, population 20", NSGA2, {"population_size": 20}),
    "nsga2-50": Contestant("NSGA-II, population 50", NSGA2, {"population_size": 50}),
    "tpe-default": Contestant("TPE, Optuna's defaults", "optuna.samplers.TPESampler"),
    "tpe": Contestant("TPE, multivariate and group", "tpe"),
    "gp": Contestant("GPSampler of Optuna", "optuna.samplers.GPSampler", slow=True),
    "qnehvi": Contestant("qLogNEHVI of BoTorch, cost known", _qnehvi, slow=True),
}
