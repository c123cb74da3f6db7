"""Ending trainings early with several objectives: asynchronous successive halving by non-dominated rank.

At a rung a trial is compared with all that have come to this rung, by their exact costs and what they have learned by
then. Li et al. (2020), "A system for massively parallel hyperparameter tuning", sort by one metric; here the order is
that of the fronts: those that nothing beats, those that nothing of the rest beats, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from invnas.measurement import Measurement, Trial
from invnas.objective import SMALLEST, Objective
from invnas.pareto import box, front, hypervolume, non_dominated, values_of

#: Trials of similar costs with which one that was stopped is compared.
NEAR = 8
#: Trials trained to the end from which is learned how those of a rung end.
ENOUGH = 4


class Stopper(Protocol):
    """Who ends trainings early."""

    def judge(self, trial: Trial) -> bool:
        """Tell whether a running trial shall end at the last of its `rungs`, which it has just reached.

        Judged again on the same record, the answer is the same.
        """
        ...


class HalvingStopper:
    """Lets a trial go on while fewer than one in `eta` of those at its rung lie on better fronts.

    A trial that nothing beats always goes on; one that all others beat never does, from two on.

    Args:
        objectives: Costs and learned values.
        eta: How many trials come to a rung for one that leaves it.
        trials: What the record knows.
    """

    def __init__(self, objectives: Sequence[Objective], eta: int, trials: Iterable[Trial] = ()) -> None:
        self._objectives, self._eta = objectives, eta
        self._seen: dict[int, dict[int, tuple[float, ...]]] = {}
        for trial in trials:
            for rung in trial.rungs:
                self._note(trial, rung)

    def judge(self, trial: Trial) -> bool:
        """Tell whether a trial ends at its last rung."""
        seen = self._note(trial, trial.rungs[-1])
        if trial.number not in seen:  # it cannot be compared: its training will say why
            return False
        place = list(seen).index(trial.number)
        rest, others = np.array(list(seen.values())), np.arange(len(seen))
        better, enough = 0, max(1, math.ceil(len(seen) / self._eta))
        while better < enough:
            keep = non_dominated(rest, self._objectives)
            if place in others[keep]:
                return False
            better += int(keep.sum())
            rest, others = rest[~keep], others[~keep]
        return True

    def _note(self, trial: Trial, rung: Measurement) -> dict[int, tuple[float, ...]]:
        seen = self._seen.setdefault(rung.epochs, {})
        if (values := at(trial, rung, self._objectives)) is not None:
            seen[trial.number] = values
        return seen


def at(trial: Trial, rung: Measurement, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """Return the values of a trial as they were at a rung: exact costs, what was learned by then; None if unusable."""
    found = replace(trial, measurement=rung)
    values = [found.value(objective.name) for objective in objectives]
    return None if any(value is None or not math.isfinite(value) for value in values) else found.values(objectives)


def promising(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """Return the stopped trials, the most promising first; those that were continued already are left out.

    Promising is what would add most to the hypervolume of the front if it ended as `_ends` expects. Of equals, and
    where too few were trained to expect anything, it is who had learned more at its last rung than others of its price:
    with the smallest share of the `NEAR` trials of that rung with the most similar costs ahead of it; then who came
    further, then who came first. (By fronts alone the best are neighbours of what was trained, and add little to it.)
    """
    continued = {trial.continues for trial in trials}
    stopped = [trial for trial in trials if trial.state == "stopped" and trial.rungs and trial.number not in continued]
    rungs = {trial.rungs[-1].epochs for trial in stopped}
    shares = {epochs: _shares_ahead(epochs, trials, objectives) for epochs in rungs}

    added = _added(stopped, trials, objectives)

    def order(trial: Trial) -> tuple[float, float, int, int]:
        epochs = trial.rungs[-1].epochs
        return -added.get(trial.number, 0.0), shares[epochs][trial.number], -epochs, trial.number

    return sorted((trial for trial in stopped if trial.number in shares[trial.rungs[-1].epochs]), key=order)


def _added(stopped: Sequence[Trial], trials: Sequence[Trial], objectives: Sequence[Objective]) -> dict[int, float]:
    """Return what stopped trials would add to the hypervolume of the front, by number; none where nobody can tell."""
    complete = [trial for trial in trials if trial.state == "complete"]
    expected = [end for epochs in {t.rungs[-1].epochs for t in stopped} for end in _ends(epochs, trials, objectives)]
    reference = box([*complete, *expected], objectives)
    best = values_of(front(complete, objectives), objectives)
    covered = hypervolume(best, objectives, reference)
    return {
        end.number: hypervolume(np.vstack([best, end.values(objectives)]), objectives, reference) - covered
        for end in expected
    }


def _ends(epochs: int, trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """Return the trials that were stopped at a rung as they would have ended.

    A ridge regression of what those trained to the end have learned on what they, too, had at this rung and cost.
    """
    here = [(t, at(t, rung, objectives)) for t in trials for rung in t.rungs if rung.epochs == epochs]
    whole = [(t, values) for t, values in here if t.state == "complete" and values is not None]
    asked = [(t, v) for t, v in here if t.state == "stopped" and t.rungs[-1].epochs == epochs and v is not None]
    learned = np.array([objective.source == "learned" for objective in objectives])
    if len(whole) < ENOUGH or not asked or not learned.any():
        return []
    seen = np.array([values for _, values in (*whole, *asked)], dtype=float)
    seen[:, ~learned] = np.log(np.maximum(seen[:, ~learned], SMALLEST))
    known = seen[: len(whole)]
    scaled = (seen - known.mean(axis=0)) / np.maximum(known.std(axis=0), SMALLEST)
    known, ends = scaled[: len(whole)], np.array([t.values(objectives) for t, _ in whole])[:, learned]
    weights = np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ (ends - ends.mean(axis=0)))
    names = [objective.name for objective, is_learned in zip(objectives, learned, strict=True) if is_learned]
    found = scaled[len(whole) :] @ weights + ends.mean(axis=0)
    return [
        replace(t, state="complete", measurement=Measurement(dict(zip(names, map(float, row), strict=True))))
        for (t, _), row in zip(asked, found, strict=True)
    ]


def _shares_ahead(epochs: int, trials: Sequence[Trial], objectives: Sequence[Objective]) -> dict[int, float]:
    """Return for each trial of a rung, by number, the share of those of similar costs that have learned more."""
    found = {t.number: at(t, rung, objectives) for t in trials for rung in t.rungs if rung.epochs == epochs}
    seen = {number: values for number, values in found.items() if values is not None}
    values = np.array(list(seen.values())).reshape(len(seen), len(objectives))
    is_learned = np.array([objective.source == "learned" for objective in objectives])
    learned = (values * [objective.sign for objective in objectives])[:, is_learned]
    price = np.log(np.maximum(values[:, ~is_learned], SMALLEST))
    shares = {}
    for number, mine, paid in zip(seen, learned, price, strict=True):
        near = learned[np.argsort(np.abs(price - paid).sum(axis=1), kind="stable")[: NEAR + 1]]  # itself among them
        ahead = np.all(near >= mine, axis=1) & np.any(near > mine, axis=1)
        shares[number] = float(ahead.mean())
    return shares
