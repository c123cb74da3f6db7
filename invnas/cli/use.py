"""The commands that use an exported model: predict, evaluate. Their docstrings are the help."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invnas.errors import BadInput, nearest
from invnas.experiment import DataSource

if TYPE_CHECKING:
    from invnas.export.model import Predictor
    from invnas.preprocessing import Preprocessing
    from invnas.report.evaluation import Evaluation


def predict(
    model: str,
    images: tuple[str, ...],
    *,
    top: int = 1,
    preprocessing: str | None = None,
    space: str | None = None,
    trust: bool = False,
    json: bool = False,
) -> None:
    """Name the class of each image by an exported model; images may have any size.

    Args:
        model: Folder of an export with the format safetensors among its formats.
        images: Image files, folders of them, or patterns such as 'photos/*.jpg'.
        top: How many of the most probable classes are named.
        preprocessing: JSON file that says what is done to an image, where the export does not know it.
        space: Name or Python file of the space that defines your own types, when the network has any.
        trust: Execute the space.py of the export, which defines such types: it is code of whoever made the export.
        json: Print the result as JSON.
    """
    if top < 1:
        raise BadInput(f"`top` must be at least 1, but got {top}")
    paths = list(dict.fromkeys(path for word in images for path in _files(word)))
    from invnas.cli.tables import print_json
    from invnas.export import load_model

    predictor = load_model(model, space, _read(preprocessing), trust).predict
    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    width = max(map(len, paths))
    for path, answer in zip(paths, predictor.each(paths), strict=True):
        if isinstance(answer, BadInput):
            failed.append({"image": path, "reason": str(answer)})
            continue
        said = [{"class": name, "probability": share} for name, share in _best(predictor, answer.probabilities, top)]
        found.append({"image": path, "index": answer.index, **said[0], "top": said})
        if not json:
            print(
                f"{path:<{width}}  " + ", ".join(f"{one['class']} {one['probability']:.3f}" for one in said), flush=True
            )
    if json:
        print_json({"model": model, "images": found, "failed": failed})
    if failed:
        raise BadInput(f"{len(failed)} of {len(paths)} images: {'; '.join(one['reason'] for one in failed)}")


def _best(predictor: Predictor, probabilities: tuple[float, ...], top: int) -> list[tuple[str, float]]:
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)[:top]
    return [(str(i) if predictor.names is None else predictor.names[i], probabilities[i]) for i in order]


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
    """Say what an exported model reaches on labelled images: accuracy, class by class, and what it confuses.

    Args:
        model: Folder of an export with the format safetensors among its formats.
        data: A folder with a folder of images for each class; the folder of a run (which is code), a YAML file or an
            experiment that comes with invnas, for the images of it; or the class path of a data module.
        split: Which images of a run or a data module, or of a folder with a folder for each split.
        init_args: Arguments of the data module by name, such as "{root: photos}".
        out: Folder for the picture of what was taken for what (confusion.png and confusion.svg).
        preprocessing: JSON file that says what is done to an image, where the export does not know it.
        space: Name or Python file of the space that defines your own types, when the network has any.
        trust: Execute the space.py of the export, which defines such types: it is code of whoever made the export.
        json: Print the result as JSON.
    """
    where = _source(data, init_args)
    from invnas.cli.tables import print_json
    from invnas.using import evaluate_model

    found = evaluate_model(model, where, split, space=space, preprocessing=_read(preprocessing), trust=trust)
    if json:
        print_json({"model": model, **found.to_dict()})
    else:
        _print(found)
    if out is not None:
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


def _print(found: Evaluation) -> None:
    from invnas.cli.tables import print_table

    rows = [
        [name, f"{sum(row):,}", f"{row[i]:,}", f"{row[i] / sum(row):.4f}" if sum(row) else ""]
        for i, (name, row) in enumerate(zip(found.class_names, found.confusion, strict=True))
    ]
    print_table(f"class by class, {found.images}", ("class", "images", "right", "accuracy"), rows)
    low, high = found.interval
    print(f"accuracy {found.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f} ({found.right:,} of {found.count:,})")
