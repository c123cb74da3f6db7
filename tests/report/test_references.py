"""References stand beside the front, never on it, and the page says whether they make the search pointless."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from search.cheap import CheapEngine, go, make_run

from invnas.experiment import Experiment
from invnas.measurement import Cost, Measurement, Trial
from invnas.report import render_html, render_static, table
from invnas.report.collect import ReportData, collect
from invnas.report.figures import figures
from invnas.report.references import luck_of, name_of, seeds_of, verdict
from invnas.search.believe import believe
from invnas.space import load_space
from invnas.tasks.classification import TOP1
from invnas.zoo import small_networks

NETWORK = small_networks()["small ResNet-8 x 0.5"]
SPACE = load_space("digits")
SOME = [found for found, _ in zip(SPACE.enumerate(), range(4), strict=False)]


def searched(*found: tuple[float, int]) -> list[Trial]:
    """Return trials of a search with this top-1 and these multiply-adds."""
    trials = []
    for i, (top1, macs) in enumerate(found):
        decisions, architecture = SOME[i]
        measured = Measurement({"top1": top1, "loss": 1.0})
        trials.append(Trial(i, architecture, decisions, Cost.counted(macs, macs, macs), "complete", measured))
    return trials


def reference(top1: float, macs: int, number: int = 10) -> Trial:
    measured = Measurement({"top1": top1, "loss": 1.0}, epochs=1, planned_epochs=1)
    return Trial(number, NETWORK, {}, Cost.counted(macs, macs, macs), "complete", measured, phase="reference")


def report(trials: Sequence[Trial]) -> ReportData:
    return collect("run", Experiment(), trials, {})


#: Dear and best, the knee, cheap and worst.
FRONT = searched((0.9, 1_000_000), (0.88, 200_000), (0.5, 100_000))


def test_without_references_nothing_is_said_or_drawn() -> None:
    data = report(FRONT)
    assert verdict(data) == ""
    assert "reference" not in json.dumps(figures(data))
    assert "<h3>References" not in render_html.render(data)


def test_no_front_is_compared_with_nothing() -> None:
    assert verdict(report([reference(0.9, 10)])) == ""
    assert figures(report([reference(0.9, 10)])) == {}


@pytest.mark.parametrize(
    ("top1", "macs", "said"),
    [
        (
            0.9,
            1_000_000,
            "Do not search: small ResNet-8 x 0.5 (top-1 90.0 %, 1.00 M) is at least as accurate at no ",
        ),
        (0.95, 999_999, "multiply-adds than the best of the front (top-1 90.0 %, 1.00 M); one seed each."),
        (0.88, 150_000, "multiply-adds than the knee of the front (top-1 88.0 %, 200 k); one seed each."),
        (0.89, 999_999, "None of 1 reference architecture is as accurate at no more multiply-adds as the best or the "),
        (0.95, 1_000_001, "None of 1 reference"),
        (0.6, 100_000, "None of 1 reference"),
    ],
)
def test_the_verdict_is_that_of_the_best_and_of_the_knee(top1: float, macs: int, said: str) -> None:
    assert said in verdict(report([*FRONT, reference(top1, macs)]))


def test_what_the_search_has_found_itself_beats_nothing() -> None:
    same = replace(FRONT[0], number=10, phase="reference")
    assert verdict(report([*FRONT, same])).startswith("None of 1 reference")


def test_the_luck_of_a_training_says_what_a_difference_is_worth() -> None:
    found = [Measurement({"top1": top1, "loss": 1.0}) for top1 in (0.88, 0.92)]
    seeds = [
        replace(FRONT[0], number=20 + i, phase="confirm", seed=i + 1, measurement=one) for i, one in enumerate(found)
    ]
    assert luck_of(seeds_of(FRONT, TOP1)) is None
    assert luck_of(seeds_of([*FRONT, *seeds], TOP1)) == pytest.approx(0.02)
    near, far, under = (verdict(report([*FRONT, *seeds, reference(top1, 10**6)])) for top1 in (0.91, 0.99, 0.8))
    # The best has three seeds, the reference one: 1.96 * 0.02 * (1 + 1/3) ** 0.5.
    assert near.endswith(": +1.0 ± 4.5 points of top-1, which cannot be told from none.")
    assert far.endswith("(top-1 90.0 %, 1.00 M): +9.0 ± 4.5 points of top-1.")
    assert "the nearest is small ResNet-8 x 0.5 beside the best: -10.0 ± 4.5 points of top-1." in under


def test_a_network_that_wins_by_one_seed_does_not_win_by_the_mean_of_its_seeds() -> None:
    lucky = reference(0.95, 10**6)
    assert verdict(report([*FRONT, lucky])).startswith("Do not search")
    further = [
        replace(lucky, number=20 + i, phase="confirm", seed=i + 1, measurement=Measurement({"top1": top1, "loss": 1.0}))
        for i, top1 in enumerate((0.85, 0.84))
    ]
    data = report([*FRONT, lucky, *further])
    assert verdict(data).startswith("None of 1 reference architecture is")
    assert "beside the best: -2.0 ± " in verdict(data)
    assert [point.seeds for point in data.references] == [3]


def test_a_pure_member_of_the_space_that_wins_is_what_the_search_has_missed() -> None:
    decisions, pure = next(
        (d, a) for d, a in SPACE.enumerate() if a.kind == "convolution" and a not in [s[1] for s in SOME]
    )
    member = replace(reference(0.95, 10**6), architecture=pure, decisions=decisions)
    said = verdict(report([*FRONT, member]))
    assert said.startswith(
        "The search has missed a member of its own space that was found without it: a pure convolution"
    )
    assert said.endswith("one seed each. Search on, or among pure networks alone.")
    assert verdict(report([*FRONT, member, reference(0.91, 10**6, 11)])).startswith("Do not search: small ResNet-8")


def test_references_are_judged_and_drawn_as_they_are_believed(tmp_path: Path) -> None:
    def known(trial: Trial) -> float:
        return 0.5 + 0.04 * math.log10(trial.cost.macs) + random.Random(trial.number).gauss(0, 0.01)

    run = make_run(tmp_path, "digits", trials=16, sampler="branch-uniform")
    with run.locked():
        go(run, CheapEngine(outcome=lambda job: Measurement({"top1": known(run.trials()[job.number]), "loss": 1.0})))
    trials = list(run.trials())
    dearest = max(run.front(), key=lambda trial: trial.cost.macs)
    lucky = replace(reference(0.99, dearest.cost.macs), number=100)
    further = [
        replace(lucky, number=101 + i, phase="confirm", seed=i + 1, measurement=Measurement({"top1": 0.5, "loss": 1.0}))
        for i in range(3)
    ]
    everything = [*trials, lucky, *further]
    belief = believe(everything, run.experiment.axes)
    data = collect("run", run.experiment, everything, {}, belief=belief)
    (star,) = data.references
    assert star.believed["top1"].mean == pytest.approx((0.99 + 3 * 0.5) / 4)
    assert star.believed["top1"].low < star.believed["top1"].mean < star.believed["top1"].high
    (drawn,) = [trace for trace in figures(data)["plot-0"]["data"] if trace.get("name") == "reference"]
    assert drawn["y"] == (pytest.approx(100 * star.believed["top1"].mean),)
    assert verdict(data).startswith("None of 1 reference")
    assert verdict(collect("run", run.experiment, [*trials, lucky], {}, belief=belief)).startswith("Do not search")
    assert "invnas confirm adds seeds" in render_html.render(data)


def test_references_are_drawn_listed_and_on_no_front(tmp_path: Path) -> None:
    pure = replace(reference(0.7, 150_000, 11), architecture=SOME[3][1], decisions=SOME[3][0])
    data = report([*FRONT, reference(0.99, 50_000), pure, replace(pure, number=12, state="failed", measurement=None)])
    assert [point.number for point in data.references] == [10, 11]
    assert [point.number for point in data.front] == [2, 1, 0]
    assert len(data.failed) == 1
    assert data.search.hypervolume == report(FRONT).search.hypervolume
    (stars,) = [trace for trace in figures(data)["plot-0"]["data"] if trace.get("name") == "reference"]
    assert stars["marker"]["symbol"] == "star-open"
    assert stars["customdata"] == [10, 11]
    assert "reference: small ResNet-8 x 0.5" in stars["text"][0]
    assert name_of(pure.architecture) in stars["text"][1]
    layout = figures(data)["plot-0"]["layout"]
    assert layout["yaxis"]["range"][1] >= 99  # inside the frame
    page = render_html.render(data)
    assert "star: reference architecture" in page
    assert 'id="drawing-10"' in page
    assert '<td class="text">small ResNet-8 x 0.5</td>' in page
    head = page.partition(">References<")[2].partition("</thead>")[0]
    assert "<th>FLOPs</th>" in head
    assert "latency" not in head  # no column for what nobody has measured
    assert "Do not search: small ResNet-8 x 0.5" in page
    figure = render_static.front(data)
    assert sum(line.get_marker() == "*" for line in figure.axes[0].get_lines()) == 2
    table.write(data, tmp_path)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["trial"] for row in rows if row["found_by"] == "reference"] == ["10", "11", "12"]


def test_a_reference_has_the_name_of_its_network_or_of_its_kind() -> None:
    assert name_of(NETWORK) == "small ResNet-8 x 0.5"
    assert name_of(SOME[0][1]) == f"pure {SOME[0][1].kind} of the space"
