"""Searching: one function per task of a user, where the deciding and the computing half meet."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.caps import Caps
from invnas.confirmation import Confirmation, confirmation
from invnas.errors import BadInput, shown
from invnas.experiment import PLACED, Experiment
from invnas.head import Head
from invnas.measurement import PHASES
from invnas.metering import Metering, metering_of
from invnas.phases import continue_run, finished, lacking, phases_of
from invnas.recipe import AUTO
from invnas.run import Run
from invnas.search.observations import Earlier, earlier_of
from invnas.search.samplers import make_sampler
from invnas.settings import parse_count, path_of, whole
from invnas.space import Space, load_space
from invnas.space_check import SpaceCheck, check_space, smallest_within
from invnas.space_source import space_file
from invnas.task import check_network, check_recipe

if TYPE_CHECKING:
    from invnas.engine.ray.cluster import Cluster

#: Further seeds of one architecture: more of them say nothing new.
_FURTHER = 100
_PACKAGES = ("invnas", "torch", "lightning", "torchmetrics", "optuna", "numpy")


def environment() -> dict[str, str]:
    """Return versions and hardware by name, as they are recorded with a run."""
    from invnas.device import device_name

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
        DiskFailed: If the disk is full; no trial is blamed, and `resume_search` goes on.
        KeyboardInterrupt: For Ctrl-C, and in the main thread for SIGTERM and SIGHUP where nobody else handles them.

    Example:
        >>> from invnas import DataSource, Experiment, Recipe, run_search
        >>> experiment = Experiment("digits", trials=1, recipe=Recipe(epochs=1), max_macs=150_000)
        >>> run_search(experiment, "runs/example", quiet=True)
        Run(runs/example: 1 complete)
    """
    from invnas.cost import pricer
    from invnas.data.check import say
    from invnas.engine.images import open_data
    from invnas.init_from import starting
    from invnas.range_test import find_rate
    from invnas.training import check_sampling, make_trainer, quiet_lightning

    if not isinstance(experiment, Experiment):
        raise BadInput(f"`experiment` must be an Experiment, but got {shown(experiment, 60)}")
    folder = path_of(run_dir, "run_dir")
    experiment = replace(experiment, recipe=experiment.recipe.resolved())  # the record says what was used
    with space_file(experiment.space) as space_path:
        space = load_space(space_path)
        check_network(experiment.what, space.network)
        earlier = _earlier(experiment, space)
        make_sampler(experiment, space, earlier=earlier)
        with quiet_lightning():
            make_trainer(experiment.recipe)  # a precision Lightning does not know is refused here, not by every trial
        data, facts = open_data(experiment.data, experiment.what)
        check_sampling(data, experiment.recipe)
        check_recipe(experiment.what, experiment.recipe, facts)
        price = pricer(facts.input_shape, experiment.what.head(facts))
        if str(experiment.caps):
            smallest_within(space, price, experiment.caps, experiment.seed)
        own = Path(space_path).read_text(encoding="utf-8")
        experiment, start = starting(experiment, space, facts, quiet)
        with _connected(experiment) as cluster, metering_of(experiment, space, own, facts) as metering:
            if metering is not None:
                metering.calibrate(quiet)
                metering.check(experiment.caps, experiment.seed)
            rates = None
            if experiment.recipe.learning_rate == AUTO:
                rates = find_rate(experiment, space, price, data, facts, start)
                experiment = replace(experiment, recipe=replace(experiment.recipe, learning_rate=rates.rate))
                say(f"recipe.learning_rate: {rates.words}")
            run = Run.create(
                folder,
                experiment,
                space_path,
                facts=facts,
                environment=environment(),
                earlier=earlier,
                pretrained=None if start is None else start.save,
            )
            if rates is not None:
                run.keep_rates(rates)
            if metering is not None:
                metering.keep_in(run.folder)
            return continue_run(run, quiet, cluster, metering=metering)


def _earlier(experiment: Experiment, space: Space) -> list[Earlier]:
    """Return what the run that a search starts from has found."""
    if experiment.warm_start is None:
        return []
    found = earlier_of(Run.open(experiment.warm_start).trials(), space)
    if not found:
        raise BadInput(
            f"`warm_start`: nothing that {experiment.warm_start} has trained lies in the space {space.name}; "
            "it must be a run on the same space"
        )
    return found


def resume_search(
    run_dir: str | Path,
    trials: str | int | None = None,
    *,
    promote: int = 0,
    baselines: bool = False,
    placed: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Continue an interrupted search, or extend a finished one.

    Args:
        run_dir: The run folder.
        trials: None for the number it was started with, a new number, or "+20" for so many more.
        promote: So many of the most promising stopped trials are trained to the end, beside those.
        baselines: Also train what the front is compared with, if it was not asked for before.
        placed: Where it goes on, if elsewhere than before, by the names of the settings: engine, workers, address,
            reserve_cores, gpus_per_trial, cpus_per_trial, storage. It is written to the run.
        quiet: Show no progress.

    Example, after that of `run_search`:
        >>> from invnas import resume_search
        >>> resume_search("runs/example", trials="+1", quiet=True)
        Run(runs/example: 2 complete)
    """
    run = Run.open(run_dir)
    if trials is not None:
        now = run.experiment.trials
        text = str(trials)
        try:
            wanted = now + parse_count(text[1:]) if text.startswith("+") else parse_count(text)
        except BadInput as error:
            raise BadInput(f"`trials`: {error}") from None
        if wanted < now:
            raise BadInput(f"`trials` can only grow: the run {run_dir} has {now}, but got {text}")
    else:
        wanted = run.experiment.trials
    promote = whole(promote, "promote")
    if promote < 0:
        raise BadInput(f"`promote` must not be negative, but got {promote}")
    before = run.experiment
    elsewhere = _placed(before, placed or {})
    if promote or baselines or wanted > before.trials:
        from invnas.engine.images import images_of

        images_of(run)
    # Nothing is written before all that may refuse has been asked: a resumption that is refused leaves the run alone.
    with _connected(elsewhere) as cluster:
        with run.locked():
            if promote:
                run.promote(promote)
            if wanted > before.trials:
                run.extend(wanted + promote)
            _bring_back(run, before.storage)
            if placed or baselines:
                run.place(_placed(replace(run.experiment, baselines=baselines or before.baselines), placed or {}))
        with _metered(run, quiet) as metering:
            return continue_run(run, quiet, cluster, metering=metering)


@contextmanager
def _metered(run: Run, quiet: bool) -> Iterator[Metering | None]:
    """Give what measures the latencies of a run that goes on; None where nothing is left to be trained."""
    if not lacking(run):
        yield None
        return
    own = (run.folder / "space.py").read_text(encoding="utf-8")
    with metering_of(run.experiment, run.space, own, run.manifest.facts) as metering:
        if metering is not None:
            metering.keep_in(run.folder)
            metering.calibrate(quiet)
        yield metering


def confirm_front(run_dir: str | Path, seeds: int = 2, *, quiet: bool = False) -> Confirmation:
    """Train the members of a front and its references with further seeds, and say which differences hold.

    A seed decides first weights, order and augmentation; images, split and recipe are those of the search. What is
    trained is added to the record; what it has is not trained again, and a call that was interrupted goes on.

    Args:
        run_dir: The run folder.
        seeds: How many further seeds each member of the front, and each reference, shall have.
        quiet: Show no progress.

    Raises:
        BadInput: If there is no front, or the search is not done.

    Example, after that of `run_search`:
        >>> from invnas import confirm_front
        >>> len(confirm_front("runs/example", seeds=1, quiet=True).members[0].values)
        1
    """
    seeds = whole(seeds, "seeds")
    if not 1 <= seeds <= _FURTHER:
        raise BadInput(f"`seeds` must be 1 to {_FURTHER}, but got {seeds}")
    run = Run.open(run_dir)
    learned = next((axis for axis in run.experiment.axes if axis.source == "learned"), None)
    if learned is None:
        raise BadInput(f"the objectives of {run_dir} are costs alone: further seeds change none of them")
    for phase, wanted in phases_of(run).items():
        if phase != "confirm" and (done := finished(run, phase)) < wanted:
            raise BadInput(
                f"the {PHASES[phase]} of {run_dir} is not done ({done} of {wanted} trials): its front may change; "
                f"first: invnas resume {run_dir}"
            )
    with _connected(run.experiment) as cluster:
        with run.locked():
            members = run.confirm(seeds)  # what further seeds say may move the front
        continue_run(run, quiet, cluster, only="confirm")
    known = {trial.architecture.fingerprint for trial in members}
    compared = [
        trial
        for trial in run.trials("reference")
        if trial.state == "complete" and trial.architecture.fingerprint not in known
    ]
    return confirmation(members, run.trials(), learned, compared)


def _placed(experiment: Experiment, placed: Mapping[str, Any]) -> Experiment:
    """Return an experiment that goes on elsewhere: with the local engine nothing of a cluster is left."""
    usual = Experiment()
    if placed.get("engine") == "local":
        if experiment.tune_scheduler:
            raise BadInput(f"the stopper {experiment.tune_scheduler} is one of Ray Tune: this run needs --engine ray")
        experiment = replace(experiment, **{name: getattr(usual, name) for name in PLACED if name != "workers"})
    return replace(experiment, **placed)


def _bring_back(run: Run, storage: str | None) -> None:
    """Bring what trials that were cut off have left in a storage to the run folder: any engine goes on from there."""
    from invnas.engine.ray.mirror import mirror_of

    running = [trial.number for trial in run.trials() if trial.state == "running"]
    if storage is not None and running:
        mirror_of(run.folder, storage).bring_back(running)


@contextmanager
def _connected(experiment: Experiment) -> Iterator[Cluster | None]:
    """Connect to Ray where an experiment wants it, before anything is written; what it cannot do is said here."""
    if experiment.engine != "ray":
        yield None
        return
    from invnas.engine.ray.cluster import Cluster, check_ray

    check_ray()
    from invnas.engine.ray.tuning import check_scheduler

    check_scheduler(experiment)
    cluster = Cluster(experiment)
    try:
        yield cluster
    finally:
        cluster.close()


def space_facts(
    name: str, input_shape: tuple[int, int, int], head: Head | int, max_macs: int | None, max_parameters: int | None
) -> SpaceCheck:
    """Return what a space holds, priced for one kind of image."""
    from invnas.cost import pricer

    return check_space(load_space(name), pricer(input_shape, head), Caps.of(macs=max_macs, parameters=max_parameters))
