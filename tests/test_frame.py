from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from search.cheap import CheapEngine, go, make_run, measure

from invnas.errors import MissingExtra
from invnas.measurement import Measurement, Trial


def outcome(trial: Trial) -> Measurement | str:
    return "diverged" if trial.number == 1 else measure(trial)


def test_a_run_without_trials_is_an_empty_frame_with_columns(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = make_run(tmp_path).trials_frame()
    assert len(frame) == 0
    assert list(frame.columns[:3]) == ["state", "kind", "phase"]


def test_a_row_holds_what_the_trial_does(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run = make_run(tmp_path, trials=4)
    with run.locked():
        go(run, CheapEngine(outcome=outcome))
    frame = run.trials_frame()
    assert list(frame.index) == [0, 1, 2, 3]
    assert frame.loc[1, "reason"] == "diverged"
    assert frame["top1"].isna().tolist() == [False, True, False, False]
    for trial in run.trials():
        assert frame.loc[trial.number, "macs"] == trial.cost.macs
        assert frame.loc[trial.number, "decisions"] == trial.decisions
        assert frame.loc[trial.number, "state"] == trial.state


def test_without_pandas_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_pandas(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pandas)
    with pytest.raises(MissingExtra, match=r"pip install 'invnas\[pandas\]'"):
        make_run(tmp_path).trials_frame()
