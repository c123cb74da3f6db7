"""When a training may be ended early: the settings of a stopper, and the epochs at which it judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from invnas.errors import BadInput, nearest
from invnas.settings import settle

#: The stoppers that have a name; any scheduler of Ray Tune has its class path.
NAMED = ("none", "halving")


@dataclass(frozen=True)
class Rungs:
    """The epochs at which a training is measured and judged.

    Attributes:
        epochs: Their numbers, from 1, rising; the last epoch is none of them.
        images: Training images whose statistics the batch norms take for such a measurement; the training's own are
            put back after it. 0 measures with the training's own.
    """

    epochs: tuple[int, ...] = ()
    images: int = 0


@dataclass(frozen=True)
class Halving:
    """The settings of asynchronous successive halving (Li et al., 2020) by non-dominated rank.

    Attributes:
        eta: Of so many trials one goes on at each rung; rungs lie at epochs / eta, epochs / eta^2, ..., each rounded.
        first: The earliest epoch that is judged.
        images: Training images for fresh statistics of the batch norms at a rung; 0 takes those of the training.

    >>> Halving(eta=3).rungs(30).epochs
    (1, 3, 10)
    """

    eta: int = 4
    first: int = 1
    images: int = 512

    def __post_init__(self) -> None:
        settle(self, "stopper_args.")
        for name, least in (("eta", 2), ("first", 1), ("images", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"`stopper_args.{name}` must be at least {least}, but got {getattr(self, name)}")

    def rungs(self, epochs: int) -> Rungs:
        """Return the rungs of a training of so many epochs.

        Raises:
            BadInput: If there is none.
        """
        found, step = [], self.eta
        while self.first <= (rung := (2 * epochs + step) // (2 * step)) < epochs:
            found.append(rung)
            if rung == 1:
                break
            step *= self.eta
        if not found:
            raise BadInput(
                f"the stopper halving has no epoch to judge at: recipe.epochs is {epochs}, "
                f"stopper_args.eta is {self.eta}, stopper_args.first is {self.first}"
            )
        return Rungs(tuple(reversed(found)), self.images)


def tune_scheduler(stopper: str) -> str | None:
    """Return a stopper that is the class path of a scheduler of Ray Tune, and None for one that has a name.

    >>> tune_scheduler("ray.tune.schedulers.ASHAScheduler"), tune_scheduler("halving")
    ('ray.tune.schedulers.ASHAScheduler', None)
    """
    return stopper if "." in stopper else None


def rungs_of(stopper: str, args: Mapping[str, Any], epochs: int) -> Rungs:
    """Return where the trainings of an experiment are judged.

    Args:
        stopper: Its name, or the class path of a scheduler of Ray Tune, which judges after every epoch.
        args: Its arguments by name.
        epochs: Epochs of a whole training.

    Raises:
        BadInput: If there is no such stopper or argument.
    """
    if stopper == "halving":
        return halving_of(args).rungs(epochs)
    if tune_scheduler(stopper):
        return Rungs(tuple(range(1, epochs)), Halving.images)
    if stopper != "none":
        raise BadInput(
            f"unknown stopper '{stopper}'; {nearest(stopper, NAMED)}, or the class path of a scheduler of Ray Tune"
        )
    if args:
        raise BadInput(f"the stopper none has no argument '{next(iter(args))}'; it takes none")
    return Rungs()


def halving_of(args: Mapping[str, Any]) -> Halving:
    """Return the settings of halving from arguments by name.

    Raises:
        BadInput: If one is unknown or cannot be.
    """
    known = [field.name for field in fields(Halving)]
    for name in args:
        if name not in known:
            raise BadInput(f"the stopper halving has no argument '{name}'; {nearest(name, known)}")
    return Halving(**args)
