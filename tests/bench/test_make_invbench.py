"""benchmarks/invbench: what is trained in which order, that a kill costs nothing, and what a row says."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from invnas.bench.invbench import read as read_tables
from invnas.engine.evaluate import evaluate
from invnas.errors import BadInput
from invnas.lock import holding
from invnas.space_check import smallest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "invbench"))
import make
import pack
import unpack
from draws import SEEDS, Draws, Row, Task, Tasks, key_of

BUDGETS = (make.EPOCHS, *make.PARTS)
SPACE = make._space()


def answered(task: Task) -> Row:
    """Return a row by formula, without a training."""
    rng = random.Random(f"{task.key}")
    row: Row = {**vars(task), "macs": rng.randrange(10**4, 10**6), "parameters": 9, "activation_bytes": 64}
    rungs = {"1": {"top1": 0.1, "loss": 2.3}} if task.epochs == make.EPOCHS else {}
    return {**row, "top1": rng.random(), "loss": 1.5, "seconds": 2.0, "rungs": rungs, "backend": "cpu"}


def done(tasks: Tasks, limit: int = 10**6) -> list[Row]:
    rows: list[Row] = []
    while len(rows) < limit and (task := tasks.next()) is not None:
        rows.append(answered(task))
        tasks.add(rows[-1])
    return rows


@pytest.fixture(scope="module")
def all_rows() -> list[Row]:
    return done(Tasks(SPACE, 300, 60, [], BUDGETS))


def test_all_have_the_whole_budget_and_the_repeated_ones_every_seed_and_budget(
    all_rows: list[Row],
) -> None:
    counts = Counter((row["seed"], row["epochs"]) for row in all_rows)
    assert counts[0, make.EPOCHS] == 300
    others = [(seed, epochs) for seed in range(SEEDS) for epochs in BUDGETS if (seed, epochs) != (0, make.EPOCHS)]
    assert [counts[other] for other in others] == [60] * len(others)
    assert len({key_of(row) for row in all_rows}) == len(all_rows)


def test_any_beginning_has_repeated_ones_too_and_later_rounds_have_mutations(all_rows: list[Row]) -> None:
    first = all_rows[:90]
    assert sum(row["seed"] == 0 and row["epochs"] == make.EPOCHS for row in first) == 50
    assert {row["drawn"] for row in all_rows if row["round"] == 0} == {"cost", "branch", "uniform"}
    assert {row["drawn"] for row in all_rows if row["round"] == 1} > {"mutation", "pure"}


@pytest.mark.parametrize("kept", [0, 1, 77, 300, 500])
def test_who_goes_on_trains_the_rest_and_nothing_twice(kept: int, all_rows: list[Row]) -> None:
    rest = done(Tasks(SPACE, 300, 60, all_rows[:kept], BUDGETS))
    assert {key_of(row) for row in rest} == {key_of(row) for row in all_rows[kept:]}
    assert len(rest) == len(all_rows) - kept


def test_a_network_of_one_kind_of_operator_is_one() -> None:
    found = Draws(SPACE).later(1, 10, 0, [])
    assert {SPACE.architecture(decisions).kind for _, decisions, _ in found} == {"convolution", "involution"}


def test_a_line_that_a_kill_tore_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert make.read(path) == []
    path.write_text('{"seed":0}\n{"seed":1}\n{"see')
    assert make.read(path) == [{"seed": 0}, {"seed": 1}]
    assert path.read_text() == '{"seed":0}\n{"seed":1}\n'


def test_two_do_not_write_to_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"see')
    monkeypatch.setattr(sys, "argv", ["make.py", str(path), "--limit", "0"])
    with holding(tmp_path), pytest.raises(BadInput, match="is in use by process"):
        make.main()
    make.main()
    assert path.read_text() == ""


def test_a_row_is_what_a_search_would_have_measured(tmp_path: Path) -> None:
    decisions, architecture, cost = smallest(SPACE, make.price())
    row = make.train(Task(decisions, architecture.fingerprint, 1, 2, 0, "cost"))
    measured = evaluate(
        architecture,
        make.experiment(1, 2),
        checkpoints=tmp_path / "c",
        weights=tmp_path / "w.safetensors",
        logs=tmp_path / "l",
    )
    assert (row["top1"], row["loss"]) == tuple(round(measured[name], 6) for name in ("top1", "loss"))
    assert (row["macs"], row["fingerprint"]) == (cost.macs, architecture.fingerprint)
    assert row["rungs"] == {}


def test_what_is_packed_is_read_again(tmp_path: Path, all_rows: list[Row]) -> None:
    failed: dict[str, Any] = {**all_rows[-1], "failed": "diverged"}
    latency = [{"fingerprint": all_rows[0]["fingerprint"], "latency_ms": 0.5}]
    pack.pack([*all_rows[:-1], failed], latency, tmp_path)
    bench = read_tables(tmp_path)
    assert len(bench.costs) == 300
    assert len(bench.trainings) == len(all_rows) - 1
    first = next(training for training in bench.trainings)
    assert first.architecture == SPACE.architecture(all_rows[0]["decisions"])
    assert bench.costs[first.architecture]["latency_ms"] == 0.5
    assert first.measurement["top1"] == pytest.approx(all_rows[0]["top1"])
    assert (first.rungs[1]["loss"], first.measurement.train_seconds) == (2.3, 2.0)
    # Who has the tables alone goes on as who has the rows.
    again = list(unpack.rows(tmp_path))
    assert {key_of(row) for row in again} == {key_of(row) for row in all_rows[:-1]}
    pack.pack(again, latency, tmp_path)
    assert read_tables(tmp_path) == bench
