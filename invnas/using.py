"""What an exported model reaches on labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource
from invnas.report.evaluation import Evaluation, TaskEvaluation
from invnas.run import Run
from invnas.settings import path_of
from invnas.space import Space

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule

    from invnas.export.model import Predictor
    from invnas.facts import DataFacts
    from invnas.preprocessing import Preprocessing

Split = Literal["train", "validation", "test"]

_HOOKS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}
#: What of an evaluation is counted: true class, and what it was taken for.
_Pairs = Iterator[tuple[int, int]]


def evaluate_model(
    folder: str | Path,
    data: str | Path | DataSource | Run,
    split: Split = "test",
    *,
    space: str | Path | Space | None = None,
    preprocessing: Preprocessing | None = None,
    trust: bool = False,
) -> Evaluation | TaskEvaluation:
    """Return what an exported model reaches on labelled images: of a classifier the accuracy with its interval and what
    it confuses, of a model of another task what that measures.

    Args:
        folder: What `export_model` wrote, with the format safetensors among its formats.
        data: A folder with a folder of images for each class, called as in the model; a run or its folder, for the
            images of that run (a run folder is code); or a `DataSource`.
        split: Which images of a run or a source, and of a folder with a folder for each split.
        space: As in `load_model`.
        preprocessing: As in `load_model`.
        trust: As in `load_model`.

    Raises:
        BadInput: If the images or their classes are not those of the model.

    Example, after that of `export_model`:
        >>> from invnas import DataSource, evaluate_model
        >>> found = evaluate_model("models/a", DataSource("invnas.data.HardDigits"))
        >>> found.count, len(found.confusion)
        (359, 10)
    """
    from invnas.export import load_model

    if split not in _HOOKS:
        raise BadInput(f"unknown split '{split}'; {nearest(str(split), _HOOKS)}")
    predictor = load_model(folder, space, preprocessing, trust).predict
    if isinstance(data, DataSource | Run):
        return _of_source(predictor, data, split)
    path = path_of(data, "data")
    if (path / "run.json").is_file():
        return _of_source(predictor, Run.open(path), split)
    if predictor.task != "classification":
        raise BadInput(
            f"a folder with a folder of images for each class says nothing to the task '{predictor.task}': give the "
            "class path of a data module with its arguments, or a run"
        )
    return _of_folder(predictor, path, split)


def _of_folder(predictor: Predictor, root: Path, split: Split) -> Evaluation:
    from invnas.data.listing import SPLITS, class_folders, is_picture, split_folder

    if not root.is_dir():
        raise BadInput(f"there is no folder '{root}' with images to evaluate on")
    divided = any(split_folder(root, name) for name in SPLITS)
    folder = split_folder(root, split) if divided else root
    if folder is None:
        raise BadInput(f"'{root}' has no folder of {split} images; say which are meant by the split")
    predictor.check()
    names = class_folders(folder)
    numbers = _matched(predictor, names, len(names), f"the folders in '{folder}'")
    paths = [sorted(p for p in (folder / name).rglob("*") if is_picture(p, folder)) for name in names]
    if not any(paths):
        raise BadInput(f"'{folder}' has no images: each class needs a folder of its own with image files in it")

    def pairs() -> _Pairs:
        truth = [number for number, found in zip(numbers, paths, strict=True) for _ in found]
        for number, answer in zip(truth, predictor.each([p for found in paths for p in found]), strict=True):
            if isinstance(answer, BadInput):
                raise answer
            yield number, answer.index

    return _counted(predictor, pairs(), f"all of '{folder}'")


def _of_source(predictor: Predictor, source: DataSource | Run, split: Split) -> Evaluation | TaskEvaluation:
    """Evaluate on the batches of a data module, prepared as the model wants them."""
    from lightning.pytorch import LightningDataModule

    from invnas.data import describe, load_data
    from invnas.data.module import ImageDataModule
    from invnas.data.source import single_loader
    from invnas.engine.images import images_of
    from invnas.gate import user_code

    if isinstance(source, Run):
        (data, facts), path = images_of(source), source.experiment.data.class_path
    else:
        data, path = load_data(source), source.class_path
        facts = describe(data)
    if split == "test" and type(data).test_dataloader is LightningDataModule.test_dataloader:
        raise BadInput(f"{path} has no test_dataloader to evaluate on; take the validation images")
    _check_images(predictor, data, facts, path)
    numbers = _matched(predictor, facts.class_names, facts.classes, f"the classes of {path}")
    with user_code(f"`{path}.setup`"):
        data.setup("test" if split == "test" else "fit")
    if isinstance(data, ImageDataModule) and split == "train":
        raise BadInput(
            f"the training images of {path} are drawn and changed at random; take those of validation or test"
        )
    loader = single_loader(data, _HOOKS[split])
    origins = getattr(data, "origins", {})
    if predictor.task != "classification":
        names, own = facts.class_names, predictor.names
        if names is not None and own is not None and names != tuple(own):
            raise BadInput(
                f"{path} has the classes {', '.join(names)}, but the model {', '.join(own)}: they must be the same in "
                "the same order"
            )
        with user_code(f"the {split} loader of `{path}`"):
            return _by_task(predictor, loader, facts, f"{origins.get(split, split)}, {path}")
    with user_code(f"the {split} loader of `{path}`"):
        return _counted(predictor, _answers(predictor, loader, numbers), f"{origins.get(split, split)}, {path}")


def _check_images(predictor: Predictor, data: LightningDataModule, facts: DataFacts, path: str) -> None:
    """Raise unless a source prepares its images as the model wants them, all but mean and deviation, which are set."""
    from invnas.data.module import ImageDataModule
    from invnas.data.normalisation import Normalisation

    how = predictor.used.preprocessing
    shape = (how.channels, *how.size)
    if facts.input_shape != shape:
        raise BadInput(
            f"{path} gives images of {' x '.join(map(str, facts.input_shape))}, but the model takes "
            f"{' x '.join(map(str, shape))}: say so in its arguments (image_size, channels)"
        )
    if not isinstance(data, ImageDataModule) or predictor.used.missing:
        return
    own = replace(data.preprocessing, mean=how.mean, std=how.std, span=how.span)
    if own != how:
        raise BadInput(
            f"{path} keeps {own.crop:g} of the centre of an image, but the model was trained on {how.crop:g}"
        )
    assert how.mean is not None
    assert how.std is not None
    data.normalisation = Normalisation(how.mean, how.std)


def _by_task(predictor: Predictor, loader: Any, facts: DataFacts, images: str) -> TaskEvaluation:
    """Return what the Learner of a task measures on the batches of a loader."""
    import torch

    from invnas.experiment import Recipe
    from invnas.task import load_task

    task, seen = load_task(predictor.task), 0
    learner = task.module(predictor.network, facts, Recipe()).eval()
    check = task.check_targets(facts)
    with torch.no_grad():
        for batch, targets in loader:
            check(targets, len(batch), False)
            learner.measure(learner(batch), targets)
            seen += len(batch)
    if not seen:
        raise BadInput(f"there are no images to evaluate on: {images}")
    found = learner.measured()
    values = {one.name: found[one.name] for one in task.objectives if one.name in found}
    return TaskEvaluation(images, values, _names(predictor), learner.class_values())


def _answers(predictor: Predictor, loader: Any, numbers: Sequence[int]) -> _Pairs:
    import torch

    from invnas.tasks.classification.labels import as_classes

    with torch.no_grad():
        for images, labels in loader:
            taken = predictor.network(images.float()).argmax(dim=1).tolist()
            truth = as_classes(labels, len(numbers)).tolist()
            yield from ((numbers[label], number) for label, number in zip(truth, taken, strict=True))


def _matched(predictor: Predictor, names: Sequence[str] | None, count: int, whose: str) -> list[int]:
    """Return the number in the model of each class of the data: by its name, or where there are none by its place."""
    known, size = predictor.names, len(_names(predictor))
    if names is None or known is None:
        if count != size:
            raise BadInput(f"the model has {size} classes, but {whose} are {count}, and not all have names to match")
        return list(range(count))
    for name in names:
        if name not in known:
            raise BadInput(f"the model has no class '{name}', which is one of {whose}; {nearest(name, known)}")
    return [known.index(name) for name in names]


def _names(predictor: Predictor) -> tuple[str, ...]:
    if predictor.names is not None:
        return tuple(predictor.names)
    return tuple(map(str, range(predictor.classes)))


def _counted(predictor: Predictor, pairs: _Pairs, images: str) -> Evaluation:
    names = _names(predictor)
    counts = [[0] * len(names) for _ in names]
    for truth, taken in pairs:
        counts[truth][taken] += 1
    if not any(map(any, counts)):
        raise BadInput(f"there are no images to evaluate on: {images}")
    return Evaluation(images, names, tuple(map(tuple, counts)))
