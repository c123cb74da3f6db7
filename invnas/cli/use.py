"""The commands that use an exported model: predict, evaluate. Their docstrings are the help."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource

if TYPE_CHECKING:
    from invnas.preprocessing import Preprocessing
    from invnas.report.evaluation import Evaluation, TaskEvaluation


def predict(
    model: str,
    images: tuple[str, ...],
    *,
    top: int | None = None,
    out: str | None = None,
    preprocessing: str | None = None,
    space: str | None = None,
    trust: bool = False,
    json: bool = False,
) -> None:
    """Say what an exported model finds in each image: its class, of each class the share, or objects with their boxes.

    Images may have any size.

    Args:
        model: Folder of an export with the format safetensors among its formats.
        images: Image files, folders of them, or patterns such as 'photos/*.jpg'.
        top: How many of the most probable or largest classes, or of the surest objects are named; by default 1, of a
            segmentation or a detection 5.
        out: Folder for PNG files: masks of a segmentation, with the numbers of the classes; of a detection the images
            with boxes drawn, from a score of 0.3 on.
        preprocessing: JSON file that says what is done to an image, where the export does not know it.
        space: Name or Python file of the space that defines your own types, when the network has any.
        trust: Execute the space.py of the export, which defines such types, and a task of its own: code of whoever
            made the export.
        json: Print the result as JSON.
    """
    if top is not None and top < 1:
        raise BadInput(f"`top` must be at least 1, but got {top}")
    paths = list(dict.fromkeys(path for word in images for path in _files(word)))
    from invnas.cli.tables import print_json
    from invnas.export import load_model

    predictor = load_model(model, space, _read(preprocessing), trust).predict
    names = {} if out is None else _files_for(Path(out), paths)
    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    width = max(map(len, paths))
    for path, answer in zip(paths, predictor.each(paths), strict=True):
        if isinstance(answer, BadInput):
            failed.append({"image": path, "reason": str(answer)})
            continue
        said = {"image": path, **answer.to_dict(top)}
        if out is not None:
            said["saved"] = str(_saved(answer, names[path], path, predictor.task))
        found.append(said)
        if not json:
            print(f"{path:<{width}}  {answer.words(top)}", flush=True)
    if json:
        print_json({"model": model, "images": found, "failed": failed})
    if failed:
        raise BadInput(f"{len(failed)} of {len(paths)} images: {'; '.join(one['reason'] for one in failed)}")


def _saved(answer: Any, file: Path, picture: str, task: str) -> Path:
    """Write what can be drawn of an answer, and return the file."""
    if not hasattr(answer, "save"):
        raise BadInput(
            f"`out` is for answers that can be drawn, but the model was trained for the task '{task}', whose answers "
            "are words"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        answer.save(file, picture)
    except OSError as error:
        raise BadInput(f"cannot write into '{file.parent}': {error.strerror}") from None
    return file


def _files_for(folder: Path, paths: list[str]) -> dict[str, Path]:
    """Return the file for the answer about each image in a folder; equal names get numbers."""
    found: dict[str, Path] = {}
    taken: set[str] = set()
    for path in paths:
        stem = name = Path(path).stem
        number = 2
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        found[path] = folder / f"{name}.png"
    return found


def _files(word: str) -> Iterator[str]:
    """Yield the files that a word means, as they are called; what is not there is told when it is its turn."""
    from invnas.data.listing import is_picture

    path = Path(word)
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("*") if is_picture(file, path))
        if not found:
            raise BadInput(f"the folder '{word}' has no images")
        yield from found
    elif not path.exists() and glob.has_magic(word):
        matched = sorted(glob.glob(word, recursive=True))
        if not matched:
            raise BadInput(f"no file matches '{word}'")
        yield from (file for name in matched for file in (_files(name) if Path(name).is_dir() else [name]))
    else:
        yield word


def _read(file: str | None) -> Preprocessing | None:
    from invnas.export.preprocess import read_preprocessing

    return None if file is None else read_preprocessing(Path(file))


def evaluate(
    model: str,
    data: str,
    *,
    split: Literal["train", "validation", "test"] = "test",
    init_args: dict[str, Any] | None = None,
    out: str | None = None,
    preprocessing: str | None = None,
    space: str | None = None,
    trust: bool = False,
    json: bool = False,
) -> None:
    """Say what an exported model reaches on labelled images: what its task measures, class by class, and what a
    classifier confuses.

    Args:
        model: Folder of an export with the format safetensors among its formats.
        data: A folder with a folder of images for each class; the folder of a run (which is code), a YAML file or an
            experiment that comes with invnas, for the images of it; or the class path of a data module.
        split: Which images of a run or a data module, or of a folder with a folder for each split.
        init_args: Arguments of the data module by name, such as "{root: photos}".
        out: Folder for the picture of what was taken for what (confusion.png and confusion.svg).
        preprocessing: JSON file that says what is done to an image, where the export does not know it.
        space: Name or Python file of the space that defines your own types, when the network has any.
        trust: Execute the space.py of the export, which defines such types, and a task of its own: code of whoever
            made the export.
        json: Print the result as JSON.
    """
    where = _source(data, init_args)
    from invnas.cli.tables import print_json
    from invnas.report.evaluation import Evaluation
    from invnas.using import evaluate_model

    found = evaluate_model(model, where, split, space=space, preprocessing=_read(preprocessing), trust=trust)
    if json:
        print_json({"model": model, **found.to_dict()})
    elif isinstance(found, Evaluation):
        _print(found)
    else:
        _print_by_task(found)
    if out is not None:
        if not isinstance(found, Evaluation):
            raise BadInput("`out` is for the picture of what a classifier confuses, but the model is none")
        from invnas.report.confusion import write

        picture, *_ = write(found, Path(out))
        if not json:
            print(f"picture: {picture}")


def _source(data: str, init_args: dict[str, Any] | None) -> str | DataSource:
    """Return the folder or the data module that a word means."""
    from invnas.data import _HOME
    from invnas.shipped import shipped

    if Path(data).is_dir():
        if init_args is not None:
            raise BadInput(f"`init_args` are those of a data module, but '{data}' is a folder")
        return data
    named = data.rpartition(".")[0] if "." in data and Path(data).suffix not in (".yaml", ".yml") else ""
    if (named and "/" not in data) or (data in _HOME and data[:1].isupper()):
        return DataSource(data, init_args or {})
    known = shipped("experiments")
    if Path(data).suffix not in (".yaml", ".yml") and data not in known and not Path(data).is_file():
        raise BadInput(
            f"there is nothing called '{data}' to evaluate on: it must be a folder with a folder of images for each "
            "class, the folder of a run, a YAML file, the class path of a data module, or an experiment that comes "
            f"with invnas ({nearest(data, known)})"
        )
    return _in_file(data, init_args)


def _in_file(name: str, init_args: dict[str, Any] | None) -> DataSource:
    import yaml

    from invnas.cli.yaml_text import read_yaml
    from invnas.shipped import find

    path = find("experiments", name)
    read_yaml(path)  # refuses what is malformed, too large or no plain data
    said = yaml.safe_load(path.read_text(encoding="utf-8-sig")).get("data") or {}
    if not isinstance(said, dict) or not {"class_path", "init_args"} >= set(said):
        raise BadInput(f"{path}: `data` must hold class_path and init_args")
    source = DataSource(**said)
    return DataSource(source.class_path, {**source.init_args, **(init_args or {})})


def _print_by_task(found: TaskEvaluation) -> None:
    from invnas.cli.tables import print_table

    first, *others = found.values
    if found.by_class:
        rows = [
            [name, "" if value is None else f"{value:.4f}"]
            for name, value in zip(found.class_names, found.by_class, strict=False)
        ]
        print_table(f"class by class, {found.images}", ("class", first), rows)
    said = [f"{name} {found.values[name]:.4f}" for name in (first, *others)]
    print(f"{', '.join(said)} ({found.images})")


def _print(found: Evaluation) -> None:
    from invnas.cli.tables import print_table

    rows = [
        [name, f"{sum(row):,}", f"{row[i]:,}", f"{row[i] / sum(row):.4f}" if sum(row) else ""]
        for i, (name, row) in enumerate(zip(found.class_names, found.confusion, strict=True))
    ]
    print_table(f"class by class, {found.images}", ("class", "images", "right", "accuracy"), rows)
    low, high = found.interval
    print(f"accuracy {found.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f} ({found.right:,} of {found.count:,})")
