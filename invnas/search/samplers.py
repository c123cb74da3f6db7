"""The samplers by name."""

from __future__ import annotations

from collections.abc import Sequence

from invnas.errors import BadInput, nearest
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.search.evolution import Evolution
from invnas.search.known_cost import KnownCost
from invnas.search.observations import Earlier
from invnas.search.random_sampler import RandomSampler
from invnas.search.sampler import Sampler, told_of
from invnas.search.stratified import StratifiedSampler
from invnas.space import Space

#: The samplers that have a name; any Optuna sampler has its class path.
NAMED = ("known-cost", "tpe", "random", "branch-uniform", "stratified", "evolution")


def make_sampler(
    experiment: Experiment, space: Space, history: Sequence[Trial] = (), earlier: Sequence[Earlier] = ()
) -> Sampler:
    """Return the sampler an experiment names.

    Args:
        experiment: Its sampler, sampler_args, seed, objectives and workers count here.
        space: Where to search.
        history: Trials known before; the sampler is told those that are finished, by number.
        earlier: What earlier runs found, for known-cost.

    Raises:
        BadInput: If the sampler or one of its arguments is unknown.
    """
    sampler = _made(experiment, space, earlier)
    for trial in sorted(history, key=lambda trial: trial.number):
        if trial.state != "running":
            sampler.tell(told_of(trial))
    return sampler


def _made(experiment: Experiment, space: Space, earlier: Sequence[Earlier]) -> Sampler:
    name, args = experiment.sampler, experiment.sampler_args
    if name in ("random", "branch-uniform"):
        _check_args(name, args, ())
        return RandomSampler(space, experiment.seed, branches=name == "branch-uniform")
    if name == "stratified":
        _check_args(name, args, ())
        return StratifiedSampler(space, experiment.axes, experiment.seed)
    if name == "known-cost":
        _check_args(name, args, ("start",))
        return KnownCost(space, experiment.axes, experiment.seed, earlier=earlier, **args)
    if name == "evolution":
        _check_args(name, args, ("population",))
        return Evolution(space, experiment.axes, experiment.seed, **args)
    if name != "tpe" and "." not in name:
        raise BadInput(f"unknown sampler '{name}'; {nearest(name, NAMED)}, or the class path of any Optuna sampler")
    from invnas.search.optuna_sampler import OptunaSampler

    path = name
    if name == "tpe":
        # Looking at running trials takes time and matters only when there are some.
        ours = {"multivariate": True, "group": True, "constant_liar": experiment.parallel}
        path, args = "optuna.samplers.TPESampler", {**ours, **args}
    return OptunaSampler(space, experiment.axes, path, args, experiment.seed)


def _check_args(name: str, args: dict[str, object], known: tuple[str, ...]) -> None:
    for arg in args:
        if arg not in known:
            raise BadInput(
                f"the sampler {name} has no argument '{arg}'; " + (nearest(arg, known) if known else "it takes none")
            )
