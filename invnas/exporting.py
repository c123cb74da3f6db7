"""A trained architecture of a run shipped: weights of the search or of a retraining, with a card that says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource
from invnas.measurement import Trial
from invnas.objective import Objective
from invnas.retrained import Place, Retrained, Seed
from invnas.retraining import WHERE
from invnas.run import Run
from invnas.settings import path_of
from invnas.trained import trained_network

if TYPE_CHECKING:
    from invnas.export import Exported
    from invnas.export.int8 import Judges

#: The word with which a pick names what `retrain` has trained.
RETRAINED = "retrained"


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
        pick: Weights of the search: "knee", "best", "trial=17", "max-macs=20M" or "max-parameters=1M". Or those of a
            retraining: "retrained" is the one that trained last, with its best seed by the validation images, or its
            first seed where those were trained on (never chosen by the test images); "retrained:seed=1" is a seed of
            it, "retrained:NAME" and "retrained:NAME:seed=1" another retraining by the name that `retrain` returned.
        formats: Any of onnx, pt2, pte (ExecuTorch), openvino, safetensors.
        out: Where to; by default `export` in the run folder.
        with_preprocessing: Also write `model_with_preprocessing.onnx`, which takes the bytes of an image of any size;
            of a segmenter it returns a mask, of a RetinaNet boxes, and beside it `model_with_postprocessing.onnx`, of
            batches of images.
        int8: Also write `model_int8.onnx` and, for pte, `model_int8.pte`, calibrated by validation images; the card
            says their accuracy and time.
        max_drop: Percentage points of accuracy that it may lose before that is said to be too much.

    Raises:
        BadInput: If there is nothing of that name, or it cannot be exported so; as `export` does.

    Example, after that of `run_search`:
        >>> from invnas import export_model, retrain
        >>> exported = export_model("runs/example", formats=["safetensors"], out="models/a")
        >>> sorted(path.name for path in exported.iterdir())
        ['README.md', 'architecture.json', 'model.safetensors', 'preprocess.json']
        >>> found = retrain("runs/example", pick="knee", epochs=2, seeds=1, quiet=True)
        >>> final = export_model("runs/example", pick="retrained", formats=["safetensors"], out="models/final")
        >>> f"retrained from scratch | {found['name']}, 2 epochs" in (final / "README.md").read_text()
        True
    """
    run = run if isinstance(run, Run) else Run.open(run)
    folder = path_of(out, "out") if out is not None else run.folder / "export"
    export_trial(run, picked(run, pick), formats, folder, with_preprocessing, int8, max_drop)
    return folder


@dataclass(frozen=True)
class Picked:
    """Which weights of a run are meant.

    Attributes:
        trial: Of which trial.
        retrained: Of which retraining; None for those of the search.
        seed: Which seed of it.
    """

    trial: Trial
    retrained: Retrained | None = None
    seed: Seed | None = None

    @property
    def words(self) -> str:
        """What to call them."""
        said = f"trial {self.trial.number} ({self.trial.architecture.kind})"
        if self.retrained is None or self.seed is None:
            return said
        return f"{said}, seed {self.seed.seed} of its retraining {self.retrained.asked.name}"


def picked(run: Run, text: str) -> Picked:
    """Return the weights that a user's words name, as `export_model` says.

    Raises:
        BadInput: If the words are unknown, or name nothing that is done.
    """
    word, *parts = str(text).split(":")
    if word != RETRAINED:
        return Picked(run.pick(text))
    done = [one for one in run.retrained() if one.seeds]
    if not done:
        raise BadInput(
            f"cannot pick '{text}': nothing of {run.folder} was retrained to its end yet "
            f"(invnas retrain {run.folder} --pick knee --epochs 100)"
        )
    found, names = max(done, key=lambda one: one.ended), {one.asked.name: one for one in done}
    if parts and parts[0] in names:
        found = names[parts.pop(0)]
    which = parts.pop(0) if parts else "best"
    seeds = {f"seed={one.seed}": one for one in found.seeds}
    if parts or which not in ("best", *seeds):
        if which.startswith("seed=") and not parts:
            known = ", ".join(str(one.seed) for one in found.seeds)
            raise BadInput(f"cannot pick '{text}': {found.asked.name} has finished the seeds {known}")
        raise BadInput(f"cannot pick '{text}'; {nearest(':'.join([which, *parts]), ['best', *seeds, *names])}")
    seed = found.best(run.experiment.leading) if which == "best" else seeds[which]
    return Picked(run.pick(f"trial={found.asked.trial}"), found, seed)


def export_trial(
    run: Run,
    trial: Trial | Picked,
    formats: Sequence[str],
    out: str | Path | None = None,
    with_preprocessing: bool = False,
    int8: bool = False,
    max_drop: float = 1.0,
) -> tuple[Exported, ...]:
    """Export a finished trial, or a seed of its retraining; each format is checked against the network."""
    from invnas.data.source import preprocessing_of
    from invnas.export import export

    which = Picked(trial) if isinstance(trial, Trial) else trial
    source, facts, weights = run.experiment.data, run.manifest.facts, None
    if which.retrained is not None and which.seed is not None:
        asked = which.retrained.asked
        source, facts, weights = asked.data, which.retrained.facts, Place.of(run.folder, asked).weights(which.seed.seed)
    return export(
        trained_network(run, which.trial, weights),
        which.trial.architecture,
        run.manifest.facts.input_shape,
        run.manifest.facts.classes,
        Path(out) if out is not None else run.folder / "export",
        formats,
        _card_facts(run, which),
        run.manifest.facts.class_names,
        run.experiment.task,
        preprocessing_of(source, facts),
        with_preprocessing,
        _judges(run, source, which, max_drop) if int8 else None,
        run.space_text,
    )


def _judges(run: Run, source: DataSource, which: Picked, max_drop: float) -> Judges:
    """Return the validation images that weights were chosen by, as a network sees them."""
    from invnas.data.source import single_loader
    from invnas.engine.images import images_of, open_data
    from invnas.export.int8 import Judges
    from invnas.gate import user_code
    from invnas.tasks.classification.labels import as_classes

    if not 0 <= max_drop <= 100:
        raise BadInput(f"`max_drop` must be percentage points from 0 to 100, but got {max_drop:g}")
    if run.experiment.task != "classification":
        raise BadInput(f"an int8 file is judged by its accuracy, which the task '{run.experiment.task}' has not")
    data, facts = images_of(run) if source == run.experiment.data else open_data(source, run.experiment.what)
    loader = single_loader(data, "val_dataloader")
    with user_code(f"the validation loader of `{source.class_path}`"):
        batches = [(images.float(), as_classes(labels, facts.classes)) for images, labels in loader]
    trained = which.retrained is not None and which.retrained.asked.all_data
    return Judges(batches, max_drop, "validation images (trained on, too)" if trained else "validation images")


def _card_facts(run: Run, which: Picked) -> dict[str, str]:
    """Return what the model card says of where weights come from."""
    trial, objectives = which.trial, run.experiment.what.objectives
    assert trial.measurement is not None
    of_run = {"run": f"{run.folder.name}, trial {trial.number} ({trial.architecture.kind})"}
    if which.retrained is not None and which.seed is not None:
        found = {**of_run, **_retrained(run, which.retrained, which.seed)}
    else:
        found = {
            "data": run.experiment.data.class_path,
            **_values("validation", objectives, trial.measurement.values),
            **of_run,
            "epochs": str(trial.measurement.epochs),
            "seed": str(run.experiment.seed),
            **_values("test", objectives, run.tested().get(trial.number, {})),
        }
    return {**found, **{name: str(value) for name, value in run.manifest.environment.items()}}


def _values(split: str, objectives: Sequence[Objective], values: Mapping[str, float]) -> dict[str, str]:
    return {f"{split} {axis.label}": axis.exact(values[axis.name]) for axis in objectives if axis.name in values}


def _retrained(run: Run, found: Retrained, seed: Seed) -> dict[str, str]:
    """Return what the card says of a retraining."""
    asked, objectives, recipe = found.asked, run.experiment.what.objectives, found.asked.recipe.resolved()
    said = {
        "retrained from scratch": f"{asked.name}, {recipe.epochs} epochs",
        "data": asked.data.class_path,
        "trained on": found.trained_on,
        "recipe": ", ".join(f"{name} {value}" for name, value in asdict(recipe).items() if name not in WHERE),
        "options that differ from the search": asked.words(run.experiment) or "none",
        "seed": str(seed.seed),
        **_values("validation", objectives, seed.validation),
        **_values("test", objectives, seed.test),
    }
    if len(found.seeds) == 1:
        return said
    if seed == found.best(run.experiment.leading):
        chosen = "the first of" if asked.all_data else "the best by the validation images of"
        said["seed"] += f", {chosen} {len(found.seeds)}"
    for axis in objectives:
        if axis.name in seed.test:
            mean, deviation = found.spread(axis.name)
            spread = "" if deviation is None else f" ± {axis.exact(deviation)} (mean ± sd)"
            said[f"test {axis.label} over {len(found.seeds)} seeds"] = f"{axis.exact(mean)}{spread}"
    return said
