"""What is done with a run: test its front, report, export, retrain."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.measurement import Trial
from invnas.run import Run

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule
    from torch import nn

    from invnas.export import Exported


def build_network(run: Run, trial: Trial) -> nn.Module:
    """Return the network of a trial, untrained, in evaluation mode."""
    from invnas.nn import build

    return build(trial.architecture, run.manifest.input_shape, run.manifest.classes).eval()


def trained_network(run: Run, trial: Trial) -> nn.Module:
    """Return the network of a finished trial with its trained weights, in evaluation mode."""
    from invnas.weights import load_weights

    network = build_network(run, trial)
    load_weights(network, run.weights_path(trial.number))
    return network


def measure_test(run: Run, trials: Sequence[Trial]) -> dict[int, float]:
    """Return the test accuracy of trials by number; each is measured once in the life of a run.

    Raises:
        BadInput: If the images, their test part or the weights are not there.
    """
    from invnas.training import test_top1

    missing = [trial for trial in trials if trial.number not in run.test_top1()]
    if missing:
        data, recipe, classes = _test_images(run), run.experiment.recipe, run.manifest.classes
        run.add_test_top1({t.number: test_top1(trained_network(run, t), data, recipe, classes) for t in missing})
    known = run.test_top1()
    return {trial.number: known[trial.number] for trial in trials}


def _test_images(run: Run) -> LightningDataModule:
    from lightning.pytorch import LightningDataModule

    from invnas.engine.evaluate import open_data

    data, _ = open_data(run.experiment.data)
    if type(data).test_dataloader is LightningDataModule.test_dataloader:
        raise BadInput(f"{run.experiment.data.class_path} has no test_dataloader to measure on")
    return data


def write_report(run: Run | str | Path, *, note: Callable[[str], None] = lambda sentence: None) -> Path:
    """Measure the front on the test images, write the report of a run, and return the path of its index.html.

    Args:
        run: The run or its folder.
        note: Told the reason, when the test accuracy cannot be measured; the report is written all the same.
    """
    from invnas import report
    from invnas.report.collect import collect

    run = run if isinstance(run, Run) else Run.open(run)
    try:
        with run.locked():
            measure_test(run, run.front())
    except BadInput as error:  # a search is writing, or the images or weights are not on this machine
        note(f"test accuracy is not measured: {error}")
    data = collect(run.folder.name, run.experiment, run.trials(), _texts(run), run.test_top1())
    return report.write(data, run.folder / "report")


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
    from invnas.export import export

    return export(
        trained_network(run, trial),
        trial.architecture,
        run.manifest.input_shape,
        run.manifest.classes,
        Path(out) if out is not None else run.folder / "export",
        formats,
        _card_facts(run, trial),
        run.manifest.class_names,
    )


def _card_facts(run: Run, trial: Trial) -> dict[str, str]:
    """Return what the model card says of where a network comes from."""
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
    if (scale := run.manifest.normalisation) is not None:
        mean, deviation = (", ".join(f"{value:.4f}" for value in scale[key]) for key in ("mean", "std"))
        facts["input normalisation"] = f"values in 0..1, mean {mean}, standard deviation {deviation}"
    return facts


def retrain(run: Run | str | Path, pick: str = "knee", epochs: int | None = None, seeds: int = 3) -> dict[str, Any]:
    """Train an architecture of a run from scratch with several seeds, and measure each on the test images.

    Args:
        run: The run or its folder.
        pick: As in `export_model`.
        epochs: Epochs of each training; by default the recipe's.
        seeds: How many trainings, with seeds 0, 1, 2, ...; those that an earlier call finished are not trained again.

    Returns:
        Trial number, epochs, the test accuracy of each seed, their mean and standard deviation; also written to
        `retrain/` in the run folder, with the weights of each seed.
    """
    if seeds < 1:
        raise BadInput(f"`seeds` must be at least 1, but got {seeds}")
    run = run if isinstance(run, Run) else Run.open(run)
    trial = run.pick(pick)
    recipe = run.experiment.recipe if epochs is None else replace(run.experiment.recipe, epochs=epochs)
    with run.locked():
        scores = [
            _retrained_top1(run, trial, replace(run.experiment, recipe=recipe, seed=seed)) for seed in range(seeds)
        ]
        result = {
            "trial": trial.number,
            "epochs": recipe.epochs,
            "test_top1": scores,
            "mean": statistics.fmean(scores),
            "standard_deviation": statistics.stdev(scores) if seeds > 1 else 0.0,
        }
        written = run.folder / "retrain" / f"trial{trial.number}-epochs{recipe.epochs}.json"
        written.write_text(json.dumps(result, indent=2), encoding="utf-8")
    return result


def _retrained_top1(run: Run, trial: Trial, experiment: Experiment) -> float:
    from invnas.engine.evaluate import evaluate
    from invnas.training import test_top1
    from invnas.weights import load_weights

    data, folder = _test_images(run), run.folder / "retrain"
    name = f"trial{trial.number}-epochs{experiment.recipe.epochs}-seed{experiment.seed}"
    weights, checkpoints = folder / f"{name}.safetensors", folder / name
    if not weights.is_file():
        evaluate(
            trial.architecture, trial.cost, experiment, checkpoints=checkpoints, weights=weights, logs=folder / "logs"
        )
        shutil.rmtree(checkpoints, ignore_errors=True)
    network = build_network(run, trial)
    load_weights(network, weights)
    return test_top1(network, data, experiment.recipe, run.manifest.classes)
