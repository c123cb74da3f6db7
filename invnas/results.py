"""What is done with a run: test its front, report, export, retrain."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.belief import Outlook
from invnas.errors import BadInput, InvnasError, TrialFailed
from invnas.experiment import Experiment
from invnas.files import write_text
from invnas.measurement import Trial
from invnas.run import Run
from invnas.settings import path_of, whole

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule
    from torch import nn

    from invnas.export import Exported
    from invnas.export.int8 import Judges
    from invnas.facts import DataFacts
    from invnas.progress import ProgressBar
    from invnas.report.collect import Beyond


def build_network(run: Run, trial: Trial) -> nn.Module:
    """Return the network of a trial, untrained, in evaluation mode."""
    from invnas.nn import build

    facts = run.manifest.facts
    return build(trial.architecture, facts.input_shape, run.experiment.what.head(facts)).eval()


def trained_network(run: Run, trial: Trial) -> nn.Module:
    """Return the network of a finished trial with its trained weights, in evaluation mode."""
    from invnas.weights import load_weights

    network = build_network(run, trial)
    load_weights(network, run.weights_path(trial.number))
    return network


def measure_test(
    run: Run, trials: Sequence[Trial], *, note: Callable[[str], None] = lambda sentence: None
) -> dict[int, dict[str, float]]:
    """Return what trials reach on the test images, by number; each is measured once in the life of a run.

    Args:
        run: The run, locked.
        trials: Complete ones.
        note: Told why a trial has no number: its weights are gone, or what came out is not finite.

    Raises:
        BadInput: If the images or their test part are not there, or none of the trials has weights.
        Exception: Whatever a user's own data module raises.
    """
    missing = [trial for trial in trials if trial.number not in run.tested()]
    if missing:
        data, facts = _test_images(run)
        failed = [why for trial in missing if (why := _measure_one(run, trial, data, facts, note))]
        if len(failed) == len(missing):
            raise BadInput(failed[0])
        for why in failed:
            note(why)
    known = run.tested()
    return {trial.number: known[trial.number] for trial in trials if trial.number in known}


def _measure_one(
    run: Run, trial: Trial, data: LightningDataModule, facts: DataFacts, note: Callable[[str], None]
) -> str:
    """Measure and record a trial; return why it cannot be, or nothing."""
    from invnas.training import measure_on_test

    try:
        network = trained_network(run, trial)
    except BadInput as error:
        return str(error)
    found = measure_on_test(
        network, data, run.experiment, facts, note=lambda said: note(f"trial {trial.number}: {said}")
    )
    run.add_tested({trial.number: found})
    return ""


def _test_images(run: Run) -> tuple[LightningDataModule, DataFacts]:
    from lightning.pytorch import LightningDataModule

    from invnas.engine.images import images_of

    data, facts = images_of(run)
    if type(data).test_dataloader is LightningDataModule.test_dataloader:
        raise BadInput(f"{run.experiment.data.class_path} has no test_dataloader to measure on")
    return data, facts


def write_report(
    run: Run | str | Path, *, trust: bool = True, note: Callable[[str], None] = lambda sentence: None
) -> Path:
    """Measure the front on the test images, write the report of a run, and return the path of its index.html.

    Args:
        run: The run or its folder. A run folder is code: its space.py and its data module are executed.
        trust: False for a folder of a stranger: nothing in it is executed, and no test accuracy is measured.
        note: Told the reason, when the test accuracy cannot be measured; the report is written all the same.

    Example, after that of `run_search`:
        >>> from invnas import write_report
        >>> write_report("runs/example").name
        'index.html'
    """
    from invnas import report
    from invnas.report.collect import collect

    run = run if isinstance(run, Run) else Run.open(run, trust=trust)
    try:
        with run.locked():
            measure_test(run, run.front(), note=note)
    except (Exception, SystemExit) as error:  # a search is writing, or images, weights or the user's own code fail
        note(f"test accuracy is not measured: {_said(error)}")
    data = collect(
        run.folder.name, run.experiment, run.trials(), _texts(run), run.tested(), belief=run.belief, beyond=_beyond(run)
    )
    return report.write(data, run.folder / "report")


def _beyond(run: Run) -> Beyond:
    """Return what a report shows beside the trials; what needs the code of the run is left out without trust."""
    from invnas.report.answers import sizes
    from invnas.report.collect import Beyond
    from invnas.report.sections import prior_of
    from invnas.search.outlook import influences

    facts, experiment, trials = run.manifest.facts, run.experiment, run.trials()
    found = Beyond(
        Outlook(influences(run.belief, run.trials("search"), experiment.axes)),
        retrained=run.retrained(),
        sizes=sizes(facts.counts, facts.origins),
        images=facts.counts.get("validation"),
        ended="" if run.ended is None else run.ended[1],
        ends=run.manifest.ends,
        classes=facts.class_names or (),
    )
    if not run.trusted:
        return found
    from invnas.cost import pricer
    from invnas.search.outlook import Candidates

    price = pricer(facts.input_shape, experiment.what.head(facts))
    candidates = Candidates(run.space, price, experiment.caps, experiment.axes, experiment.seed)
    prospects = tuple(candidates.ranked(run.belief, trials))
    prior = prior_of(run.space, experiment.seed)
    return replace(found, outlook=replace(found.outlook, prospects=prospects), prior=prior)


def _said(error: BaseException) -> str:
    from invnas.engine.evaluate import reason_of

    return reason_of(error) if isinstance(error, Exception) else f"the data module called sys.exit({error})"


def _texts(run: Run) -> dict[str, str]:
    facts = {
        "images": " x ".join(map(str, run.manifest.facts.input_shape)),
        **run.experiment.what.describe(run.manifest.facts),
        **{f"{split} images": words for split, words in run.manifest.facts.origins.items()},
        "space": f"{run.space.name}, {run.space.size:,} points" if run.trusted else run.experiment.space,
    }
    return {**facts, **{key: str(value) for key, value in run.manifest.environment.items()}}


def export_model(
    run: Run | str | Path,
    pick: str = "knee",
    formats: Sequence[str] = ("onnx", "pt2", "safetensors"),
    out: str | Path | None = None,
    with_preprocessing: bool = False,
    int8: bool = False,
    max_drop: float = 1.0,
) -> Path:
    """Export a trained architecture of a run and return the folder.

    Args:
        run: The run or its folder.
        pick: "knee", "best", "trial=17", "max-macs=20M" or "max-parameters=1M".
        formats: Any of onnx, pt2, pte (ExecuTorch), openvino, safetensors.
        out: Where to; by default `export` in the run folder.
        with_preprocessing: Also write `model_with_preprocessing.onnx`, which takes the bytes of an image of any size.
        int8: Also write `model_int8.onnx` and, for pte, `model_int8.pte`, calibrated by validation images; the card
            says their accuracy and time.
        max_drop: Percentage points of accuracy that it may lose before that is said to be too much.

    Example, after that of `run_search`:
        >>> from invnas import export_model
        >>> exported = export_model("runs/example", formats=["safetensors"], out="models/a")
        >>> sorted(path.name for path in exported.iterdir())
        ['README.md', 'architecture.json', 'model.safetensors', 'preprocess.json']
    """
    run = run if isinstance(run, Run) else Run.open(run)
    folder = path_of(out, "out") if out is not None else run.folder / "export"
    export_trial(run, run.pick(pick), formats, folder, with_preprocessing, int8, max_drop)
    return folder


def export_trial(
    run: Run,
    trial: Trial,
    formats: Sequence[str],
    out: str | Path | None = None,
    with_preprocessing: bool = False,
    int8: bool = False,
    max_drop: float = 1.0,
) -> tuple[Exported, ...]:
    """Export a finished trial; each format is checked against the network, a mismatch raises."""
    from invnas.data.source import preprocessing_of
    from invnas.export import export

    return export(
        trained_network(run, trial),
        trial.architecture,
        run.manifest.facts.input_shape,
        run.manifest.facts.classes,
        Path(out) if out is not None else run.folder / "export",
        formats,
        _card_facts(run, trial),
        run.manifest.facts.class_names,
        run.experiment.task,
        preprocessing_of(run.experiment.data, run.manifest.facts),
        with_preprocessing,
        _judges(run, max_drop) if int8 else None,
    )


def _judges(run: Run, max_drop: float) -> Judges:
    """Return the validation images of a run, as a network sees them."""
    from invnas.data.source import single_loader
    from invnas.engine.images import images_of
    from invnas.export.int8 import Judges
    from invnas.gate import user_code
    from invnas.tasks.classification.labels import as_classes

    if not 0 <= max_drop <= 100:
        raise BadInput(f"`max_drop` must be percentage points from 0 to 100, but got {max_drop:g}")
    if run.experiment.task != "classification":
        raise BadInput(f"an int8 file is judged by its accuracy, which the task '{run.experiment.task}' has not")
    data, facts = images_of(run)
    loader = single_loader(data, "val_dataloader")
    with user_code(f"the validation loader of `{run.experiment.data.class_path}`"):
        batches = [(images.float(), as_classes(labels, facts.classes)) for images, labels in loader]
    return Judges(batches, max_drop)


def _card_facts(run: Run, trial: Trial) -> dict[str, str]:
    """Return what the model card says of where a network comes from."""
    assert trial.measurement is not None
    facts = {
        "data": run.experiment.data.class_path,
        **{
            f"validation {axis.label}": axis.exact(trial.measurement[axis.name])
            for axis in run.experiment.what.objectives
            if axis.name in trial.measurement
        },
        "run": f"{run.folder.name}, trial {trial.number} ({trial.architecture.kind})",
        "epochs": str(trial.measurement.epochs),
        "seed": str(run.experiment.seed),
        **{name: str(value) for name, value in run.manifest.environment.items()},
    }
    tested = run.tested().get(trial.number, {})
    facts |= {
        f"test {axis.label}": axis.exact(tested[axis.name])
        for axis in run.experiment.what.objectives
        if axis.name in tested
    }
    return facts


def retrain(
    run: Run | str | Path, pick: str = "knee", epochs: int | None = None, seeds: int = 3, *, quiet: bool = False
) -> dict[str, Any]:
    """Train an architecture of a run from scratch with several seeds, and measure each on the test images.

    A seed decides first weights, order and augmentation; the split of the images stays that of the run. A call that was
    interrupted goes on from the last epoch when it is made again.

    Args:
        run: The run or its folder.
        pick: As in `export_model`.
        epochs: Epochs of each training; by default the recipe's. The recipe's `max_minutes` is not for them.
        seeds: How many trainings, with seeds 0, 1, 2, ...; those that an earlier call finished are not trained again.
        quiet: Show no progress.

    Returns:
        Trial number, epochs, the test accuracy of each seed, their mean and standard deviation; also written to
        `retrain/` in the run folder, with the weights of each seed.

    Raises:
        BadInput: If the run has no such trial, or its images or their test part are not there.
        TrialFailed: If a training fails, or its number on the test images is not finite.

    Example, after that of `run_search`:
        >>> from invnas import retrain
        >>> len(retrain("runs/example", pick="best", epochs=1, seeds=2, quiet=True)["test_top1"])
        2
    """
    from invnas.progress import ProgressBar

    seeds = whole(seeds, "seeds")
    if seeds < 1:
        raise BadInput(f"`seeds` must be at least 1, but got {seeds}")
    run = run if isinstance(run, Run) else Run.open(run)
    trial = run.pick(pick)
    given = run.experiment.recipe
    recipe = replace(given, epochs=given.epochs if epochs is None else epochs, max_minutes=None)
    asked = [replace(run.experiment, recipe=recipe, seed=seed) for seed in range(seeds)]
    with run.locked(), ProgressBar("retrain", seeds * recipe.epochs, quiet=quiet) as bar:
        scores = [_retrained(run, trial, experiment, bar) for experiment in asked]
        main = [score[run.experiment.what.tested[0]] for score in scores]
        result = {
            "trial": trial.number,
            "epochs": recipe.epochs,
            **{f"test_{name}": [score[name] for score in scores] for name in scores[0]},
            "mean": statistics.fmean(main),
            "standard_deviation": statistics.stdev(main) if seeds > 1 else 0.0,
        }
        written = run.folder / "retrain" / f"trial{trial.number}-epochs{recipe.epochs}.json"
        write_text(written, json.dumps(result, indent=2))
    return result


def _retrained(run: Run, trial: Trial, experiment: Experiment, bar: ProgressBar) -> dict[str, float]:
    from invnas.engine.evaluate import evaluate
    from invnas.training import measure_on_test
    from invnas.weights import load_weights

    (data, facts), folder = _test_images(run), run.folder / "retrain"
    seed, epochs = experiment.seed, experiment.recipe.epochs
    name = f"trial{trial.number}-epochs{epochs}-seed{seed}"
    weights, checkpoints = folder / f"{name}.safetensors", folder / name
    done = 0

    def on_epoch(epoch: int, values: Mapping[str, float]) -> None:
        nonlocal done
        bar.skip(epoch - 1 - done)
        bar.step(f"seed {seed}, epoch {epoch} of {epochs}, train loss {values['train_loss']:.3g}", last=epoch == epochs)
        done = epoch

    network, logs = build_network(run, trial), folder / "logs" / name
    try:
        try:
            load_weights(network, weights)
        except BadInput:  # not there, or torn
            evaluate(
                trial.architecture, experiment, checkpoints=checkpoints, weights=weights, logs=logs, on_epoch=on_epoch
            )
            shutil.rmtree(checkpoints, ignore_errors=True)
            load_weights(network, weights)
        bar.skip(epochs - done)
        found = measure_on_test(network, data, experiment, facts)
        if missing := [name for name in experiment.what.tested if name not in found]:
            raise TrialFailed(f"its {missing[0]} on the test images is not finite")
    except Exception as error:
        if isinstance(error, InvnasError) and not isinstance(error, TrialFailed):
            raise
        raise TrialFailed(f"the training with seed {seed} failed: {_said(error)}") from error
    return found
