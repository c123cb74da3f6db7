"""What every sampler must do. A new sampler passes when each check passes for an experiment that names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from invnas.choice import Decisions
from invnas.errors import InvalidArchitecture
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.pareto import box, hypervolume, values_of
from invnas.search.optuna_terms import walk
from invnas.search.sampler import make_sampler
from invnas.space import Space, load_space
from search.cheap import CheapEngine, go, make_run, measure, price


def proposals(experiment: Experiment, space: Space, number: int, learn: bool = True) -> list[Decisions]:
    """Return proposals of a fresh sampler that is told measurements, or None of everything."""
    sampler = make_sampler(experiment, space)
    asked = []
    for i in range(number):
        decisions = sampler.ask()
        asked.append(decisions)
        try:
            architecture = space.architecture(decisions)
            trial = Trial(i, architecture, decisions, price(architecture))
            sampler.tell(decisions, measure(trial).values(experiment.objectives) if learn else None)
        except InvalidArchitecture:
            sampler.tell(decisions, None)
    return asked


def check_decides_what_is_needed(experiment: Experiment, space: Space) -> None:
    """Every proposal decides each choice on its way and nothing else; it is valid or refused with a reason."""
    for decisions in proposals(experiment, space, 25):
        assert walk(space, lambda path, choice, given=decisions: given[path]) == decisions
        with suppress(InvalidArchitecture):
            space.architecture(decisions)


def check_same_seed(experiment: Experiment, space: Space) -> None:
    """The same seed proposes the same, another seed something else."""
    first = proposals(experiment, space, 25)
    assert first == proposals(experiment, space, 25)
    assert first != proposals(replace(experiment, seed=experiment.seed + 1), space, 25)


def check_same_in_another_process(experiment: Experiment, space_name: str) -> None:
    """The same seed proposes the same in processes that hash text differently."""
    code = (
        "import json, sys; from search.conformance import proposals; from invnas.experiment import Experiment; "
        "from invnas.space import load_space; "
        "print(json.dumps(proposals(Experiment.from_dict(json.loads(sys.argv[1])), load_space(sys.argv[2]), 25)))"
    )
    here = proposals(experiment, load_space(space_name), 25)
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, json.dumps(experiment.to_dict()), space_name]
        there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert json.loads(there) == here


def check_survives_rejection(experiment: Experiment, space: Space) -> None:
    """A sampler goes on when everything it proposes is rejected."""
    assert len(proposals(experiment, space, 40, learn=False)) == 40


def check_accepts_foreign_tells(experiment: Experiment, space: Space) -> None:
    """A sampler learns from measurements of architectures it did not propose, and from repetitions."""
    other = make_sampler(Experiment(sampler="random", seed=99), space)
    sampler = make_sampler(experiment, space)
    for i in range(30):
        decisions = other.ask() if i % 2 else sampler.ask()
        sampler.tell(decisions, (i / 30, 1000.0 + i))
        sampler.tell(decisions, None)


def share_covered(experiment: Experiment, folder: Path) -> float:
    """Return the hypervolume of a whole search, in a box that does not depend on the search."""
    run = make_run(folder, "digits", sampler=experiment.sampler, seed=experiment.seed, trials=experiment.trials)
    with run.locked():
        go(run, CheapEngine())
    complete = run.trials()
    caps = {"macs": 5e6}
    reference = replace(box(complete, experiment.objectives, caps), best=(1.0, 3e4))
    return hypervolume(values_of(complete, experiment.objectives), experiment.objectives, reference)
