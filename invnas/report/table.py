"""The tables: front.csv and trials.csv, full precision, one row per trial, units in the column names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from invnas.measurement import Trial
from invnas.report.collect import Point, ReportData

_COLUMNS = (
    "trial", "found_by", "state", "kind", "on_front", "test_top1", "top1", "top5", "loss", "macs", "parameters",
    "activation_bytes", "latency_ms", "epochs", "train_seconds", "backend", "device", "fingerprint", "reason",
    "architecture",
)  # fmt: skip


def write(data: ReportData, folder: Path) -> None:
    """Write front.csv (the front of the search by FLOPs) and trials.csv (every finished trial by number)."""
    cheapest_first = sorted(data.front, key=lambda point: (point.measurement.macs, point.number))
    _write(folder / "front.csv", map(_point, cheapest_first))
    rows = [*map(_point, data.points), *map(_failed, data.failed)]
    _write(folder / "trials.csv", sorted(rows, key=lambda row: row["trial"]))


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _point(point: Point) -> dict[str, Any]:
    measured = {key: value for key, value in point.measurement.to_dict().items() if value is not None}
    return {
        **_trial(point.trial),
        **measured,
        "on_front": int(point.on_front),
        "test_top1": "" if point.test_top1 is None else point.test_top1,
    }


def _failed(trial: Trial) -> dict[str, Any]:
    cost = {
        "macs": trial.cost.macs,
        "parameters": trial.cost.parameters,
        "activation_bytes": trial.cost.activation_bytes,
    }
    return {**_trial(trial), **cost, "on_front": 0, "reason": trial.reason}


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "found_by": "random baseline" if trial.baseline else "search",
        "state": trial.state,
        "kind": trial.architecture.kind,
        "fingerprint": trial.architecture.fingerprint,
        "architecture": trial.architecture.to_json(),
    }
