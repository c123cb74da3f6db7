"""Any Optuna sampler as a sampler of architectures. Its mind is a study in memory; the record is elsewhere."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invnas.choice import Choice, Decisions
from invnas.errors import BadInput, nearest
from invnas.measurement import Trial
from invnas.search.optuna_terms import directions, parameters, quiet, walk
from invnas.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler


class OptunaSampler:
    """Proposes what an Optuna sampler suggests, decision by decision; only the branch that is taken is asked about.

    Args:
        space: Where to search.
        objectives: Names of the values that are told.
        mind: The Optuna sampler.
        history: Trials known before.
    """

    def __init__(
        self, space: Space, objectives: tuple[str, ...], mind: BaseSampler, history: Sequence[Trial] = ()
    ) -> None:
        import optuna

        self._space = space
        self._states = optuna.trial.TrialState
        self._asked: dict[tuple[tuple[str, int], ...], list[optuna.Trial]] = {}
        with quiet():
            self._study = optuna.create_study(directions=directions(objectives), sampler=mind)
        for trial in history:
            if trial.measurement is not None:
                self._learn(trial.decisions, trial.measurement.values(objectives))

    def ask(self) -> Decisions:
        """Return the next suggestion, valid or not.

        Raises:
            BadInput: If this Optuna sampler cannot work on this space or with these objectives.
        """
        with quiet():
            trial = self._study.ask()
            decisions = walk(self._space, lambda path, choice: self._suggest(trial, path, choice))
        self._asked.setdefault(_key(decisions), []).append(trial)
        return decisions

    def _suggest(self, trial: optuna.Trial, path: str, choice: Choice) -> int:
        if len(choice.options) == 1:
            return 0
        try:
            return choice.labels.index(trial.suggest_categorical(path, choice.labels))
        except (ValueError, TypeError, NotImplementedError, ImportError) as error:
            raise BadInput(f"the sampler {type(self._study.sampler).__name__} cannot search here: {error}") from error

    def tell(self, decisions: Decisions, values: tuple[float, ...] | None) -> None:
        """Finish a suggestion; values of decisions that were never suggested are learned as well."""
        # The latest of equal suggestions: the first one may be running while its repetition is rejected.
        asked = self._asked.get(_key(decisions))
        with quiet():
            if asked:
                state = self._states.FAIL if values is None else self._states.COMPLETE
                self._study.tell(asked.pop(), values, state=state)
            elif values is not None:
                self._learn(decisions, values)

    def _learn(self, decisions: Decisions, values: tuple[float, ...]) -> None:
        import optuna

        params, distributions = parameters(self._space, decisions)
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))


def _key(decisions: Decisions) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(decisions.items()))


def load_optuna_sampler(class_path: str, args: Mapping[str, Any], seed: int) -> BaseSampler:
    """Return an Optuna sampler by its class path; the seed is given where the class takes one.

    Raises:
        BadInput: If there is no such class, it is not a sampler, or it refuses the arguments.
    """
    cls = _sampler_class(class_path)
    known = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
    for name in args:
        if name not in known:
            raise BadInput(f"the sampler {class_path} has no argument '{name}'; {nearest(name, known)}")
    seeded = {"seed": seed, **args} if "seed" in known else dict(args)
    try:
        with quiet():
            return cls(**seeded)
    except (TypeError, ValueError, ImportError) as error:
        raise BadInput(f"the sampler {class_path} refuses its arguments: {error}") from error


def _sampler_class(class_path: str) -> type[BaseSampler]:
    from optuna import samplers

    module_name, _, name = class_path.rpartition(".")
    shipped = [f"optuna.samplers.{known}" for known in samplers.__all__ if known.endswith("Sampler")]
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:  # ValueError: a path that starts with a dot
        raise BadInput(f"unknown sampler '{class_path}' ({error}); {nearest(class_path, shipped)}") from None
    cls = getattr(module, name, None)
    if cls is None:
        raise BadInput(f"unknown sampler '{class_path}': {module_name} has no {name}; {nearest(class_path, shipped)}")
    if not (isinstance(cls, type) and issubclass(cls, samplers.BaseSampler)) or inspect.isabstract(cls):
        raise BadInput(f"'{class_path}' is not an Optuna sampler; {nearest(class_path, shipped)}")
    return cls
