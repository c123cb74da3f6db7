"""Searching: one function per task of a user, where the deciding and the computing half meet."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from invnas.errors import BadInput
from invnas.experiment import Experiment, parse_count
from invnas.run import Run
from invnas.search.live import LiveView
from invnas.search.loop import Engine, search
from invnas.search.sampler import make_sampler
from invnas.shipped import find
from invnas.space import load_space
from invnas.space_check import Caps, SpaceCheck, check_space, smallest_within

_PACKAGES = ("invnas", "torch", "lightning", "torchmetrics", "optuna", "numpy")


def environment() -> dict[str, str]:
    """Return versions and hardware by name, as they are recorded with a run."""
    from invnas.training import device_name

    found = {"python": platform.python_version(), "device": device_name(), "cores": str(os.cpu_count())}
    found["system"] = f"{platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def run_search(experiment: Experiment, run_dir: str | Path, *, quiet: bool = False) -> Run:
    """Search from the start in a new run folder.

    Args:
        experiment: What to run.
        run_dir: A folder that does not exist yet, or an empty one.
        quiet: Show no progress.

    Returns:
        The run, with every trial in it.

    Raises:
        BadInput: If anything the user gave cannot be; nothing has been trained then.
    """
    from invnas.cost import pricer
    from invnas.engine.evaluate import open_data
    from invnas.training import make_trainer, quiet_lightning

    space_path = find("search_spaces", experiment.space)
    space = load_space(space_path)
    make_sampler(experiment, space)
    with quiet_lightning():
        make_trainer(experiment.recipe)  # a precision Lightning does not know is refused here, not by every trial
    data, facts = open_data(experiment.data)
    caps = Caps(experiment.max_macs, experiment.max_parameters)
    if str(caps):
        smallest_within(space, pricer(facts.input_shape, facts.classes), caps, experiment.seed)
    run = Run.create(
        run_dir,
        experiment,
        space_path,
        input_shape=facts.input_shape,
        classes=facts.classes,
        environment=environment(),
        class_names=facts.class_names,
        normalisation=vars(data.normalisation) if hasattr(data, "normalisation") else None,
    )
    return _continue(run, quiet)


def resume_search(run_dir: str | Path, trials: str | int | None = None, *, quiet: bool = False) -> Run:
    """Continue an interrupted search, or extend a finished one.

    Args:
        run_dir: The run folder.
        trials: None for the number it was started with, a new number, or "+20" for so many more.
        quiet: Show no progress.
    """
    run = Run.open(run_dir)
    if trials is not None:
        now = run.experiment.trials
        text = str(trials)
        wanted = now + parse_count(text[1:]) if text.startswith("+") else parse_count(text)
        if wanted < now:
            raise BadInput(f"`trials` can only grow: the run {run_dir} has {now}, but got {text}")
        with run.locked():
            run.extend(wanted)
    return _continue(run, quiet)


def _continue(run: Run, quiet: bool) -> Run:
    from invnas.engine.local import local_engine

    with run.locked():
        engine = local_engine(run.folder, run.experiment)
        try:
            phases = (False, True) if run.experiment.random_baseline else (False,)
            for baseline in phases:
                _phase(run, engine, baseline, quiet)
        finally:
            engine.close()
    return run


def _phase(run: Run, engine: Engine, baseline: bool, quiet: bool) -> None:
    from invnas.cost import pricer

    experiment = run.experiment
    mine = run.trials(baseline=baseline)
    # Another seed: a random search and its baseline shall not draw the same architectures.
    uniform = replace(experiment, sampler="random", sampler_args={}, seed=experiment.seed + 1)
    asked = uniform if baseline else experiment
    caps = {"macs": experiment.max_macs, "parameters": experiment.max_parameters}
    title = "random baseline" if baseline else "search"
    with LiveView(experiment.trials, experiment.objectives, mine, caps=caps, title=title, quiet=quiet) as view:
        outcome = search(
            run.space,
            make_sampler(asked, run.space, mine),
            pricer(run.manifest.input_shape, run.manifest.classes),
            engine,
            run,
            trials=experiment.trials,
            objectives=experiment.objectives,
            max_macs=experiment.max_macs,
            max_parameters=experiment.max_parameters,
            baseline=baseline,
            rng_seed=experiment.seed,
            on_event=view,
        )
    if not quiet:
        refused = ", ".join(f"{number} {kind}" for kind, number in sorted(outcome.rejected.items())) or "none"
        print(
            f"{title}: {outcome.ended}; {outcome.trained} trained, {outcome.failed} failed, {outcome.reused} reused; "
            f"rejected before training: {refused}",
            file=sys.stderr,
        )


def space_facts(
    name: str, input_shape: tuple[int, int, int], classes: int, max_macs: int | None, max_parameters: int | None
) -> SpaceCheck:
    """Return what a space holds, priced for one kind of image."""
    from invnas.cost import pricer

    return check_space(load_space(name), pricer(input_shape, classes), Caps(max_macs, max_parameters))
