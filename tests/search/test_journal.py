from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invnas.architecture import Architecture
from invnas.errors import BadInput
from invnas.run import Run
from invnas.search import journal
from invnas.search.journal import sound_length
from search.cheap import CheapEngine, go, make_run, measure, price


def finished_run(tmp_path: Path, **options: object) -> Run:
    run = make_run(tmp_path, trials=10, sampler="evolution", **options)
    with run.locked():
        go(run, CheapEngine(outcome=lambda trial: measure(trial) if trial.number != 4 else "diverged"))
    return run


def load(run: Run, name: str = "search") -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(run.folder / "journal.log"))
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))


def test_a_journal_is_read_once_unless_another_process_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = finished_run(tmp_path), Run.open(tmp_path / "run")
    read: list[Path] = []
    really = journal._open
    monkeypatch.setattr(journal, "_open", lambda path: read.append(path) or really(path))
    for _ in range(2):
        with run.locked():
            known = run.trials()[0]
            run.fail(run.start(known.architecture, known.decisions, known.cost), "again")
    assert read == []
    with other.locked():
        assert other.trials() == run.trials()
        assert len(read) == 1
        other.fail(other.start(known.architecture, known.decisions, known.cost), "by the other")
    with run.locked():
        assert [trial.reason for trial in run.trials()[-3:]] == ["again", "again", "by the other"]
    with (run.folder / "journal.log").open("a") as file:
        file.write('{"torn')
    with run.locked():
        assert run.trials() == other.trials()
    assert (run.folder / "journal.log").read_text().endswith("}\n")


@pytest.mark.parametrize("objectives", [("top1", "macs"), ("macs", "top1", "parameters")])
def test_plain_optuna_reads_the_record(tmp_path: Path, objectives: tuple[str, ...]) -> None:
    run = finished_run(tmp_path, objectives=objectives)
    study = load(run)
    assert study.metric_names == list(objectives)
    assert {tuple(trial.values) for trial in study.best_trials} == {
        trial.values(run.experiment.axes) for trial in run.front(observed=True)
    }
    for trial, frozen in zip(run.trials(), study.trials, strict=True):
        assert frozen.number == trial.number == frozen.user_attrs["number"]
        assert frozen.user_attrs["fingerprint"] == trial.architecture.fingerprint
        assert frozen.state.name == {"complete": "COMPLETE", "failed": "FAIL"}[trial.state]
        assert frozen.params["stages.0.width"] == str(trial.architecture.network.stages[0].width)
        assert set(frozen.params) <= set(trial.decisions)
        assert frozen.duration is not None


def test_baseline_is_a_study_of_its_own_and_numbers_are_unique(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    with run.locked():
        go(run, phase="random", trials=4)
        go(run, trials=12)
    assert [trial.number for trial in run.trials()] == list(range(16))
    assert [trial.user_attrs["number"] for trial in load(run, "random").trials] == [10, 11, 12, 13]
    assert Run.open(run.folder).trials() == run.trials()
    assert [trial.number for trial in run.trials("random")] == [10, 11, 12, 13]


def test_everything_comes_back_equal(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    with run.locked():
        (decisions, architecture), (others, other) = itertools.islice(run.space.enumerate(), 2)
        stopped = run.start(other, others, price(other))
        stopped = run.stop(stopped, replace(measure(stopped), epochs=2, planned_epochs=5))
        running = run.start(architecture, decisions, price(architecture))
    assert load(run).trials[stopped.number].state.name == "PRUNED"
    again = Run.open(run.folder).trials()
    assert again == run.trials()
    assert again[-2:] == (stopped, running)
    assert again[4].reason == "diverged"


def test_a_fingerprint_is_read_and_not_computed_again(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    for trial in Run.open(run.folder).trials():
        assert vars(trial.architecture)["fingerprint"] == Architecture(trial.architecture.network).fingerprint
    journal, sound = run.folder / "journal.log", run.trials()[0].architecture.fingerprint
    journal.write_text(journal.read_text().replace(sound, sound.upper() + "!"))
    with pytest.raises(BadInput, match=r"damaged: trial 0 cannot be read .*no fingerprint"):
        Run.open(run.folder)


def test_start_is_one_line_and_end_two(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    journal = run.folder / "journal.log"

    def lines() -> int:
        return journal.read_bytes().count(b"\n")

    with run.locked():
        decisions, architecture = next(run.space.enumerate())
        before = lines()
        trial = run.start(architecture, decisions, price(architecture))
        assert lines() == before + 1
        run.finish(trial, measure(trial))
        assert lines() == before + 3


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_torn_last_line_is_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    run = finished_run(tmp_path_factory.mktemp("torn"))
    journal = run.folder / "journal.log"
    whole = journal.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    cut = data.draw(st.integers(last, len(whole) - 1))
    end = data.draw(st.sampled_from([b"", b"\0\0\0\0", b"\xff\xfe", b'{"op'])) if cut > last else b""
    journal.write_bytes(whole[:cut] + end)
    torn = journal.read_bytes()
    reader = Run.open(run.folder)
    assert reader.trials()[-1].state == "running"
    assert journal.read_bytes() == torn
    with reader.locked():
        assert journal.read_bytes() == whole[:last]
        go(reader)
    assert Run.open(run.folder).trials() == reader.trials()
    assert [trial.state for trial in load(reader).trials][-1].name == "COMPLETE"


def test_a_last_line_of_rubbish_is_cut(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    journal = run.folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"\0\0\0\n")
    assert Run.open(run.folder).trials() == run.trials()
    with run.locked():
        assert journal.read_bytes() == whole


@pytest.mark.parametrize("rubbish", [b"", b"[]", b"{}", b"\xff", b'{"op_code": 4'])
def test_a_broken_line_in_the_middle_is_refused_with_its_number(tmp_path: Path, rubbish: bytes) -> None:
    run = finished_run(tmp_path)
    journal = run.folder / "journal.log"
    lines = journal.read_bytes().split(b"\n")
    lines[6] = rubbish
    journal.write_bytes(b"\n".join(lines))
    broken = journal.read_bytes()
    with pytest.raises(BadInput, match=r"line 7 of .*journal.log is damaged"):
        Run.open(run.folder)
    with pytest.raises(BadInput, match="line 7"), run.locked():
        pass
    assert journal.read_bytes() == broken


@pytest.mark.parametrize(
    "change",
    [
        lambda log: {**log, "op_code": 99},
        lambda log: {"op_code": 4},
        lambda log: {**log, "user_attrs": {}},
        lambda log: {**log, "user_attrs": {**log["user_attrs"], "architecture": {"type": "Hybrid"}}},
        lambda log: {**log, "user_attrs": {**log["user_attrs"], "cost": 3}},
        lambda log: {**log, "user_attrs": 7},
    ],
)
def test_lines_that_say_something_else_are_refused(tmp_path: Path, change: object) -> None:
    run = finished_run(tmp_path)
    journal = run.folder / "journal.log"
    lines = journal.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if json.loads(line)["op_code"] == 4)
    assert callable(change)
    lines[place] = json.dumps(change(json.loads(lines[place])))
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadInput, match=r"journal.log is damaged"):
        Run.open(run.folder)


def test_empty_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.folder / "journal.log").write_bytes(b"")
    with pytest.raises(BadInput, match="no study named search"):
        Run.open(run.folder)
    assert (run.folder / "journal.log").read_bytes() == b""
    assert sound_length(run.folder / "journal.log") == 0


def test_stale_lock_files_of_optuna_cost_nothing(tmp_path: Path) -> None:
    import time

    run = make_run(tmp_path, trials=2)
    (run.folder / "journal.log.lock").symlink_to(run.folder / "journal.log")
    began = time.monotonic()
    with run.locked():
        go(run)
    assert time.monotonic() - began < 5


def test_a_trial_that_ended_cannot_end_again(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    with run.locked(), pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        run.fail(replace(run.trials()[0], state="running"), "again")
