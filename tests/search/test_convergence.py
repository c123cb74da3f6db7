from __future__ import annotations

import math
from pathlib import Path

import pytest

from invnas.caps import Caps
from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.run import Run
from invnas.search.convergence import Convergence
from invnas.search.loop import SearchOutcome, search
from invnas.search.outlook import Candidates
from invnas.search.samplers import make_sampler
from search.cheap import CheapEngine, make_run, price


def convergence(run: Run, share: float, trials: int = 4, since: int | None = None) -> Convergence:
    return Convergence(
        Candidates(run.space, price, Caps(), run.experiment.axes), run.experiment.axes, share, trials, since
    )


def go_on(run: Run, judge: Convergence | None, trials: int = 30, engine: CheapEngine | None = None) -> SearchOutcome:
    experiment = run.experiment
    sampler = make_sampler(experiment, run.space, run.trials("search"))
    with run.locked():
        return search(
            run.space, sampler, price, engine or CheapEngine(), run, trials=trials, objectives=experiment.axes,
            convergence=judge,
        )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, sampler="random", trials=30)


def test_nothing_is_judged_before_anything_is_believed(run: Run) -> None:
    judge = convergence(run, 0.999, trials=1)
    assert not judge([])
    go_on(run, None, trials=7)
    assert not judge(run.trials())
    assert judge.reason == ""


def test_a_search_ends_when_the_best_candidate_adds_little_and_says_why(run: Run) -> None:
    outcome = go_on(run, convergence(run, 0.5))
    done = len(run.trials())
    assert done < 30, "half of what the front covers is never expected"
    assert outcome.ended.startswith(f"converged after {done} trials: of all candidates")
    assert "less than the stated 0.5" in outcome.ended
    assert done >= 8 + 4, "at both ends of the four trials something must be believed"


def test_a_share_that_is_always_expected_ends_nothing(run: Run) -> None:
    outcome = go_on(run, convergence(run, 1e-12), trials=16)
    assert (len(run.trials()), outcome.ended) == (16, "16 trials are done")


def test_a_search_that_was_interrupted_ends_where_it_would_have(run: Run, tmp_path: Path) -> None:
    go_on(run, convergence(run, 0.5))
    (tmp_path / "other").mkdir()
    other = make_run(tmp_path / "other", sampler="random", trials=30)
    go_on(other, None, trials=10)
    go_on(Run.open(other.folder), convergence(other, 0.5))
    assert [t.architecture for t in Run.open(other.folder).trials()] == [t.architecture for t in run.trials()]


def test_what_was_ended_goes_on_for_so_many_trials_before_it_is_judged_again(run: Run) -> None:
    go_on(run, convergence(run, 0.5))
    done = len(run.trials())
    go_on(run, convergence(run, 0.5, since=done))
    assert len(run.trials()) == done + 4


def test_the_reason_is_recorded_and_the_run_is_done(run: Run) -> None:
    assert run.ended is None
    judge = convergence(run, 0.5)
    go_on(run, judge)
    done = len(run.trials())
    with run.locked():
        run.end(judge.reason)
    again = Run.open(run.folder, trust=False)
    assert again.ended == (done, judge.reason)
    assert again.experiment.trials == done
    (run.folder / "ended.json").write_text("[]")
    with pytest.raises(BadInput, match=r"ended\.json is malformed"):
        _ = again.ended


def test_one_look_after_each_trial(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    judge = convergence(run, 0.5)
    expected = judge._expected
    monkeypatch.setattr(judge, "_expected", lambda ended: looks.append(len(ended)) or expected(ended))
    go_on(run, None, trials=14)
    assert judge(run.trials())
    assert judge(run.trials())
    assert looks == [14, 10]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stop_when_converged": 0}, "must lie between 0 and 1, but got 0"),
        ({"stop_when_converged": 1.5}, "must lie between 0 and 1, but got 1.5"),
        ({"stop_when_converged": math.nan}, "must be a finite number"),
        ({"converged_trials": 0}, "`converged_trials` must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Experiment(**given)  # type: ignore[arg-type]
