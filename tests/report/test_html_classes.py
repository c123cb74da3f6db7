"""What the page says of the classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from search.cheap import CheapEngine, go, make_run, measure

from invnas.report import html_classes, render_html, table
from invnas.report.collect import ReportData, collect
from invnas.run import Run


def told(make: Callable[..., ReportData], shares: tuple[float | None, ...], names: tuple[str, ...]) -> ReportData:
    """Return a report whose trials all reached this on each class."""
    data = make(6)
    trials = [replace(point.trial, measurement=replace(point.measurement, by_class=shares)) for point in data.points]
    return collect("run", data.experiment, trials, {}, beyond=replace(data.beyond, classes=names, images=40))


def test_without_classes_there_is_no_section(make: Callable[..., ReportData]) -> None:
    for data in (make(0), make(6)):
        assert html_classes.classes(data) == ""
        assert "class by class" not in render_html.render(data)


def test_classes_have_their_names_and_the_worst_is_bold(make: Callable[..., ReportData]) -> None:
    data = told(make, (0.75, None, 0.5, 1.0), ("cat", "<dog>"))
    said = html_classes.classes(data)
    assert re.findall("<th>(.*?)</th>", said)[2:] == ["cat", "&lt;dog&gt;", "2", "3"]
    assert said.count("<b>50.0 %</b>") == len(data.front) == said.count("<td>75.0 %</td>") - 1
    assert "A class has about 10 of the 40 images." in said
    assert "The front class by class" in render_html.render(data)


def test_of_many_classes_the_worst_are_shown(make: Callable[..., ReportData]) -> None:
    said = html_classes.classes(told(make, tuple(i / 100 for i in range(100, 0, -1)), ()))
    assert re.findall("<th>(.*?)</th>", said)[2:] == [str(i) for i in range(80, 100)]
    assert "Of 100 classes the 20 worst are shown." in said


def test_classes_outlive_the_process_that_measured_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    with run.locked():
        go(run, CheapEngine(outcome=lambda job: replace(measure(job), by_class=(0.5, None))))
    again = Run.open(run.folder)
    assert [trial.measurement.by_class for trial in again.trials() if trial.measurement] == [(0.5, None)] * 2
    data = collect("run", again.experiment, again.trials(), {})
    assert "50.0 %" in html_classes.classes(data)
    table.write(data, tmp_path)
    assert "by_class" not in (tmp_path / "trials.csv").read_text(encoding="utf-8")
