"""Who proposes: the contract of a sampler, and the samplers by name."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from invnas.choice import Decisions
from invnas.errors import BadInput, nearest
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.search.evolution import Evolution
from invnas.search.random_sampler import RandomSampler
from invnas.space import Space

#: The samplers that have a name; any Optuna sampler has its class path.
NAMED = ("tpe", "random", "evolution")


class Sampler(Protocol):
    """Proposes decisions and learns from what came out. Seeded: the same tells get the same asks."""

    def ask(self) -> Decisions:
        """Return a proposal; it may be invalid or known."""
        ...

    def tell(self, decisions: Decisions, values: tuple[float, ...] | None) -> None:
        """Take the values of the objectives, or None for a proposal that was rejected or failed."""
        ...


def make_sampler(experiment: Experiment, space: Space, history: Sequence[Trial] = ()) -> Sampler:
    """Return the sampler an experiment names.

    Args:
        experiment: Its sampler, sampler_args, seed, objectives and workers count here.
        space: Where to search.
        history: Trials known before; the sampler learns from the complete ones.

    Raises:
        BadInput: If the sampler or one of its arguments is unknown.
    """
    name, args = experiment.sampler, experiment.sampler_args
    # A resumed run must not draw again what it drew before. Seeded by text: hashing does not depend on the process.
    rng = random.Random(f"{experiment.seed}/{len(history)}")
    if name == "random":
        _check_args(name, args, ())
        return RandomSampler(space, rng)
    if name == "evolution":
        _check_args(name, args, ("population",))
        return Evolution(space, experiment.objectives, rng, history, **args)
    if name != "tpe" and "." not in name:
        raise BadInput(f"unknown sampler '{name}'; {nearest(name, NAMED)}, or the class path of any Optuna sampler")
    from invnas.search.optuna_sampler import OptunaSampler, load_optuna_sampler

    path = name
    if name == "tpe":
        # Looking at running trials takes time and matters only when there are some.
        ours = {"multivariate": True, "group": True, "constant_liar": experiment.workers > 1}
        path, args = "optuna.samplers.TPESampler", {**ours, **args}
    mind = load_optuna_sampler(path, args, seed=rng.getrandbits(32))
    return OptunaSampler(space, experiment.objectives, mind, history)


def _check_args(name: str, args: dict[str, object], known: tuple[str, ...]) -> None:
    for arg in args:
        if arg not in known:
            raise BadInput(
                f"the sampler {name} has no argument '{arg}'; " + (nearest(arg, known) if known else "it takes none")
            )
