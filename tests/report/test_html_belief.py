from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from report.conftest import CREATED, ENVIRONMENT, make_trials

from invnas.belief import Influence, Outlook, Prospect
from invnas.experiment import Experiment, Recipe
from invnas.facts import DataFacts
from invnas.measurement import Measurement, Trial
from invnas.objective import HYPERVOLUME
from invnas.report import html_belief, html_tables, render_html, render_static, table
from invnas.report.collect import Beyond, ReportData, collect
from invnas.report.figures import figures
from invnas.report.sections import prior_of
from invnas.retrained import Retrained, Seed, Standing
from invnas.retraining import Retraining
from invnas.search.believe import believe
from invnas.space import load_space
from invnas.tasks.classification import TOP1

SEEDS = (Seed(0, {"top1": 0.8}), Seed(1, {"top1": 0.82}))
RETRAINED = (
    Retrained(Retraining(0, Recipe(epochs=100)), DataFacts((1, 8, 8), 10), SEEDS),
    Retrained(
        Retraining(1, Recipe(epochs=50, learning_rate=0.3), all_data=True),
        DataFacts((1, 8, 8), 10),
        standing=Standing(1, 3, 0, 4),
    ),
)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    made = make_trials(load_space("digits"), 30, 10)
    first = made[0]
    seeds = [
        replace(first, number=100 + i, phase="confirm", seed=i, measurement=Measurement({"top1": 0.6 + 0.01 * i}))
        for i in (1, 2)
    ]
    return [*made, *seeds]


@pytest.fixture(scope="module")
def data(trials: list[Trial]) -> ReportData:
    experiment = Experiment(trials=30, random_baseline=True)
    belief = believe(trials, experiment.axes)
    said = next(iter(belief.estimates["top1"].values()))
    prospect = Prospect(trials[3].architecture, trials[3].cost, {"top1": said}, 0.034)
    outlook = Outlook((Influence("stages.1.blocks.*.spatial", 0.02, "Involution", 0.0123),), (prospect,))
    prior = prior_of(load_space("digits"))
    beyond = Beyond(outlook, prior, RETRAINED, "trained on 1,151, validated on 287 images", 287)
    return collect("run", experiment, trials, ENVIRONMENT, {}, CREATED, belief=belief, beyond=beyond)


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return text_of(re.sub(r"(?s)<script.*?</script>", "", render_html.render(data)))


def test_a_run_of_few_trials_says_so_and_draws_one_front() -> None:
    few = make_trials(load_space("digits"), 3, failures=False)
    experiment = Experiment(trials=3)
    data = collect("run", experiment, few, {}, belief=believe(few, experiment.axes), beyond=Beyond(images=287))
    assert "Below 8 trained architectures" in html_belief.belief(data)
    assert html_belief.answers(data) == ""
    assert "Nothing of this run was retrained" in html_belief.retrained(data)
    names = [trace.get("name") for trace in figures(data)["plot-0"]["data"]]
    assert not {"observed front", "95 % band of the front"} & set(names)
    assert data.front == data.observed_front


def test_the_front_is_drawn_as_believed_with_its_band_and_as_observed(data: ReportData) -> None:
    traces = figures(data)["plot-0"]["data"]
    named = {trace.get("name"): trace for trace in traces}
    believed, observed = named["front of the search"], named["observed front"]
    assert [point.number for point in data.steps(data.panels[0], "search")] == [p.number for p in data.front]
    assert list(believed["y"]) == [100 * point.believed["top1"].mean for point in data.front]
    assert list(observed["y"]) == [100 * point.measurement.top1 for point in data.observed_front]
    low, high = (trace["y"] for trace in traces if trace.get("name") == "95 % band of the front")
    assert all(a < y < b for a, y, b in zip(low, believed["y"], high, strict=True))
    wide = {name: replace(one, low=0.01, high=0.99) for name, one in data.belief.estimates["top1"].items()}
    points = {p.number: replace(p, believed={"top1": wide[p.trial.architecture.fingerprint]}) for p in data.points}
    front = tuple(points[point.number] for point in data.front)
    figure = figures(replace(data, points=tuple(points.values()), search=replace(data.search, front=front)))["plot-0"]
    drawn = [y for trace in figure["data"] for y in trace["y"]]
    bottom, top = figure["layout"]["yaxis"]["range"]
    assert bottom < min(drawn) == 1
    assert 99 == max(drawn) < top


def test_the_picture_of_involution_says_the_accuracy_by_which_the_front_was_chosen(data: ReportData) -> None:
    axes = render_static.involution_usage(data).axes[0]
    said = [label.get_text().splitlines()[1] for label in axes.get_xticklabels()]
    assert said == [TOP1.show(point.believed["top1"].mean) for point in data.front]
    assert said != [point.shown(TOP1) for point in data.front]


def test_points_of_the_front_stand_as_believed_and_others_as_measured(data: ReportData) -> None:
    at = {
        number: y
        for trace in figures(data)["plot-0"]["data"]
        for number, y in zip(trace.get("customdata", ()), trace["y"], strict=False)
    }
    for point in data.points:
        expected = point.believed["top1"].mean if point.on_front else point.measurement.top1
        assert at[point.number] == pytest.approx(100 * expected)


def test_the_page_says_what_is_believed_and_how_surely(data: ReportData, page: str) -> None:
    rank = data.belief.rank["top1"]
    assert f"top-1 {rank:.2f}" in page
    assert "1 architectures have several seeds" in page
    assert "stage 2: spatial 2.00 points Involution +1.23 points" in page
    assert "The most promising untrained architectures" in page
    assert "3.4 %" in page
    assert "the best hybrid" in page
    assert data.chance is not None
    assert f"{data.chance.alike} of the {data.chance.off} trials" in page


def test_sizes_of_splits_seeds_and_what_was_retrained_stand_on_the_page(page: str) -> None:
    assert "Trained on 1,151, validated on 287 images. One seed each, 1 architectures with further ones." in page
    assert "Retrained from scratch" in page
    assert re.search(r" 0 100 as in the search trial0-epochs100-\w{8} 2 81.0 % ± 1.41 points 80.0 %, 82.0 % ", page)
    assert re.search(
        r" 1 50 recipe.learning_rate 0.3, all_data trial1-epochs50-\w{8} 0 under way: seed 0, epoch 4 of", page
    )


def test_a_hypervolume_is_never_printed_in_per_cent_and_its_box_has_a_name(data: ReportData, page: str) -> None:
    assert HYPERVOLUME.show(0.777) == "0.777"
    assert f"hypervolume of the front, believed {data.search.covered:.4g}" in page
    assert f"As believed now, the front of the search covers {data.search.covered:.4g}." in page
    assert "no trial moves it. The ends of FLOPs are those of the first 8 complete trials" in page
    assert max(max(trace["y"]) for trace in figures(data)["plot-hypervolume"]["data"]) <= 1


def test_the_share_of_involution_stands_beside_that_of_the_space(data: ReportData) -> None:
    prior = data.beyond.prior
    uniform, branches = prior["stage 1"]
    assert uniform == pytest.approx(0.75, abs=0.08), "12 of 16 spatial operators of a block are involutions"
    assert branches == pytest.approx(0.5, abs=0.08)
    said = text_of(html_tables.usage(data))

    assert f"{100 * uniform:.0f} %" in said
    assert "drawn uniformly over the options of each choice" in said


def test_tables_hold_both_fronts_the_band_and_the_seeds(data: ReportData, tmp_path: Path) -> None:
    table.write(data, tmp_path)
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = {int(row["trial"]): row for row in csv.DictReader(file)}
    with (tmp_path / "front.csv").open(encoding="utf-8", newline="") as file:
        assert [int(row["trial"]) for row in csv.DictReader(file)] == [point.number for point in data.front]
    said = data.points[0].believed["top1"]
    assert [float(rows[0][f"top1_{end}"]) for end in ("believed", "low", "high")] == [said.mean, said.low, said.high]
    assert (rows[0]["seeds"], rows[1]["seeds"]) == ("3", "1")
    observed = {number for number, row in rows.items() if row["on_observed_front"] == "1"}
    assert observed == {point.number for point in data.observed_front}
