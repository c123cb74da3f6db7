"""One function per task of a user: where the deciding and the computing half meet."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.errors import BadInput
from invnas.experiment import Experiment, parse_count
from invnas.measurement import MAC_CONVENTION, Trial
from invnas.run import Run
from invnas.search.live import LiveView
from invnas.search.loop import Engine, search
from invnas.search.sampler import make_sampler
from invnas.shipped import find
from invnas.space import Space, load_space
from invnas.space_check import Caps, SpaceCheck, check_space, smallest

if TYPE_CHECKING:
    from torch import nn

    from invnas.export import Exported

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
    _, facts = open_data(experiment.data)
    _check_caps(space, experiment, pricer(facts.input_shape, facts.classes))
    run = Run.create(
        run_dir,
        experiment,
        space_path,
        input_shape=facts.input_shape,
        classes=facts.classes,
        environment=environment(),
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


def _check_caps(space: Space, experiment: Experiment, price: Any) -> None:
    caps = Caps(experiment.max_macs, experiment.max_parameters)
    if str(caps):
        cost = smallest(space, price, experiment.seed, key=caps.excess)[2]
        if reason := caps.reason(cost):
            raise BadInput(
                f"nothing in the space {space.name} is within {caps}: of the smallest architecture, {reason}"
            )


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


def trained_network(run: Run, trial: Trial) -> nn.Module:
    """Return the network of a finished trial with its trained weights, in evaluation mode."""
    from invnas.nn import build
    from invnas.weights import load_weights

    network = build(trial.architecture, run.manifest.input_shape, run.manifest.classes)
    load_weights(network, run.weights_path(trial.number))
    return network.eval()


def measure_test(run: Run, trials: Sequence[Trial]) -> dict[int, float]:
    """Return the test accuracy of trials by number; each is measured once in the life of a run."""
    from invnas.engine.evaluate import open_data
    from invnas.training import test_top1

    known = run.test_top1()
    missing = [trial for trial in trials if trial.number not in known]
    if missing:
        data, facts = open_data(run.experiment.data)
        if _can_test(data):
            recipe = run.experiment.recipe
            found = {t.number: test_top1(trained_network(run, t), data, recipe, facts.classes) for t in missing}
            run.add_test_top1(found)
            known = run.test_top1()
    return {trial.number: known[trial.number] for trial in trials if trial.number in known}


def _can_test(data: Any) -> bool:
    from lightning.pytorch import LightningDataModule

    return type(data).test_dataloader is not LightningDataModule.test_dataloader


def write_report(run: Run | str | Path) -> Path:
    """Measure the front on the test images, write the report of a run, and return the path of its index.html."""
    from invnas import report
    from invnas.report.collect import collect

    run = run if isinstance(run, Run) else Run.open(run)
    front = run.front()
    # A second reader beside a running search must not write; it shows what has been tested.
    writable = run.locked() if front and not _is_locked(run) else nullcontext()
    with writable:
        tested = measure_test(run, front) if not isinstance(writable, nullcontext) else run.test_top1()
    data = collect(run.folder.name, run.experiment, run.trials(), _texts(run), tested)
    return report.write(data, run.folder / "report")


def _is_locked(run: Run) -> bool:
    try:
        with run.locked():
            return False
    except BadInput:
        return True


def _texts(run: Run) -> dict[str, str]:
    shape = " x ".join(map(str, run.manifest.input_shape))
    facts = {
        "images": f"{shape}, {run.manifest.classes} classes",
        "space": f"{run.space.name}, {run.space.size:,} points",
    }
    return {**facts, **{key: str(value) for key, value in run.manifest.environment.items()}}


def export_model(
    run: Run | str | Path,
    pick: str = "knee",
    formats: Sequence[str] = ("onnx", "pt2", "safetensors"),
    out: str | Path | None = None,
) -> Path:
    """Export a trained architecture of a run and return the folder.

    Args:
        run: The run or its folder.
        pick: "knee", "best", "trial=17", "max-macs=20M" or "max-parameters=1M".
        formats: Any of onnx, pt2, safetensors.
        out: Where to; by default `export` in the run folder.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    export_trial(run, run.pick(pick), formats, out)
    return Path(out) if out is not None else run.folder / "export"


def export_trial(run: Run, trial: Trial, formats: Sequence[str], out: str | Path | None = None) -> tuple[Exported, ...]:
    """Export a finished trial; each format is checked against the network, a mismatch raises."""
    from invnas.engine.evaluate import open_data
    from invnas.export import export

    data, described = open_data(run.experiment.data)
    assert trial.measurement is not None
    facts = {
        "data": run.experiment.data.class_path,
        "validation top-1": f"{trial.measurement.top1:.4f}",
        "run": f"{run.folder.name}, trial {trial.number} ({trial.architecture.kind})",
        "epochs": str(trial.measurement.epochs),
        "seed": str(run.experiment.seed),
        **{name: str(value) for name, value in run.manifest.environment.items()},
    }
    if (tested := run.test_top1().get(trial.number)) is not None:
        facts["test top-1"] = f"{tested:.4f}"
    if (normalisation := getattr(data, "normalisation", None)) is not None:
        facts["input normalisation"] = (
            f"values in 0..1, mean {_numbers(normalisation.mean)}, standard deviation {_numbers(normalisation.std)}"
        )
    return export(
        trained_network(run, trial),
        trial.architecture,
        run.manifest.input_shape,
        run.manifest.classes,
        Path(out) if out is not None else run.folder / "export",
        formats,
        facts,
        described.class_names,
    )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def retrain(run: Run | str | Path, pick: str = "knee", epochs: int | None = None, seeds: int = 3) -> dict[str, Any]:
    """Train an architecture of a run from scratch with several seeds, and measure each on the test images.

    Args:
        run: The run or its folder.
        pick: As in `export_model`.
        epochs: Epochs of each training; by default the recipe's.
        seeds: How many trainings, with seeds 0, 1, 2, ...

    Returns:
        Trial number, epochs, the test accuracy of each seed, their mean and standard deviation; also written to
        `retrain/` in the run folder, with the weights of each seed.
    """
    import statistics

    from invnas.engine.evaluate import evaluate, open_data
    from invnas.training import test_top1
    from invnas.weights import load_weights

    if seeds < 1:
        raise BadInput(f"`seeds` must be at least 1, but got {seeds}")
    run = run if isinstance(run, Run) else Run.open(run)
    trial = run.pick(pick)
    data, facts = open_data(run.experiment.data)
    if not _can_test(data):
        raise BadInput(f"{run.experiment.data.class_path} has no test_dataloader to measure on")
    recipe = run.experiment.recipe if epochs is None else replace(run.experiment.recipe, epochs=epochs)
    folder = run.folder / "retrain"
    scores = []
    for seed in range(seeds):
        name = f"trial{trial.number}-epochs{recipe.epochs}-seed{seed}"
        weights, checkpoints = folder / f"{name}.safetensors", folder / name
        experiment = replace(run.experiment, recipe=recipe, seed=seed)
        evaluate(
            trial.architecture, trial.cost, experiment, checkpoints=checkpoints, weights=weights, logs=folder / "logs"
        )
        shutil.rmtree(checkpoints, ignore_errors=True)
        network = trained_network(run, trial)
        load_weights(network, weights)
        scores.append(test_top1(network, data, recipe, facts.classes))
    spread = statistics.stdev(scores) if seeds > 1 else 0.0
    result = {
        "trial": trial.number,
        "epochs": recipe.epochs,
        "test_top1": scores,
        "mean": statistics.fmean(scores),
        "standard_deviation": spread,
    }
    (folder / f"trial{trial.number}-epochs{recipe.epochs}.json").write_text(json.dumps(result, indent=2))
    return result


def space_facts(
    name: str, input_shape: tuple[int, int, int], classes: int, max_macs: int | None, max_parameters: int | None
) -> SpaceCheck:
    """Return what a space holds, priced for one kind of image; see `MAC_CONVENTION` for what its MACs are."""
    from invnas.cost import pricer

    return check_space(load_space(name), pricer(input_shape, classes), Caps(max_macs, max_parameters))


__all__ = [
    "MAC_CONVENTION",
    "environment",
    "export_model",
    "export_trial",
    "measure_test",
    "resume_search",
    "retrain",
    "run_search",
    "space_facts",
    "trained_network",
    "write_report",
]
