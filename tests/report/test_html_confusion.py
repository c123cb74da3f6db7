"""What the page says of what the front takes for what."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from invnas.confusion import Confusion
from invnas.report import html_confusion, render_html
from invnas.report.collect import ReportData
from invnas.report.html_confusion import PLOT


def confused(data: ReportData, told: Confusion, names: tuple[str, ...] = ()) -> ReportData:
    """Return a report of which every member of the front was tested, with these counts."""
    found = {point.number: told for point in data.front}
    return replace(data, beyond=replace(data.beyond, confusions=found, classes=names))


def test_without_counts_there_is_no_section(make: Callable[..., ReportData]) -> None:
    for data in (make(0), make(6)):
        assert html_confusion.section(data) == ""
        assert html_confusion.figures(data) == {}
        assert PLOT not in render_html.render(data)


def test_a_single_class_that_is_always_right_has_no_mistakes(make: Callable[..., ReportData]) -> None:
    said = html_confusion.section(confused(make(1), Confusion({(0, 0): 4})))
    assert "No member of the front took anything for anything else." in said


def test_each_member_has_its_matrix_and_the_knee_is_drawn_first(make: Callable[..., ReportData]) -> None:
    data = make(30)
    found = {p.number: Confusion({(0, 0): 5 + i, (0, 1): 3, (1, 1): 8}) for i, p in enumerate(data.front)}
    data = replace(data, beyond=replace(data.beyond, confusions=found, classes=("cat", "<dog>", "cow")))
    figure = html_confusion.figures(data)[PLOT]
    (trace,), (menu,) = figure["data"], figure["layout"]["updatemenus"]
    assert trace["x"] == trace["y"] == ["cat", "&lt;dog&gt;", "cow"]
    assert data.knee is not None
    assert menu["active"] == [point.number for point in data.front].index(data.knee.number)
    for name, values in menu["buttons"][menu["active"]]["args"][0].items():
        assert trace[name] == values[0]
    for i, (button, point) in enumerate(zip(menu["buttons"], data.front, strict=True)):
        knee = ", the knee" if point == data.knee else ""
        assert button["label"] == f"trial {point.number}{knee}: {13 + i} of {16 + i} right"
        ((drawn,),) = [button["args"][0]["text"]]
        assert drawn == [[str(5 + i), "3", ""], ["", "8", ""], ["", "", ""]]
        assert button["args"][0]["customdata"][0][0][1] == f"3 of {8 + i} ({300 / (8 + i):.1f} %)"
        assert button["args"][0]["z"][0][0][1] == round((3 / (8 + i)) ** 0.5, 3)
    assert PLOT in render_html.render(data)


def test_the_table_says_who_makes_a_mistake_how_often(make: Callable[..., ReportData]) -> None:
    data = make(30)
    first, *others = data.front
    found = {point.number: Confusion({(1, 0): 2, (1, 1): 6, (0, 1): 1}) for point in others}
    found[first.number] = Confusion({(1, 0): 9})
    data = replace(data, beyond=replace(data.beyond, confusions=found, classes=("<a>", "b")))
    said = html_confusion.section(data)
    rows = [re.sub("<.*?>", "", row.replace("</td>", "|")) for row in re.findall("<tr>(<td.*?)</tr>", said)]
    mean = (9 + 2 * len(others)) / len(data.front)
    assert rows[0] == f"b|&lt;a&gt;|9|2|{mean:,.1f}|2 (trial {others[0].number})|9 (trial {first.number})|"
    assert rows[1].startswith("&lt;a&gt;|b|1|1|")
    some = replace(data, beyond=replace(data.beyond, confusions={others[0].number: found[others[0].number]}))
    assert f"Counts of 1 of the {len(data.front)} members are recorded." in html_confusion.section(some)


def test_a_thousand_classes_stay_readable_and_small(make: Callable[..., ReportData]) -> None:
    counts = {(i, j % 1000): 40 if i == j else 1 + i % 7 for i in range(1000) for j in range(i, i + 12)}
    counts[3, 998] = 30
    data = confused(make(30), Confusion(counts), tuple(f"a class of many {i:04}" for i in range(1000)))
    before = len(render_html.render(make(30)))
    assert len(render_html.render(data)) - before < 30_000 * (len(data.front) + 1)
    (trace,) = html_confusion.figures(data)[PLOT]["data"]
    assert len(trace["x"]) == len(set(trace["x"])) == html_confusion.SHOWN - 1
    assert {"3 a class of many 0…", "998 a class of many 0…"} <= set(trace["x"])
    assert trace["texttemplate"] == ""
    assert "Of 1,000 classes the 29 that are in the most frequent mistakes of the front are shown." in (
        html_confusion.section(data)
    )
