"""architecture.json: what an exported model is, in plain JSON that is checked before it is believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from invnas.architecture import Architecture
from invnas.errors import BadInput, nearest, shown
from invnas.facts import DataFacts
from invnas.files import read_json
from invnas.head import Head
from invnas.rules import CLASSES, LARGEST, image, whole
from invnas.task import TASKS, load_task

FILE = "architecture.json"

#: The copy of the space file that defines a user's own types: code.
SPACE = "space.py"

#: Grows when an older invnas could no longer read the file.
FORMAT = 1


@dataclass(frozen=True)
class Description:
    """What stands in architecture.json.

    Attributes:
        invnas: The version that wrote it.
        format: Number of this layout.
        architecture: Plain data of `Architecture.to_dict`.
        architecture_sha256: Of that data, so that a change which fits the weights (a stride) is seen too.
        input_shape: (channels, height, width).
        classes: Number of classes.
        class_names: One for each class, or None.
        sha256: Of each file beside it, by its name.
        task: What it is trained for.
    """

    invnas: str
    format: int
    architecture: dict[str, Any]
    architecture_sha256: str
    input_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...] | None
    sha256: dict[str, str]
    task: str = "classification"

    @property
    def facts(self) -> DataFacts:
        """The images it is for."""
        return DataFacts(self.input_shape, self.classes, self.class_names)

    @property
    def head(self) -> Head:
        """What the network ends in.

        Raises:
            BadInput: If there is no such task here.
        """
        return load_task(self.task).head(self.facts)

    def write(self, folder: Path) -> None:
        """Write architecture.json into a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(folder: Path) -> Description:
    """Read architecture.json from a folder, each value checked.

    Raises:
        BadInput: If it is missing, not JSON, of a newer invnas, or holds what cannot be; with the file and the key.
    """
    path = folder / FILE
    if not path.is_file():
        raise BadInput(f"'{folder}' is not an export of invnas: it holds no file {FILE}")
    data = read_json(path)
    if not isinstance(data, dict):
        raise BadInput(f"'{path}' must hold an object, but holds {type(data).__name__}")
    number = data.get("format")
    if type(number) is int and number > FORMAT:
        raise BadInput(f"'{path}' has format {number}, which a newer invnas wrote; this one reads up to {FORMAT}")
    known = [field.name for field in fields(Description)]
    for key in data:
        if key not in known:
            raise BadInput(f"unknown key '{key}' in '{path}'; {nearest(key, known)}")
    for key in known:
        if key not in data and key != "task":  # younger than the format
            raise BadInput(f"the key '{key}' is missing in '{path}'")
    for key, problem in _problems(data):
        raise BadInput(f"`{key}` in '{path}' must be {problem}, but is {shown(data[key], 60)}")
    names = data["class_names"]
    return Description(
        **{
            **data,
            "input_shape": tuple(data["input_shape"]),
            "class_names": None if names is None else tuple(names),
        }
    )


def refuse_own_task(folder: Path, description: Description, remedy: str) -> None:
    """Raise BadInput if an export has a task that would have to be imported: code that its maker named."""
    if description.task not in TASKS:
        raise BadInput(
            f"the export '{folder}' has the task '{description.task:.60}', which is code of its own: {remedy}"
        )


def _problems(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    def count(value: Any) -> bool:
        return not any(whole("", value, CLASSES))

    def texts(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)

    shape, names, sums = data["input_shape"], data["class_names"], data["sha256"]
    rules = {
        "invnas": (isinstance(data["invnas"], str), "a version"),
        "format": (count(data["format"]), "a whole number of at least 1"),
        "architecture": (isinstance(data["architecture"], dict), "an object"),
        "architecture_sha256": (isinstance(data["architecture_sha256"], str), "a checksum"),
        "input_shape": (
            not any(image(shape)),
            f"[channels, height, width], each a whole number from 1 to {LARGEST:,}",
        ),
        "classes": (count(data["classes"]), f"a whole number from 1 to {CLASSES:,}"),
        "class_names": (names is None or (texts(names) and len(names) == data["classes"]), "one name for each class"),
        "task": (isinstance(data.get("task", ""), str), "the name of a task"),
        "sha256": (isinstance(sums, dict) and texts(list(sums.values())), "checksums by file name"),
    }
    return [(key, rule) for key, (kept, rule) in rules.items() if not kept]


def describe(
    architecture: Architecture,
    input_shape: tuple[int, int, int],
    classes: int,
    class_names: tuple[str, ...] | None,
    sha256: dict[str, str],
    task: str = "classification",
) -> Description:
    """Return the description of a model that is about to be exported.

    Raises:
        BadInput: If the input shape, the number of classes or their names cannot be, or there is no such task.
    """
    from invnas import __version__

    plain = architecture.to_dict()
    sums = checksum(plain)
    description = Description(__version__, FORMAT, plain, sums, input_shape, classes, class_names, sha256, task)
    for key, problem in _problems(vars(description)):
        raise BadInput(f"`{key}` must be {problem}, but is {shown(vars(description)[key], 60)}")
    return description


def checksum(value: dict[str, Any] | Path) -> str:
    """Return the SHA-256 of plain data (however its keys are ordered) or of a file."""
    if isinstance(value, Path):
        with value.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
