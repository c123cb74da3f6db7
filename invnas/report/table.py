"""The tables: front.csv and trials.csv, full precision, one row per trial, units in the column names."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from invnas.measurement import PHASES, SPREAD, Trial
from invnas.objective import COSTS, LATENCY
from invnas.report.collect import ReportData
from invnas.report.point import Point

#: What stands behind the name of a learned objective: what is believed of it, and the 95 % band of that mean.
_ENDS = ("_believed", "_low", "_high")
_COSTS = (*(cost.name for cost in COSTS), SPREAD)


def write(data: ReportData, folder: Path) -> None:
    """Write front.csv (the front as believed, by FLOPs) and trials.csv (every finished trial by number)."""
    observed = {point.number for point in data.observed_front}
    cheapest_first = sorted(data.front, key=lambda point: (point.trial.cost.macs, point.number))
    where = {"latency_where": data.experiment.latency.words}
    _write(folder / "front.csv", _columns(data), (_point(point, observed) for point in cheapest_first), where)
    rows = [
        *(_point(point, observed) for point in data.drawn),
        *map(_stopped, data.stopped),
        *map(_failed, data.failed),
    ]
    _write(folder / "trials.csv", _columns(data), sorted(rows, key=lambda row: row["trial"]), where)


def _columns(data: ReportData) -> tuple[str, ...]:
    learned = tuple(axis.name for axis in data.learned)
    tested = tuple(f"test_{name}" for name in data.experiment.tested)
    inherited = () if data.experiment.init_from is None else ("inherited",)
    believed = (f"{axis.name}{end}" for axis in data.belief.objectives for end in _ENDS)
    return (
        "trial", "found_by", "state", "kind", "on_front", "on_observed_front", *tested, *learned, *believed, "seeds",
        *_COSTS, "latency_where", "epochs", "planned_epochs",
        "train_seconds", "micro_batches", *inherited, "continues", "backend", "device", "host", "fingerprint",
        "reason", "architecture",
    )  # fmt: skip


def _write(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]], where: dict[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **where} if LATENCY.name in row else row for row in rows)


def _point(point: Point, observed: set[int]) -> dict[str, Any]:
    believed: dict[str, float] = {}
    for name, one in point.believed.items():
        believed |= dict(zip((f"{name}{end}" for end in _ENDS), (one.mean, one.low, one.high), strict=True))
    return {
        **_measured(point.trial),
        **believed,
        "seeds": point.seeds,
        "on_front": int(point.on_front),
        "on_observed_front": int(point.number in observed),
        **{f"test_{name}": value for name, value in point.tested.items()},
    }


def _stopped(trial: Trial) -> dict[str, Any]:
    return {**_measured(trial), "on_front": 0, "on_observed_front": 0}


def _failed(trial: Trial) -> dict[str, Any]:
    return {**_trial(trial), "on_front": 0, "on_observed_front": 0, "reason": trial.reason}


def _measured(trial: Trial) -> dict[str, Any]:
    assert trial.measurement is not None
    measured = trial.measurement.to_dict()
    measured.pop("by_class", None)  # the page has them
    return {**_trial(trial), **measured.pop("values"), **measured}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "found_by": PHASES[trial.phase],
        "state": trial.state,
        "kind": trial.architecture.kind,
        **{name: trial.cost[name] for name in _COSTS if name in trial.cost},
        "continues": "" if trial.continues is None else trial.continues,
        "fingerprint": trial.architecture.fingerprint,
        "architecture": trial.architecture.to_json(),
    }
