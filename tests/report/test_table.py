"""The CSV files hold every finished trial at full precision."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from invnas.architecture import Architecture
from invnas.report import table
from invnas.report.collect import ReportData


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_empty_run_has_headings_only(make: Callable[..., ReportData], tmp_path: Path) -> None:
    table.write(make(0), tmp_path)
    assert rows(tmp_path / "front.csv") == rows(tmp_path / "trials.csv") == []
    assert (tmp_path / "front.csv").read_text().startswith("trial,found_by,state,kind")


def test_every_finished_trial_is_there_in_order(data: ReportData, tmp_path: Path) -> None:
    table.write(data, tmp_path)
    written = rows(tmp_path / "trials.csv")
    assert [int(row["trial"]) for row in written] == list(range(80))
    assert {row["trial"] for row in written if row["state"] == "failed"} == {str(trial.number) for trial in data.failed}
    assert written[8]["reason"] == data.failed[0].reason
    assert {row["found_by"] for row in written[40:]} == {"random baseline"}


def test_numbers_and_architectures_come_back_exactly(data: ReportData, tmp_path: Path) -> None:
    table.write(data, tmp_path)
    written = {int(row["trial"]): row for row in rows(tmp_path / "trials.csv")}
    for point in data.points:
        row = written[point.number]
        assert float(row["top1"]) == point.measurement.top1
        assert int(row["macs"]) == point.trial.cost.macs
        assert row["latency_ms"] == ""
        assert row["test_top1"] == ("0.7" if point.number % 2 == 0 else "")
        assert Architecture.from_json(row["architecture"]) == point.trial.architecture


def test_the_front_is_that_of_the_search_by_flops(data: ReportData, tmp_path: Path) -> None:
    table.write(data, tmp_path)
    written = rows(tmp_path / "front.csv")
    assert [int(row["trial"]) for row in written] == [point.number for point in data.front]
    macs = [int(row["macs"]) for row in written]
    assert macs == sorted(macs)
