"""The front as a table: what is believed with its band, what the test images said, what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from invnas.belief import Belief
from invnas.measurement import Trial
from invnas.objective import DASH, MACS, PARAMETERS, Objective


def front_table(
    front: Sequence[Trial],
    axes: Sequence[Objective],
    belief: Belief,
    tested: Mapping[int, Mapping[str, float]],
    objectives: Sequence[Objective],
    knee: int | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and a row for each trial.

    Args:
        front: The trials, in the order of the rows.
        axes: The objectives of the search.
        belief: What is believed of them.
        tested: What the test images said, by number of the trial.
        objectives: All that the task measures.
        knee: The trial that is marked as such.
    """
    shown = (*axes, *(cost for cost in (MACS, PARAMETERS) if cost not in axes))
    found_by_test = [axis for axis in objectives if any(axis.name in found for found in tested.values())]
    columns: dict[str, Callable[[Trial], str]] = {
        "trial": lambda trial: f"{trial.number}{' (knee)' if trial.number == knee else ''}",
        "kind": lambda trial: trial.architecture.kind,
        **{f"{axis.label}, 95 % band": partial(_band, belief, axis) for axis in belief.objectives},
        **{f"test {axis.label}": partial(_tested, tested, axis) for axis in found_by_test},
        **{f"{axis.label}{' measured' if axis in belief.objectives else ''}": partial(_exact, axis) for axis in shown},
    }
    return list(columns), [[cell(trial) for cell in columns.values()] for trial in front]


def _band(belief: Belief, axis: Objective, trial: Trial) -> str:
    one = belief.estimate(trial, axis.name)
    return DASH if one is None else f"{axis.exact(one.mean)} ({axis.exact(one.low)} to {axis.exact(one.high)})"


def _tested(tested: Mapping[int, Mapping[str, float]], axis: Objective, trial: Trial) -> str:
    return axis.exact(tested.get(trial.number, {}).get(axis.name))


def _exact(axis: Objective, trial: Trial) -> str:
    return axis.exact(trial.value(axis.name))
