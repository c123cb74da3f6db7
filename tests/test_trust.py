"""The run of a stranger is shown without executing anything of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search.cheap import CheapEngine, go, make_run, measure

from invnas.errors import BadInput
from invnas.inert import inert_types
from invnas.results import export_model, retrain, write_report
from invnas.run import Run

OWN = """
from dataclasses import dataclass
from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Stage

@dataclass(frozen=True)
class MyBlock:
    spatial: object
    expansion: int = 1

    def build(self, in_channels, width, stride): ...

space = HybridNet(
    PlainStem(8, 3, 1, False),
    [Stage(Choice(8, 16), (MyBlock(Choice(Convolution(3), Involution(Choice(3, 5), 2, 1))),))],
)
"""
TRAP = "import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A finished run whose files leave a trace when they are executed."""
    run = make_run(tmp_path, OWN, trials=6, data={"class_path": "trap_data.Data"})
    with run.locked():
        go(run, CheapEngine(outcome=lambda trial: measure(trial) if trial.number else "diverged"))
    (run.folder / "space.py").write_text(TRAP + OWN)
    (tmp_path / "trap_data.py").write_text(TRAP)
    return run.folder


def test_the_trap_works(strange: Path) -> None:
    Run.open(strange)
    assert (strange / "executed").exists()


def test_a_stranger_is_shown_and_nothing_is_executed(
    strange: Path, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = make_numbers(Run.open(strange))
    (strange / "executed").unlink()
    monkeypatch.syspath_prepend(strange.parent)
    monkeypatch.chdir(strange.parent)
    code, out, err = call("report", strange, "--trust", "no")
    assert code == 0, err
    assert "Pareto front" in out
    assert "opened without trust" in err
    assert "MyBlock" in (strange / "report" / "index.html").read_text()
    found = json.loads(call("report", strange, "--trust=no", "--json")[1])
    assert found["trials"]["complete"] == 5
    run = Run.open(strange, trust=False)
    assert make_numbers(run) == trusted
    assert [trial.architecture.fingerprint for trial in run.trials()] == [one[1] for one in trusted]
    assert not list(strange.parent.rglob("executed"))


def make_numbers(run: Run) -> list[Any]:
    front = {trial.number for trial in run.front()}
    return [
        (trial.number, trial.architecture.fingerprint, trial.state, trial.number in front, trial.architecture.to_dict())
        for trial in run.trials()
    ]


def test_what_needs_the_files_is_refused(strange: Path) -> None:
    run = Run.open(strange, trust=False)
    for needs in (lambda: run.locked().__enter__(), lambda: retrain(run), lambda: run.space):
        with pytest.raises(BadInput, match="was opened without trust"):
            needs()
    with pytest.raises(BadInput):
        export_model(run, formats="safetensors")  # type: ignore[arg-type]
    assert not list(strange.parent.rglob("executed"))


def test_the_space_file_may_be_missing(strange: Path) -> None:
    (strange / "space.py").unlink()
    assert write_report(strange, trust=False).is_file()


def test_a_task_of_its_own_is_refused_before_it_is_imported(strange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(strange.parent)
    path = strange / "run.json"
    whole = json.loads(path.read_text())
    for task in ("trap_data.Task", "os.system", ["x"], 3):
        path.write_text(json.dumps({**whole, "experiment": {**whole["experiment"], "task": task}}))
        with pytest.raises(BadInput, match="code of its own: it needs trust"):
            Run.open(strange, trust=False)
    assert not list(strange.parent.rglob("executed"))


@pytest.mark.parametrize(
    "plain", [{"type": "a b"}, {"type": "__import__('os')"}, {"type": "A", "class": 1}, {"type": "A", "x y": 1}, {}]
)
def test_names_that_no_class_can_have_are_refused(plain: Any) -> None:
    if plain:
        with pytest.raises(BadInput, match="cannot be the name of a type"):
            inert_types(plain)
    else:
        assert set(inert_types(plain)) == {"None"}
