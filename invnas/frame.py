"""The trials of a run as a table for pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invnas.errors import MissingExtra
from invnas.measurement import Trial

if TYPE_CHECKING:
    from pandas import DataFrame


def trials_frame(trials: Sequence[Trial]) -> DataFrame:
    """Return one row a trial, by number: its state, kind, costs, what was measured, how it was trained, its decisions.

    Raises:
        MissingExtra: If pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MissingExtra("pandas", "pandas") from None
    rows = [_row(trial) for trial in trials]
    # Named even when there are no trials.
    columns = list(dict.fromkeys(["state", "kind", "phase", *(name for row in rows for name in row)]))
    index = pandas.Index([trial.number for trial in trials], name="trial", dtype=int)
    return pandas.DataFrame(rows, index=index, columns=columns)


def _row(trial: Trial) -> dict[str, Any]:
    measured: dict[str, Any] = {} if trial.measurement is None else trial.measurement.to_dict()
    values = measured.pop("values", {})
    return {
        "state": trial.state,
        "kind": trial.architecture.kind,
        "phase": trial.phase,
        **values,
        **trial.cost.to_dict(),
        **measured,
        "reason": trial.reason,
        "fingerprint": trial.architecture.fingerprint,
        "decisions": dict(trial.decisions),
        "architecture": trial.architecture,
    }
