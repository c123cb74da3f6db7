"""The page: complete, escaped, without any address it would load from."""

from __future__ import annotations

import builtins
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from invnas.errors import BadInput, MissingExtra
from invnas.features import chosen
from invnas.measurement import MAC_CONVENTION
from invnas.report import write
from invnas.report.collect import ReportData
from invnas.report.figures import figures
from invnas.report.panel import facts
from invnas.report.render_html import render
from invnas.space import load_space

PICTURES = ("front", "hypervolume", "hypervolume_epochs", "involution_usage")


@pytest.fixture(autouse=True)
def _no_plotly_source(monkeypatch: pytest.MonkeyPatch) -> None:
    # 5 MB that are the same in every page; test_browser runs them.
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* plotly.js */")


def embedded(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    loaded = json.loads(match[1])
    assert isinstance(loaded, dict)
    return loaded


class Balance(HTMLParser):
    """Counts what is opened and not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in ("meta", "link", "path", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "kind",
    [
        {"count": 0},
        {"count": 1},
        {"count": 6, "baseline": 6},
        {"count": 12, "latency": True, "objectives": ("top1", "macs", "latency_ms")},
        {"count": 12, "objectives": ("parameters", "activation_bytes")},
        {"count": 0, "baseline": 4},
    ],
    ids=["none", "one", "baseline", "three objectives", "no accuracy", "baseline only"],
)
def test_every_page_is_balanced_with_unique_ids_and_a_place_for_each_figure(
    make: Callable[..., ReportData], kind: dict[str, Any]
) -> None:
    data = make(**kind)
    page = render(data)
    balance = Balance(page)
    assert balance.open == []
    assert len(set(balance.ids)) == len(balance.ids)
    loaded = embedded(page)
    assert set(loaded["figures"]) <= set(balance.ids)
    assert {f"drawing-{number}" for number in loaded["trials"]} <= set(balance.ids)
    assert "<!--" not in page.replace("<!doctype", "")
    assert not re.search(r"""(?:src|href)=["'](?!data:)|@import|url\(""", page)
    assert MAC_CONVENTION in page


def test_an_empty_run_says_so(make: Callable[..., ReportData]) -> None:
    page = render(make(0))
    assert "No trial is complete" in page
    assert embedded(page) == {"figures": {}, "trials": {}, "selected": None}


def test_what_users_wrote_is_escaped(data: ReportData) -> None:
    page = render(data)
    assert "runs/digits &lt;1&gt;" in page
    assert "runs/digits <1>" not in page
    assert "<CPU>" not in page
    assert "<b>&</b>" not in page
    assert "&lt;b&gt;&amp;&lt;/b&gt; the training stopped" in page


def test_text_that_looks_like_a_marker_or_an_end_stays_text(make: Callable[..., ReportData]) -> None:
    page = render(make(2, space="<!--js--></script>"))
    assert Balance(page).open == []
    assert "&lt;!--js--&gt;&lt;/script&gt;" in page


def test_each_complete_trial_can_be_shown_with_what_it_decided(data: ReportData) -> None:
    trials = embedded(render(data))["trials"]
    assert {int(number) for number in trials} == {point.number for point in data.points}
    point = data.points[0]
    shown = trials[str(point.number)]
    assert len(shown["decisions"]) == len(point.trial.decisions)
    assert ["top-1 on validation", f"{100 * point.measurement.top1:.1f} %"] in shown["facts"]


def test_a_decision_is_said_as_what_it_became() -> None:
    space = load_space("digits")
    decisions, architecture = space.sample(random.Random(1))
    assert chosen(architecture.network, "no.such.path", 3) == "option 3"
    network = architecture.network
    assert chosen(architecture.network, "stages.0.blocks.times", 9) == str(len(network.stages[0].blocks))
    assert chosen(architecture.network, "stages.1.width", 9) == str(network.stages[1].width)
    spatial = network.stages[0].blocks[0].spatial
    assert chosen(architecture.network, "stages.0.blocks.0.spatial", 9) == type(spatial).__name__
    path = f"stages.0.blocks.0.spatial={type(spatial).__name__}.kernel_size"
    assert chosen(architecture.network, path, 9) == str(spatial.kernel_size)
    assert not any(chosen(architecture.network, path, i).startswith("option") for path, i in decisions.items())


def test_kinds_differ_in_colour_and_marker_and_the_baseline_is_dashed(data: ReportData) -> None:
    traces = figures(data)["plot-0"]["data"]
    markers = {t["name"]: (t["marker"]["color"], t["marker"]["symbol"]) for t in traces if "customdata" in t}
    names = ["convolution only", "hybrid", "involution only"]
    assert len({markers[name][0] for name in names}) == len({markers[name][1] for name in names}) == 3
    assert {t["name"]: t["line"]["dash"] for t in traces if t["mode"] == "lines"} == {
        "front of the search": "solid",
        "front of the random baseline": "dash",
    }


def test_every_point_lies_inside_its_axes(make: Callable[..., ReportData]) -> None:
    for kind in ({"count": 1}, {"count": 20, "latency": True, "objectives": ("top1", "macs", "latency_ms")}):
        for figure in (f for name, f in figures(make(**kind)).items() if name != "plot-hypervolume"):
            x, y = (figure["layout"][axis]["range"] for axis in ("xaxis", "yaxis"))
            for trace in (t for t in figure["data"] if "customdata" in t):
                assert all(10 ** x[0] < value < 10 ** x[1] for value in trace["x"])
                assert all(y[0] < value < y[1] for value in trace["y"])
            ticks = figure["layout"]["xaxis"]["tickvals"]
            assert 3 <= len(ticks) <= 9
            assert len(set(figure["layout"]["xaxis"]["ticktext"])) == len(ticks)


def test_write_makes_every_file(make: Callable[..., ReportData], tmp_path: Path) -> None:
    page = write(make(5, 5), tmp_path / "new" / "report")
    assert page.name == "index.html"
    pictures = [f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")]
    assert sorted(p.name for p in page.parent.iterdir()) == sorted([*pictures, "front.csv", "trials.csv", "index.html"])


def test_a_folder_that_cannot_be_written_is_bad_input(make: Callable[..., ReportData], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written to"):
        write(make(1), tmp_path / "file" / "report")


@pytest.mark.parametrize("package", ["plotly", "matplotlib"])
def test_a_missing_package_is_asked_for(
    make: Callable[..., ReportData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    data = make(1)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"invnas\[report\]"):
        write(data, tmp_path)


def test_the_report_imports_neither_torch_nor_its_own_extras() -> None:
    code = (
        "import sys; from invnas.report import collect, drawing, render_html, render_static, table; "
        "sys.exit(', '.join({'torch', 'optuna', 'plotly', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_page_of_many_trials_stays_small(make: Callable[..., ReportData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invnas.report.collect.SAMPLE", 3)
    data = make(60, 20)
    page = render(data)
    assert set(embedded(page)["trials"]) == {str(point.number) for point in data.shown}
    assert f"Complete trials, {len(data.shown)} of {len(data.points)}" in page
    assert page.count("<template id=") == len(data.shown) - len(data.front)
    drawn = [number for plot in embedded(page)["figures"]["plot-0"]["data"] for number in plot.get("customdata", [])]
    assert sorted(drawn) == [point.number for point in data.shown]


def test_a_batch_that_was_split_is_said(make: Callable[..., ReportData]) -> None:
    data = make(4)
    half = replace(data.points[1], measurement=replace(data.points[1].measurement, micro_batches=2))
    assert ("batches", "in 2 parts: memory ran out") in facts(data, half)
    assert "batches" not in dict(facts(data, data.points[1]))


def test_stopped_trials_are_told_with_their_budget_and_who_continues_them(make: Callable[..., ReportData]) -> None:
    data = make(10, stopped=True)
    page = render(data)
    assert "3 stopped early, 1 of them continued" in page
    section = page.split('<section id="stopped">')[1].split("</section>")[0]
    assert section.count("<td>8 of 30</td>") == 3
    assert section.count("trial 10 (complete)") == 1
    one = data.stopped[1]
    assert f"<td>{data.learned[0].show(one.value('top1'))}</td>" in section
    assert "No trial was stopped early." in render(make(3))
    continuing = embedded(page)["trials"].get("10")
    assert continuing is not None
    assert ["continues", "trial 1, stopped early"] in continuing["facts"]
    assert "1" not in embedded(page)["trials"]


def test_of_many_stopped_trials_some_are_listed(
    make: Callable[..., ReportData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invnas.report.html_tables._LISTED", 2)
    page = render(make(10, stopped=True))
    assert page.count("<td>8 of 30</td>") == 2
    assert "The first 2; 1 more are in trials.csv." in page


def test_the_hypervolume_can_be_drawn_over_epochs(make: Callable[..., ReportData]) -> None:
    data = make(10, 10, stopped=True)
    figure = figures(data)["plot-hypervolume"]
    trials, epochs = figure["layout"]["updatemenus"][0]["buttons"]
    assert (trials["label"], epochs["label"]) == ("over trials", "over epochs")
    assert trials["args"][0]["x"] == [trace["x"] for trace in figure["data"]]
    assert epochs["args"][0]["x"] == [list(course.epochs) for course in data.curves]
    assert epochs["args"][1]["xaxis.title.text"] == "Epochs trained"
    assert all("%{x} epochs" in text for text in epochs["args"][0]["hovertemplate"])


def test_without_epochs_there_is_nothing_to_switch(make: Callable[..., ReportData]) -> None:
    made = make(3)
    data = replace(made, search=replace(made.search, epochs=(0, 0, 0)))
    assert "updatemenus" not in figures(data)["plot-hypervolume"]["layout"]
