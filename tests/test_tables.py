"""Tables for a terminal of any width: words and numbers stay whole."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from search.cheap import CheapEngine, go, make_run, measure

from invnas.cli.tables import print_front, print_table, run_facts
from invnas.measurement import Cost, Measurement
from invnas.messages import Job
from invnas.report.collect import collect
from invnas.report.references import verdict
from invnas.status import status_of
from invnas.zoo import small_networks

HEAD = ("trial", "kind", "test top-1", "top-1", "FLOPs", "parameters", "peak activation memory")
ROWS = [
    ("3 (knee)", "convolution", "0.8125", "0.8000", "1,234,567,890", "25,557,032", "3,211,264"),
    ("12", "hybrid", "–", "0.9000", "4,089,184,256", "15,540,806", "128"),
]


def printed(capsys: pytest.CaptureFixture[str], head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    capsys.readouterr()
    print_table("A title that is longer than the table", head, rows, left=2)
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 120, 200])
def test_no_word_is_broken_and_no_table_is_too_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = printed(capsys, HEAD, ROWS)
    for row in (HEAD, *ROWS):
        assert all(word in out.split() for cell in row for word in cell.split()), out
    if columns >= 40:
        assert all(len(line) <= columns for line in out.splitlines()[1:]), out
    assert ("┃" in out) == (columns >= 100)


def test_what_is_piped_has_one_line_for_each_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = printed(capsys, HEAD, ROWS)
    lines = [line for line in out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines] == [list(row) for row in ROWS]


def test_a_path_is_never_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = "/a/very/long/" + "path/" * 30 + "model.safetensors"
    assert path in printed(capsys, ("format", "file", "bytes"), [("safetensors", path, "12")])
    assert printed(capsys, ("format", "file"), []).count("\n") > 1


def test_a_front_shows_what_is_believed_with_its_band_and_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = make_run(tmp_path, trials=20, sampler="random")
    with run.locked():
        go(run)
    print_front(run)
    out = capsys.readouterr().out
    first, said = run.front()[0], run.belief.estimate(run.front()[0], "top1")
    assert said is not None
    assert f"{said.mean:.4f} ({said.low:.4f} to {said.high:.4f})" in out
    assert f"{first.value('top1'):.4f}" in out
    measured = ", ".join(str(trial.number) for trial in run.front(observed=True))
    assert f"measured, the front would be trials {measured}." in out
    facts = run_facts(run)
    assert facts["front"][0]["believed"]["top1"]["low"] == said.low
    assert facts["observed_front"] == [trial.number for trial in run.front(observed=True)]


def test_a_front_of_few_trials_shows_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, trials=3, sampler="random")
    with run.locked():
        go(run)
    print_front(run)
    out = capsys.readouterr().out
    assert "band" not in out
    assert run.front() == run.front(observed=True)
    assert run_facts(run)["front"][0]["believed"] == {}


def test_a_front_that_a_reference_beats_says_so_below_and_as_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, trials=3, sampler="random")
    with run.locked():
        go(run)
        assert run_facts(run)["verdict"] is None
        network = small_networks()["small ResNet-8 x 0.25"]
        trial = run.start(network, {}, Cost.counted(1, 1, 1), "reference")
        run.finish(trial, Measurement({"top1": 0.999, "loss": 0.1}))
    print_front(run)
    assert "Do not search: small ResNet-8 x 0.25" in " ".join(capsys.readouterr().out.split())
    assert run_facts(run)["verdict"].startswith("Do not search: small ResNet-8 x 0.25")


@pytest.mark.parametrize("trials", [3, 24])
def test_report_and_terminal_have_one_front_knee_best_and_verdict(tmp_path: Path, trials: int) -> None:
    run = make_run(tmp_path, trials=trials, sampler="random")
    with run.locked():
        go(run, CheapEngine(outcome=lucky))
        network = small_networks()["small ResNet-8 x 0.25"]
        trial = run.start(network, {}, Cost.counted(10**7, 1, 1), "reference")
        run.finish(trial, Measurement({"top1": 0.5, "loss": 0.1}))
    assert run.belief.known == (trials == 24)
    page, told = collect("run", run.experiment, run.trials(), {}, belief=run.belief), run_facts(run)
    assert [point.number for point in page.front] == [one["trial"] for one in told["front"]]
    assert [point.number for point in page.observed_front] == told["observed_front"]
    assert page.knee is not None
    assert page.knee.number == told["knee"] == run.pick("knee").number
    best = max(page.front, key=lambda point: point.standing(page.learned[0]))
    assert best.number == run.pick("best").number
    assert verdict(page) == told["verdict"] != ""
    assert page.search.covered == pytest.approx(status_of(run).hypervolume)
    if run.belief.known:
        assert [trial.number for trial in run.front()] != told["observed_front"]


def lucky(job: Job) -> Measurement:
    """Return what an architecture reaches, with the luck of a training."""
    found = measure(job)
    return replace(found, values={**found.values, "top1": found.top1 + random.Random(job.number).gauss(0, 0.05)})
