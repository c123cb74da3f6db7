"""A box that no trial moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search.cheap import CheapEngine, go, make_run, price
from test_pareto import TWO, failed, trial

from invnas.caps import Caps
from invnas.fixed_box import FIRST, fixed_box, unfixed
from invnas.measurement import Measurement
from invnas.objective import LATENCY, MACS, Objective
from invnas.pareto import Box, hypervolume
from invnas.report.collect import Beyond, ReportData, collect
from invnas.run import Run
from invnas.space_check import ends_of

ENDS = {"macs": (5000.0, 2.0)}
OWN = Objective("own", "own", "Own", unit="number", log=False, source="learned")


def test_without_a_trial_the_box_is_there() -> None:
    assert fixed_box([], TWO, None, ENDS) == Box((0.0, 5000.0), (1.0, 2.0))
    assert fixed_box([failed(0)], TWO, None, ENDS) == Box((0.0, 5000.0), (1.0, 2.0))


def test_a_cap_goes_before_the_space_and_before_what_is_stated() -> None:
    assert fixed_box([], TWO, Caps.of(macs=100), ENDS) == Box((0.0, 100.0), (1.0, 2.0))
    assert fixed_box([], (TWO[0], LATENCY), Caps.of(latency_ms=4.0)) == Box((0.0, 4.0), (1.0, 0.01))


@pytest.mark.parametrize("ends", [ENDS, {}])
def test_no_later_trial_moves_it(ends: dict[str, tuple[float, float]]) -> None:
    first = [trial(i, 0.5, 10.0 + i) for i in range(FIRST)]
    before = fixed_box(first, TWO, None, ends)
    later = [trial(FIRST, 0.9, 1.0), trial(FIRST + 1, 0.1, 1e9)]
    assert fixed_box([*later, *first], TWO, None, ends) == before
    assert before.worst[1] == (5000.0 if ends else 10.0 + FIRST - 1)


def test_axes_of_which_another_run_has_other_ends_are_named() -> None:
    assert unfixed(TWO, None, ENDS) == unfixed((TWO[0], LATENCY)) == ()
    assert unfixed(TWO) == unfixed(TWO, Caps.of(macs=5)) == (MACS,)
    assert unfixed((OWN, replace(OWN, name="other", worst=1.0, best=0.0)), None, ENDS) == (OWN,)


def reported(run: Run) -> ReportData:
    return collect("mine", run.experiment, run.trials(), {}, belief=run.belief, beyond=Beyond(ends=run.manifest.ends))


def searched(folder: Path, trials: int, seed: int = 0) -> Run:
    folder.mkdir()
    run = make_run(folder, trials=trials, sampler="random", seed=seed)
    with run.locked():
        run.bound(ends_of(run.space, price, ("macs",)))
        go(run, CheapEngine())
    return run


def test_an_extended_run_has_the_curve_it_had_and_other_seeds_have_its_box(tmp_path: Path) -> None:
    run = searched(tmp_path / "a", 12)
    before = reported(run)
    with run.locked():
        run.extend(20)
        go(run, CheapEngine())
    after = reported(Run.open(run.folder))
    assert (before.belief.known, after.belief.known, after.belief == before.belief) == (True, True, False)
    assert after.box == before.box == run.box == reported(searched(tmp_path / "b", 9, seed=1)).box
    assert (len(before.search.hypervolume), len(after.search.hypervolume)) == (12, 20)
    assert after.search.hypervolume[:12] == before.search.hypervolume
    assert before.unfixed == ()


@pytest.mark.parametrize("better", ["maximize", "minimize"])
def test_trials_that_all_lie_beyond_the_worst_that_is_stated_cover_nothing(better: Any) -> None:
    """Its axis was taken for one without extent, along which everything counts in full."""
    chance = replace(OWN, direction=better, worst=0.5)
    values = np.array([[0.3, 10.0], [0.4, 10.0]] if better == "maximize" else [[0.7, 10.0], [0.6, 10.0]])
    trials = [replace(trial(i, 0.5, 10.0), measurement=Measurement({"own": row[0]})) for i, row in enumerate(values)]
    axes = (chance, MACS)
    assert hypervolume(values, axes, fixed_box(trials, axes, None, ENDS)) == 0.0


def test_trials_that_all_lie_beyond_the_best_that_is_stated_cover_their_axis() -> None:
    enough = replace(OWN, direction="maximize", best=0.5)
    values = np.array([[0.7, 2.0], [0.6, 2.0]])
    trials = [replace(trial(i, 0.5, 2.0), measurement=Measurement({"own": row[0]})) for i, row in enumerate(values)]
    assert hypervolume(values, (enough, MACS), fixed_box(trials, (enough, MACS), None, ENDS)) == 1.0
