"""The pictures: there for every run, the same for the same data, labels inside the canvas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")

from invnas.confusion import Confusion
from invnas.report import render_static
from invnas.report.collect import ReportData


@pytest.mark.parametrize(
    "kind",
    [
        {"count": 0},
        {"count": 1},
        {"count": 8, "baseline": 8, "latency": True, "objectives": ("top1", "macs", "latency_ms")},
    ],
    ids=["none", "one", "three objectives"],
)
def test_every_run_has_its_pictures(make: Callable[..., ReportData], tmp_path: Path, kind: dict[str, Any]) -> None:
    render_static.write(make(**kind), tmp_path)
    for name in ("front", "hypervolume", "hypervolume_epochs", "involution_usage"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_knee_has_a_picture_of_what_it_takes_for_what_and_an_old_one_goes(
    make: Callable[..., ReportData], tmp_path: Path
) -> None:
    data = make(6)
    assert data.knee is not None
    told = Confusion({(i, i + 1): 1 + i for i in range(400)})
    tested = replace(data, beyond=replace(data.beyond, confusions={data.knee.number: told}))
    render_static.write(tested, tmp_path)
    assert 10_000 < (tmp_path / "confusion.png").stat().st_size < 500_000
    assert (tmp_path / "confusion.svg").stat().st_size < 1_000_000
    render_static.write(data, tmp_path)
    assert not list(tmp_path.glob("confusion.*"))


def test_the_same_data_gives_the_same_files(make: Callable[..., ReportData], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        render_static.write(make(4), tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def over_epochs(data: ReportData) -> Any:
    return render_static.hypervolume(data, over="epochs")


def test_the_shares_are_drawn_over_trials_and_over_epochs(make: Callable[..., ReportData]) -> None:
    data = make(12, 12, stopped=True)
    for figure, spent in (
        (render_static.hypervolume(data), [range(1, len(course.hypervolume) + 1) for course in data.curves]),
        (over_epochs(data), [course.epochs for course in data.curves]),
    ):
        lines = figure.axes[0].get_lines()
        assert [list(line.get_xdata()) for line in lines] == [list(x) for x in spent]
        assert [line.get_label() for line in lines] == ["random baseline", "search"]
    assert figure.axes[0].get_xlabel() == "Epochs trained"


def test_epochs_that_nobody_counted_are_a_sentence(make: Callable[..., ReportData]) -> None:
    data = make(3)
    data = replace(data, search=replace(data.search, epochs=(0, 0, 0)))
    assert not over_epochs(data).axes
    assert over_epochs(data).texts[0].get_text() == "The epochs of these trials are not known."


@pytest.mark.parametrize(
    "picture", [render_static.front, render_static.hypervolume, over_epochs, render_static.involution_usage]
)
def test_no_text_leaves_the_canvas(data: ReportData, picture: Callable[[ReportData], Any]) -> None:
    figure = picture(data)
    figure.canvas.draw()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02


def test_no_global_state_of_matplotlib_is_touched(make: Callable[..., ReportData], tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    render_static.write(make(1), tmp_path)
    assert dict(matplotlib.rcParams) == before
