from __future__ import annotations

import csv
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine.acting import EXPERIMENT
from search.cheap import CheapEngine, go, make_run
from torch import nn

from invnas import Experiment, Latency
from invnas.caps import Caps
from invnas.commands import resume_search, run_search
from invnas.cost import pricer
from invnas.engine.cores import free_cores, reserved, unreserved
from invnas.errors import BadInput
from invnas.facts import DataFacts
from invnas.latency.in_torch import InTorch
from invnas.latency.stopwatch import Stopwatch
from invnas.latency.table import tabulator
from invnas.metering import CALIBRATION, Metering
from invnas.results import write_report
from invnas.search.known_cost import KnownCost
from invnas.search.proposer import Proposer
from invnas.search.sampler import Context
from invnas.space import load_space

DIGITS, SHAPE = load_space("digits"), (1, 8, 8)
COUNTED = pricer(SHAPE, 10)


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """What was timed: a network takes as many milliseconds as it has thousands of parameters, and one."""
    seen: list[float] = []

    def time(self: InTorch, network: nn.Module, shape: Sequence[int], seconds: float) -> dict[str, float]:
        seen.append(1 + sum(one.numel() for one in network.parameters()) / 1000)
        return {"ratio": seen[-1], "low": seen[-1], "high": seen[-1] + 0.5, "beside_ms": 1.0}

    monkeypatch.setattr(InTorch, "time", time)
    monkeypatch.setattr(InTorch, "alone", lambda self: 1.0)
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))
    return seen


@pytest.fixture
def metering(timings: list[float]) -> Metering:
    made = Metering(Stopwatch(Latency(), SHAPE, 10), DIGITS, COUNTED, tabulator(SHAPE, 10))
    made.calibrate(quiet=True)
    return made


def test_what_was_not_timed_is_foretold_by_what_was(metering: Metering, timings: list[float]) -> None:
    assert len(timings) == CALIBRATION
    assert metering.predictor is not None
    assert metering.predictor.error < 0.1
    rng = random.Random(1)
    for _ in range(20):
        one = DIGITS.sample(rng)[1]
        foretold = metering.price(one)["latency_ms"]
        measured = metering.meter(None)(one, COUNTED(one))
        assert foretold == pytest.approx(measured["latency_ms"], rel=0.2)
        assert metering.price(one) == measured
        assert measured["latency_spread_ms"] == pytest.approx(0.5)


def test_it_says_how_well_it_foretells(timings: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    Metering(Stopwatch(Latency(), SHAPE, 10), DIGITS, COUNTED, tabulator(SHAPE, 10)).calibrate(quiet=False)
    said = capsys.readouterr().err
    assert "1 thread) is foretold to " in said
    assert f"% (each of {CALIBRATION} networks by the others)" in said


def test_the_fastest_says_what_it_takes(metering: Metering) -> None:
    metering.check(Caps.of(latency_ms=1000.0), 0)
    metering.check(Caps.of(macs=10**9), 0)
    with pytest.raises(BadInput) as refused:
        metering.check(Caps.of(latency_ms=0.5), 0)
    said = str(refused.value)
    assert said.startswith(
        "nothing in the space digits is within max_latency_ms=0.5: the fastest architecture found takes "
    )
    assert 1 < float(said.partition("takes ")[2].partition(" ms")[0]) < 5


def test_a_sampler_sees_thousands_at_a_foretold_latency(metering: Metering, timings: list[float]) -> None:
    rng, timed = random.Random(0), len(timings)
    caps = Caps.of(latency_ms=8.0)
    sampler = KnownCost(DIGITS, Experiment(objectives=("top1", "latency_ms")).axes)
    meter = metering.meter(None)
    proposer = Proposer(DIGITS, sampler, metering.price, caps, (), "search", 0, lambda event: None, meter)
    context = Context(0, (), caps, proposer.candidates)
    seen = context.candidates([DIGITS.draw(rng) for _ in range(2000)])
    assert len(timings) == timed
    assert {"cap"} <= {getattr(one, "kind", "candidate") for one in seen}
    found = proposer.next()
    assert found is not None
    assert len(timings) == timed + 1 or found.candidate.cost == metering.price(found.candidate.architecture)
    assert found.candidate.cost["latency_ms"] <= 8.0
    assert "latency_spread_ms" in found.candidate.cost


@pytest.mark.parametrize("sampler", ["known-cost", "tpe", "random", "stratified"])
def test_each_sampler_searches_under_a_cap_of_measured_values(
    metering: Metering, timings: list[float], tmp_path: Path, sampler: str
) -> None:
    objectives = ("top1", "latency_ms")
    run = make_run(tmp_path, "digits", objectives=objectives, max_latency_ms=6, trials=20, sampler=sampler)
    with run.locked():
        metering.keep_in(run.folder)
        engine = CheapEngine()
        go(run, engine, price=metering.price, meter=metering.meter(engine))
    assert len(run.trials()) == 20
    assert len(timings) <= CALIBRATION + 30  # most of what was measured was trained
    for trial in run.trials():
        assert trial.state == "complete"
        assert trial.cost["latency_ms"] in timings
        assert trial.cost["latency_ms"] <= 6
        assert trial.cost["latency_spread_ms"] == pytest.approx(0.5)
    assert run.front()
    again = Metering(Stopwatch(Latency(), SHAPE, 10), DIGITS, COUNTED, tabulator(SHAPE, 10))
    again.keep_in(run.folder)
    again.calibrate(quiet=True)
    assert again.predictor is not None is not metering.predictor
    assert (again.predictor.rates == metering.predictor.rates).all()


def test_a_run_goes_on_with_the_same_latencies(timings: list[float], tmp_path: Path) -> None:
    asked = replace(EXPERIMENT, objectives=("top1", "latency_ms"), max_latency_ms=4, trials=1, sampler="random")
    run = run_search(asked, tmp_path / "run", quiet=True)
    timed = len(timings)
    again = resume_search(run.folder, "+1", quiet=True)
    assert len(timings) <= timed + 1
    assert again.experiment.latency == Latency()
    assert all(trial.cost["latency_ms"] <= 4 for trial in again.trials())
    assert resume_search(run.folder, quiet=True).trials() == again.trials()


def test_a_search_with_a_latency_ends_by_itself_and_its_report_says_what_to_train_next(
    timings: list[float], tmp_path: Path
) -> None:
    asked = replace(
        EXPERIMENT, objectives=("top1", "latency_ms"), trials=40, sampler="random",
        stop_when_converged=0.9, converged_trials=1,
    )  # fmt: skip
    run = run_search(asked, tmp_path / "run", quiet=True)
    assert run.ended is not None
    assert run.ended[1].startswith("converged after ")
    assert 9 <= len(run.trials()) < 40
    page = write_report(run, note=lambda words: None).read_text()
    assert "The most promising untrained architectures" in page
    assert "Latencies are foretold from those that were measured." in page


def test_a_space_of_which_nothing_can_be_timed_says_why(timings: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    from invnas.errors import InvalidArchitecture

    def refuse(self: Any, *given: Any) -> None:
        raise InvalidArchitecture("no onnxruntime can run it: Resize")

    monkeypatch.setattr(InTorch, "time", refuse)
    metering = Metering(Stopwatch(Latency(), SHAPE, 10), DIGITS, COUNTED, tabulator(SHAPE, 10))
    with pytest.raises(BadInput, match=r"no architecture of the space digits has a latency .*: no onnx"):
        metering.calibrate(quiet=True)


def test_cores_are_kept_free_or_it_is_said_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (reserved(0), unreserved(0)) == ((), ())
    monkeypatch.setattr("invnas.engine.cores.sys.platform", "linux")
    monkeypatch.setattr("invnas.engine.cores.free_cores", lambda: [0, 2, 3])
    assert (reserved(2), unreserved(2)) == ((2, 3), (0,))
    with pytest.raises(BadInput, match="must leave a core for the trainings: this machine has 3, but got 3"):
        reserved(3)
    monkeypatch.setattr("invnas.engine.cores.sys.platform", "darwin")
    with pytest.raises(BadInput, match="on Linux alone"):
        reserved(1)


@pytest.mark.skipif(len(free_cores()) < 2, reason="this machine has one core")
def test_trainings_leave_reserved_cores_free(tmp_path: Path) -> None:
    from invnas.engine.local import Workers, local_engine

    asked = Experiment(max_latency_ms=5, reserve_cores=1)
    (tmp_path / "run").mkdir()
    engine = local_engine(tmp_path / "run", asked)
    assert isinstance(engine, Workers)
    assert engine._cores == unreserved(1) == tuple(free_cores()[:-1])
    process = engine._new()
    found = Path(f"/proc/{process.pid}/status")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        (line,) = (line for line in found.read_text().splitlines() if line.startswith("Cpus_allowed_list"))
        if line.split()[1] == ",".join(map(str, engine._cores)):
            break
        time.sleep(0.05)
    else:
        raise AssertionError(line)
    process.kill()
    process.bury()


def test_what_asks_for_no_latency_needs_nothing() -> None:
    from invnas.metering import metering_of

    with metering_of(Experiment(), DIGITS, "", DataFacts.__new__(DataFacts)) as metering:
        assert metering is None


def test_status_tables_and_files_name_what_it_is_a_latency_of(
    metering: Metering, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    latency = Latency("onnxruntime", 2)
    run = make_run(tmp_path, "digits", objectives=("top1", "latency_ms"), trials=3, latency=latency)
    with run.locked():
        go(run, CheapEngine(), price=metering.price, meter=metering.meter(None))
    assert "latency: onnxruntime, 2 threads\n" in call("status", run.folder)[1]
    assert json.loads(call("status", run.folder, "--json")[1])["latency"] == "onnxruntime, 2 threads"
    code, out, _ = call("report", run.folder, "--trust", "no")
    assert code == 0
    assert "Latency is that of the folded network in onnxruntime, 2 threads, in milliseconds." in out
    with (run.folder / "report" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["latency_where"] for row in rows} == {"onnxruntime, 2 threads"}
    assert [float(row["latency_ms"]) for row in rows] == [trial.cost["latency_ms"] for trial in run.trials()]
    assert all(float(row["latency_spread_ms"]) == pytest.approx(0.5) for row in rows)
    page = (run.folder / "report" / "index.html").read_text()
    assert "Latency of one image, onnxruntime, 2 threads (ms)" in page
