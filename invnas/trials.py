"""Some trials of a run: a tuple that shows itself as a table, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex, overload

from invnas.measurement import Trial
from invnas.objective import MACS, PARAMETERS, Objective
from invnas.plain_table import as_html, as_text


class Trials(tuple[Trial, ...]):
    """Trials in some order; all that a tuple does, it does.

    Args:
        trials: The trials.
        axes: The objectives whose values are shown.

    >>> Trials()
    no trials
    """

    axes: tuple[Objective, ...]

    def __new__(cls, trials: Iterable[Trial] = (), axes: Sequence[Objective] = ()) -> Trials:
        """Make a tuple that knows what to show."""
        made = super().__new__(cls, trials)
        made.axes = tuple(axes)
        return made

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Trial: ...

    @overload
    def __getitem__(self, place: slice, /) -> Trials: ...

    def __getitem__(self, place: Any, /) -> Any:
        found = super().__getitem__(place)
        return Trials(found, self.axes) if isinstance(place, slice) else found

    def __repr__(self) -> str:
        return as_text("", *self._table()) if self else "no trials"

    def _repr_html_(self) -> str:
        return as_html(self._title(), *self._table())

    def _title(self) -> str:
        return f"{len(self)} trial{'' if len(self) == 1 else 's'}" if self else "no trials"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        shown = (*self.axes, *(cost for cost in (MACS, PARAMETERS) if cost not in self.axes))
        head = ["trial", "kind", "state", "phase", *(axis.label for axis in shown)]
        rows = [
            [
                str(trial.number),
                trial.architecture.kind,
                trial.state,
                trial.phase,
                *(axis.exact(trial.value(axis.name)) for axis in shown),
            ]
            for trial in self
        ]
        return head, rows
