"""What a sampler was told, as data of a surrogate: measured here, measured on a part of a budget, measured before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import BadInput
from invnas.measurement import Measurement, Trial
from invnas.objective import Objective
from invnas.search.surrogate import Data
from invnas.space import Space

#: Whole trainings with the rung of a stopped one, without which nobody knows what a rung is worth.
_COMPARED = 3
#: What is beyond stands for a failure, not for a number that could be modelled.
_LARGEST = 1e100
#: Interquartile ranges below the median from which on a value says no more than that it is bad.
_FAR = 2.0


@dataclass(frozen=True)
class Earlier:
    """What an earlier run on the same space found.

    Attributes:
        decisions: What was trained.
        values: What came out, by the names of the objectives.
    """

    decisions: Decisions
    values: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"decisions": self.decisions, "values": dict(self.values)}


def earlier_of(trials: Sequence[Trial], space: Space) -> list[Earlier]:
    """Return what the trials of a run found, as far as they lie in a space."""
    found = []
    for trial in trials:
        if trial.state != "complete" or trial.measurement is None:
            continue
        with suppress(BadInput):  # a value of a type that this space does not have
            same = Architecture.from_dict(trial.architecture.to_dict(), space.types)
            if (decisions := space.decisions(same)) is not None:
                found.append(Earlier(decisions, dict(trial.measurement.values)))
    return found


class Observations:
    """Everything that says something of the learned objectives, in the order in which it was told.

    A stopped trial says what it had reached at its last rung, and how much whole trainings gained from there on; like
    what an earlier run found it has a noise of its own kind.

    Args:
        objectives: The values that count.
        earlier: Trials of earlier runs on the same space.
    """

    def __init__(self, objectives: Sequence[Objective], earlier: Sequence[Earlier] = ()) -> None:
        self._objectives, self.earlier = tuple(objectives), tuple(earlier)
        self.trials: list[Trial] = []

    def add(self, trial: Trial) -> None:
        """Take a finished trial; one that says nothing is left out."""
        whole = trial.state == "complete" and (np.abs(trial.values(self._objectives)) < _LARGEST).all()
        if whole or (trial.state == "stopped" and trial.rungs):
            self.trials.append(trial)

    @property
    def complete(self) -> list[Trial]:
        """The trials that were trained to the end: what a front is made of."""
        return [trial for trial in self.trials if trial.state == "complete"]

    def of(
        self, objective: Objective, rows: Mapping[int, np.ndarray], before: np.ndarray, first: int | None = None
    ) -> Data:
        """Return what was found of an objective: that of earlier runs first, then by the order of telling.

        What was learned far worse than all else is told as bad, not as how bad.

        Args:
            objective: What is learned, or a cost that is metered.
            rows: Features of each trial by its number.
            before: (n, d) features of the earlier ones.
            first: What was found when so many trials had been told; None for all of them.
        """
        told = self.trials[:first]
        found = [
            (row, gain, 1, True)
            for row, one in zip(before, self.earlier, strict=True)
            if (gain := _gain(objective, one.values.get(objective.name))) is not None
        ]
        gained = _gained(objective, told) if any(trial.state == "stopped" for trial in told) else {}
        for trial in told:
            last = (*trial.rungs, trial.measurement)[-1] if trial.state == "complete" else trial.rungs[-1]
            whole = trial.state == "complete" or objective.name in trial.cost
            gain = _reached(objective, trial, last)
            more = 0.0 if whole or last is None else gained.get(last.epochs)
            if gain is not None and more is not None:
                found.append((rows[trial.number], gain + more, 0, not whole))
        table, values, source, rough = (np.array(column) for column in zip(*found, strict=True))
        return Data(table, _fenced(values, source) if objective.source == "learned" else values, source, rough)


def _gained(objective: Objective, trials: Sequence[Trial]) -> dict[int, float]:
    """Return what whole trainings gained from each rung to their end, in the middle."""
    steps: dict[int, list[float]] = {}
    for trial in trials:
        end = _reached(objective, trial, trial.measurement) if trial.state == "complete" else None
        for rung in trial.rungs:
            if end is not None and (reached := _reached(objective, trial, rung)) is not None:
                steps.setdefault(rung.epochs, []).append(end - reached)
    return {epochs: float(np.median(found)) for epochs, found in steps.items() if len(found) >= _COMPARED}


def _fenced(values: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return values of which those far below the others of their source are raised to the fence between.

    A network that did not learn at all would otherwise be most of the variance, and what makes good ones differ noise.

    Source: Tukey, "Exploratory Data Analysis", 1977, of whose fences this is the lower one where quartiles lie evenly.
    """
    found = values.copy()
    for one in np.unique(source):
        first, middle, third = np.quantile(values[source == one], (0.25, 0.5, 0.75))
        if third > first:  # else at least half of them are equal, and nothing says what is far
            found[source == one] = np.maximum(values[source == one], middle - _FAR * (third - first))
    return found


def _reached(objective: Objective, trial: Trial, at: Measurement | None) -> float | None:
    """Return what a trial was worth at a rung, or at its end."""
    values = trial.cost if objective.name in trial.cost or at is None else at
    return _gain(objective, values.values.get(objective.name))


def _gain(objective: Objective, value: float | None) -> float | None:
    return objective.gain(value) if value is not None and abs(value) < _LARGEST else None
