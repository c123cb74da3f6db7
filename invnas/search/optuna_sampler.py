"""Any Optuna sampler as a sampler of architectures.

For each proposal it is made anew, seeded by the seed and the number of the trial, and given a study in memory that
holds the record: what it proposes is a function of both alone, and nothing it kept in mind can differ after a kill.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from invnas.choice import Choice, Decisions
from invnas.class_path import load_class
from invnas.errors import BadInput, nearest
from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.pareto import ranks
from invnas.search.optuna_terms import directions, parameters, quiet
from invnas.search.sampler import Context, Draws, Told
from invnas.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

#: Beyond so many trials the study holds a choice, made anew at every 100: a half are the latest, a half the best of the
#: others, front after front. The time that TPE takes for a proposal grows faster than the trials do.
HELD, STEP = 1_000, 100


class OptunaSampler:
    """Proposes what an Optuna sampler suggests, decision by decision; only the branch that is taken is asked about.

    Args:
        space: Where to search.
        objectives: The values that count.
        class_path: Class of the Optuna sampler.
        args: Its arguments by name.
        seed: Seed of the draws.

    Raises:
        BadInput: If there is no such sampler, or it refuses the arguments.
    """

    uniform = False

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        class_path: str,
        args: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        load_optuna_sampler(class_path, args, seed)
        # A seed among the arguments is the seed of all proposals, not of each.
        own = args.get("seed")
        self._space, self._objectives, self._draws = space, objectives, Draws(seed if own is None else str(own))
        self._class_path, self._args = class_path, {name: value for name, value in args.items() if name != "seed"}
        self._told: list[Told] = []
        self._number: int | None = None
        self._study: optuna.Study | None = None
        self._held: _Held | None = None
        self._asked: optuna.Trial | None = None

    def ask(self, context: Context) -> Decisions:
        """Return the next suggestion, valid or not.

        Raises:
            BadInput: If this Optuna sampler cannot work on this space or with these objectives.
        """
        with quiet():
            if self._asked is not None:  # it was rejected, or it is running and will be learned when it is measured
                self._asked.study.tell(self._asked, state=_state("FAIL"))
            if self._study is None or context.number != self._number:
                self._number, self._study = context.number, self._begun(context)
            self._asked = trial = self._study.ask()
            return self._space.walk(lambda path, choice: self._suggest(trial, path, choice))

    def tell(self, told: Told) -> None:
        """Remember what was trained; a proposal in this sampler's place is learned as its own."""
        if told.trial is not None:
            self._told.append(told)

    def _suggest(self, trial: optuna.Trial, path: str, choice: Choice) -> int:
        if len(choice.options) == 1:
            return 0
        try:
            return choice.labels.index(trial.suggest_categorical(path, choice.labels))
        except (ValueError, TypeError, NotImplementedError, ImportError) as error:
            raise BadInput(f"the sampler {self._class_path} cannot search here: {error}") from error

    def _begun(self, context: Context) -> optuna.Study:
        """Return a study that holds what is known, with a sampler that was never asked before."""
        mind = load_optuna_sampler(self._class_path, self._args, self._draws.at(context.number).getrandbits(32))
        # Chosen anew at every so many trials: a function of the record, and seldom paid for.
        chosen_from = len(self._told) - len(self._told) % STEP if len(self._told) > HELD else 0
        if self._held is None or self._held.chosen_from != chosen_from:
            self._held = _Held(self._space, self._objectives, chosen_from)
            self._held.add(_chosen(self._told[:chosen_from], self._objectives), mind)
        self._held.add(self._told[chosen_from + self._held.since :], mind)
        self._held.since = len(self._told) - chosen_from
        return self._held.study(mind, context.pending)


class _Held:
    """A study in memory, to which trials are added as they finish: to make one costs a millisecond a trial."""

    def __init__(self, space: Space, objectives: Sequence[Objective], chosen_from: int) -> None:
        import optuna

        self._space, self._objectives, self.chosen_from = space, objectives, chosen_from
        self.since = 0
        self._measured = 0
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, directions=directions(objectives))
        self._id = self._storage.get_study_id_from_name(self._study.study_name)
        self._pending: list[int] = []

    def add(self, many: Sequence[Told], mind: BaseSampler) -> None:
        """Add finished trials."""
        for told in many:
            self._storage.create_new_trial(self._id, self._frozen(told, mind))

    def study(self, mind: BaseSampler, pending: Sequence[Trial]) -> optuna.Study:
        """Return the study with another sampler and pending trials; nothing that earlier ones chose is left to see."""
        import optuna

        for one in self._pending:
            self._storage.set_trial_state_values(one, _state("FAIL"))
        for key in self._storage.get_study_system_attrs(self._id):  # what a sampler chose before, with other draws
            self._storage.set_study_system_attr(self._id, key, None)
        self._pending = []
        for trial in pending:
            params, distributions = parameters(self._space, trial.decisions)
            running = optuna.trial.create_trial(state=_state("RUNNING"), params=params, distributions=distributions)
            self._pending.append(self._storage.create_new_trial(self._id, running))
        self._study.sampler = mind
        return self._study

    def _frozen(self, told: Told, mind: BaseSampler) -> optuna.trial.FrozenTrial:
        """Return a finished trial in Optuna's terms."""
        import optuna

        params, distributions = parameters(self._space, told.decisions)
        if told.outcome != "measured" or told.trial is None:
            # TPE counts pruned trials among those that others beat; no other sampler looks at them.
            state = _state("PRUNED" if told.outcome == "stopped" else "FAIL")
            return optuna.trial.create_trial(state=state, params=params, distributions=distributions)
        self._measured += 1
        return optuna.trial.create_trial(
            params=params,
            distributions=distributions,
            values=list(told.trial.values(self._objectives)),
            system_attrs=_generation(mind, self._measured - 1),
        )


def _chosen(told: Sequence[Told], objectives: Sequence[Objective]) -> list[Told]:
    """Return what is held of many: half of them the latest, half the best of the others, in their order."""
    latest = max(len(told) - HELD // 2, 0)
    others = [one for one in told[:latest] if one.outcome == "measured"]
    if not others:
        return list(told)
    values = np.array([one.trial.values(objectives) for one in others if one.trial is not None])
    best = np.sort(np.argsort(ranks(values, objectives), kind="stable")[: HELD - HELD // 2])
    return [*(others[i] for i in best), *told[latest:]]


def _generation(mind: BaseSampler, place: int) -> dict[str, Any]:
    """Return the mark by which a genetic sampler knows the generation of a trial: without it the trial is not seen."""
    from optuna.samplers import BaseGASampler

    if not isinstance(mind, BaseGASampler):
        return {}
    return {type(mind)._get_generation_key(): place // (mind.population_size or 1)}


def _state(name: str) -> optuna.trial.TrialState:
    from optuna.trial import TrialState

    return TrialState[name]


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

    shipped = [f"optuna.samplers.{known}" for known in samplers.__all__ if known.endswith("Sampler")]
    kind: type[BaseSampler] = load_class(class_path, "sampler", shipped, samplers.BaseSampler)
    return kind
