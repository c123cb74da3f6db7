"""What a report computes, degenerate runs first."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from invnas import zoo
from invnas.architecture import Architecture, Convolution, Involution
from invnas.errors import BadInput
from invnas.fixed_box import fixed_box
from invnas.pareto import front
from invnas.report import collect, render_html, render_static, table
from invnas.report.collect import ReportData
from invnas.report.figures import figures
from invnas.report.sections import Section, sections_of


def test_no_trial(make: Callable[..., ReportData]) -> None:
    data = make(0)
    assert (data.points, data.front, data.knee, data.search.hypervolume, data.failed) == ((), (), None, (), ())


def test_one_trial_is_front_and_knee(make: Callable[..., ReportData]) -> None:
    data = make(1)
    assert [point.number for point in data.front] == [0]
    assert data.knee == data.points[0]
    assert len(data.search.hypervolume) == 1
    assert data.baselines == ()


def test_search_and_baseline_have_fronts_of_their_own_in_one_box(data: ReportData) -> None:
    search = [point.trial for point in data.points if not point.trial.baseline]
    baseline = [point.trial for point in data.points if point.trial.baseline]
    assert [p.trial for p in data.front] == list(front(search, data.objectives))
    (drawn,) = data.baselines
    assert [p.trial for p in drawn.front] == list(front(baseline, data.objectives))
    assert {p.number for p in data.points if p.on_front} == {p.number for p in (*data.front, *drawn.front)}
    assert len(data.search.hypervolume) == len(drawn.hypervolume) == 40, "a failed trial counts"
    assert data.box == fixed_box([p.trial for p in data.points if not p.trial.baseline], data.objectives)


def test_a_cap_is_an_edge_of_the_box(make: Callable[..., ReportData]) -> None:
    assert make(5, max_macs=10**9).box.worst == (0.0, 1e9)


def test_failed_trials_keep_their_reasons(data: ReportData) -> None:
    assert [trial.number for trial in data.failed] == list(range(8, 80, 9))
    assert all("NaN" in trial.reason for trial in data.failed)
    assert not {trial.number for trial in data.failed} & {point.number for point in data.points}


def test_test_accuracy_is_by_trial_number(data: ReportData) -> None:
    assert all((point.tested == {"top1": 0.7}) == (point.number % 2 == 0) for point in data.points)


def test_an_objective_without_values_is_named(make: Callable[..., ReportData]) -> None:
    with pytest.raises(BadInput, match="latency_ms"):
        make(3, objectives=("top1", "latency_ms"))


@pytest.mark.parametrize(
    ("objectives", "panels"),
    [
        (("top1", "macs"), (("macs", "top1"),)),
        (("macs", "top1"), (("macs", "top1"),)),
        (("parameters", "macs"), (("macs", "parameters"),)),
        (("top1", "macs", "latency_ms"), (("macs", "top1"), ("latency_ms", "top1"))),
    ],
)
def test_accuracy_goes_upwards(make: Callable[..., ReportData], objectives: Any, panels: Any) -> None:
    drawn = make(4, latency=True, objectives=objectives).panels
    assert tuple((x.name, y.name) for x, y in drawn) == panels


def test_backends_are_said_once_with_their_device(data: ReportData) -> None:
    assert data.backends == ("shift on cpu",)


def test_share_and_kernel_sizes_of_a_part() -> None:
    part = Section("stage 1", (Involution(7), Convolution(3), Involution(3), Involution(7)))
    assert (part.share, part.kernel_sizes) == (0.75, (3, 7))
    assert (Section("stage 1", (Convolution(3),)).share, Section("stage 1", (Convolution(3),)).kernel_sizes) == (
        0.0,
        (),
    )


def test_parts_of_a_published_network() -> None:
    parts = sections_of(zoo.rednet(26))
    assert [part.name for part in parts] == ["stem", "stage 1", "stage 2", "stage 3", "stage 4"]
    assert [len(part.operators) for part in parts] == [1, 1, 2, 4, 1]


@dataclass(frozen=True)
class Own:
    first: Any
    layers: tuple[Any, ...]


def test_parts_of_an_own_root_are_its_fields() -> None:
    own = Architecture(Own(Convolution(3), (Involution(5, 4, 2), Convolution(3))))
    assert [(part.name, part.share) for part in sections_of(own)] == [
        ("first", 0.0),
        ("layer 1", 1.0),
        ("layer 2", 0.0),
    ]
    assert sections_of(Architecture(Own(1, ()))) == ()


def test_a_page_draws_the_fronts_and_an_even_sample(
    make: Callable[..., ReportData], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make(30, 10).shown == make(30, 10).points
    monkeypatch.setattr(collect, "SAMPLE", 5)
    data = make(30, 10)
    on_front = {point.number for point in data.points if point.on_front}
    drawn = [point.number for point in data.shown]
    assert on_front < set(drawn)
    assert len(drawn) == len(on_front) + 5
    assert drawn == sorted(drawn)


def test_stopped_trials_are_told_apart_and_stay_off_the_front(make: Callable[..., ReportData]) -> None:
    data = make(6)
    trials = [replace(point.trial, state="stopped") if i == 2 else point.trial for i, point in enumerate(data.points)]
    stopped = collect.collect("run", data.experiment, trials, {})
    assert [trial.number for trial in stopped.stopped] == [data.points[2].number]
    assert data.points[2].number not in {point.number for point in (*stopped.points, *stopped.front)}


def test_epochs_are_those_that_were_spent(make: Callable[..., ReportData]) -> None:
    data = make(10, stopped=True)  # trials 1, 5 and 9 were stopped after 8 of 30 epochs, 8 failed, 10 continues 1
    assert data.search.epochs == (30, 38, 68, 98, 128, 136, 166, 196, 196, 204, 226)
    assert len(data.search.epochs) == len(data.search.hypervolume)
    assert (data.baselines, data.epochs_known) == ((), True)
    assert {number: trial.number for number, trial in data.continued.items()} == {1: 10}
    none = make(0)
    assert (none.search.epochs, none.curves, none.epochs_known) == ((), (), False)


def test_each_curve_has_its_epochs(make: Callable[..., ReportData]) -> None:
    names = [(one.name, len(one.hypervolume), one.epochs[-1]) for one in make(4, 3).curves]
    assert names == [("random baseline", 3, 90), ("search", 4, 120)]


def test_two_random_baselines_are_told_apart(make: Callable[..., ReportData], tmp_path: Path) -> None:
    data = make(20, 12, branch=12)
    assert [(course.phase, course.name, len(course.hypervolume)) for course in data.baselines] == [
        ("random", "random baseline", 12),
        ("branch", "branch-uniform baseline", 12),
    ]
    assert [course.name for course in data.curves] == ["random baseline", "branch-uniform baseline", "search"]
    for course in data.baselines:
        assert {point.trial.phase for point in course.front} == {course.phase}
    traces = {trace["name"]: trace for trace in figures(data)["plot-0"]["data"] if "name" in trace}
    assert traces["front of the random baseline"]["line"]["dash"] == "dash"
    assert traces["front of the branch-uniform baseline"]["line"]["dash"] == "dashdot"
    assert traces["hybrid (branch-uniform baseline)"]["marker"]["symbol"] == "square-open-dot"
    page = render_html.render(data)
    for words in (
        "11 by the branch-uniform baseline",
        "that of the branch-uniform baseline",
        "with a dot: branch-uniform",
    ):
        assert words in page
    table.write(data, tmp_path)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()))
    assert sum(row["found_by"] == "branch-uniform baseline" for row in rows) == 12
    shown = [text.get_text() for text in render_static.front(data).legends[0].get_texts()]
    assert "half filled: branch-uniform baseline" in shown
