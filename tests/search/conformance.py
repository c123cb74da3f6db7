"""What every sampler must do. A new sampler passes when each check passes for an experiment that names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import InvalidArchitecture
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.pareto import box, hypervolume, values_of
from invnas.search.optuna_sampler import OptunaSampler
from invnas.search.optuna_terms import parameters
from invnas.search.random_sampler import RandomSampler
from invnas.search.sampler import Candidate, Context, Rejection, Told, told_of
from invnas.search.samplers import make_sampler
from invnas.space import Space, load_space
from search.cheap import CheapEngine, go, make_run, measure, price


def context(space: Space, number: int, pending: Sequence[Trial] = ()) -> Context:
    """Return what a sampler may look at in a search without caps, of which nothing is known."""

    def judged(decisions: Decisions) -> Candidate | Rejection:
        try:
            architecture = space.architecture(decisions)
            return Candidate(decisions, architecture, price(architecture))
        except InvalidArchitecture as error:
            return Rejection(decisions, "invalid", str(error))

    return Context(number, pending, candidates=lambda many: [judged(decisions) for decisions in many])


def proposals(experiment: Experiment, space: Space, number: int, learn: bool = True) -> list[Decisions]:
    """Return proposals of a fresh sampler that is told measurements, or that everything was rejected."""
    sampler = make_sampler(experiment, space)
    asked: list[Decisions] = []
    trials = 0
    while len(asked) < number:
        decisions = sampler.ask(context(space, trials))
        asked.append(decisions)
        trial = measured_trial(space, trials, decisions) if learn else None
        if trial is None:
            sampler.tell(Told(decisions, "invalid", reason="refused"))
        else:
            sampler.tell(told_of(trial))
            trials += 1
    return asked


def measured_trial(space: Space, number: int, decisions: Decisions) -> Trial | None:
    """Return a finished trial of some decisions, or None where they lead to nothing valid."""
    try:
        architecture = space.architecture(decisions)
    except InvalidArchitecture:
        return None
    trial = Trial(number, architecture, decisions, price(architecture), "complete")
    return replace(trial, measurement=measure(trial))


def check_decides_what_is_needed(experiment: Experiment, space: Space) -> None:
    """Every proposal decides each choice on its way and nothing else; it is valid or refused with a reason."""
    for decisions in proposals(experiment, space, 25):
        assert space.walk(lambda path, choice, given=decisions: given[path]) == decisions
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
        decisions = other.ask(context(space, i)) if i % 2 else sampler.ask(context(space, i))
        trial = measured_trial(space, i, decisions)
        if trial is not None:
            sampler.tell(told_of(trial))
        sampler.tell(Told(decisions, "known", reason="again"))
    sampler.ask(context(space, 30))


def check_rejections_leave_no_trace(experiment: Experiment, space: Space) -> None:
    """What is proposed for the next number does not depend on what was rejected for this one."""
    plain, rejected = make_sampler(experiment, space), make_sampler(experiment, space)
    for i in range(20):
        first = plain.ask(context(space, i))
        assert rejected.ask(context(space, i)) == first
        for _ in range(i % 3):
            rejected.tell(Told(first, "known", reason="again"))
            first = rejected.ask(context(space, i))
        trial = measured_trial(space, i, first)
        if trial is not None:
            for sampler in (plain, rejected):
                sampler.tell(told_of(trial))


def check_stopped_are_known(experiment: Experiment, space: Space) -> None:
    """What was stopped is what its sampler never proposes, or what its Optuna study holds as pruned."""
    everything = [decisions for decisions, _ in space.enumerate()]
    trials = [trial for i, one in enumerate(everything) if (trial := measured_trial(space, i, one))]
    history = [trial if i % 2 else replace(trial, state="stopped") for i, trial in enumerate(trials[:-4])]
    sampler = make_sampler(experiment, space, history)
    stopped = [trial.decisions for trial in history if trial.state == "stopped"]
    asked = [sampler.ask(context(space, len(history) + k)) for k in range(12)]
    if isinstance(sampler, OptunaSampler):
        assert sampler._study is not None
        pruned = [trial for trial in sampler._study.trials if trial.state.name == "PRUNED"]
        assert [trial.params for trial in pruned] == [parameters(space, decisions)[0] for decisions in stopped]
    elif not isinstance(sampler, RandomSampler):  # which is uniform because it knows nothing
        assert not [decisions for decisions in asked if decisions in stopped]


def share_covered(experiment: Experiment, folder: Path) -> float:
    """Return the hypervolume of a whole search, in a box that does not depend on the search."""
    run = make_run(folder, "digits", sampler=experiment.sampler, seed=experiment.seed, trials=experiment.trials)
    with run.locked():
        go(run, CheapEngine())
    complete = run.trials()
    caps = Caps.of(macs=5e6)
    reference = replace(box(complete, experiment.axes, caps), best=(1.0, 3e4))
    return hypervolume(values_of(complete, experiment.axes), experiment.axes, reference)
