"""preprocess.json: what is done to an image before the network sees it, and what its classes are called.

Beside it, for a detector of one stage or a segmenter, postprocess.json: what makes boxes or a mask of its numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invnas.errors import BadInput, shown
from invnas.export.description import Description, checksum
from invnas.files import read_json
from invnas.postprocessing import PixelClasses, Postprocessing
from invnas.preprocessing import Preprocessing

PREPROCESS = "preprocess.json"
POSTPROCESS = "postprocess.json"


@dataclass(frozen=True)
class Used:
    """What a user of a model must know beside it.

    Attributes:
        preprocessing: What is done to an image.
        class_names: One for each class, or None.
        rules: What makes boxes of the numbers of a detector of one stage, or a mask of those of a segmenter; None:
            there are none.
    """

    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None
    rules: Postprocessing | PixelClasses | None = None

    @property
    def missing(self) -> str:
        """Why images cannot be prepared, as the rest of a sentence that ends in what is missing; empty if they can."""
        how = self.preprocessing
        if how.channels not in (1, 3):
            return f"no image file gives the {how.channels} channels that the network takes"
        return f"nothing says {' and '.join(how.unknown)}" if how.unknown else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**self.preprocessing.to_dict(), "class_names": self.class_names and list(self.class_names)}

    def write(self, folder: Path) -> None:
        """Write preprocess.json into a folder, and postprocess.json where there are rules."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        (folder / PREPROCESS).write_text(text + "\n", encoding="utf-8")
        if self.rules is not None:
            (folder / POSTPROCESS).write_text(json.dumps(self.rules.to_dict(), indent=1) + "\n", encoding="utf-8")

    @property
    def metadata(self) -> dict[str, str]:
        """The same as it stands in an ONNX file: texts of JSON by name."""
        prepared = json.dumps(self.preprocessing.to_dict())
        rules = {} if self.rules is None else {"postprocess": json.dumps(self.rules.to_dict())}
        return {"preprocess": prepared, "class_names": json.dumps(self.class_names, ensure_ascii=False), **rules}


def used(input_shape: Sequence[int], names: Sequence[str] | None, how: Preprocessing | None) -> Used:
    """Return what a user must know of images of (channels, height, width), as far as it is known.

    Raises:
        BadInput: If the preprocessing makes images of another shape.
    """
    channels, height, width = input_shape
    how = how or Preprocessing((height, width), channels)
    if (how.channels, *how.size) != tuple(input_shape):
        raise BadInput(
            f"the preprocessing makes images of {how.channels} x {how.size[0]} x {how.size[1]}, but the network takes "
            f"{channels} x {height} x {width}"
        )
    return Used(how, None if names is None else tuple(names))


def read_used(folder: Path, description: Description) -> Used:
    """Read preprocess.json of an export; one of an older version has none, and nothing is known.

    Raises:
        BadInput: If it was changed after the export, or holds what cannot be.
    """
    shape, names = description.input_shape, description.class_names
    if PREPROCESS not in description.sha256:
        return used(shape, names, None)
    path = folder / PREPROCESS
    if not path.is_file():
        raise BadInput(f"there is no file '{path}'")
    if checksum(path) != description.sha256[PREPROCESS]:
        raise BadInput(
            f"the checksum of '{path}' differs: it was changed after the export; to use another preprocessing, give it "
            "in a file of its own"
        )
    return used(shape, names, read_preprocessing(path))


def read_preprocessing(path: Path) -> Preprocessing:
    """Read a preprocessing from a JSON file such as preprocess.json.

    Raises:
        BadInput: If it is missing or holds what cannot be, with the file.
    """
    if not path.is_file():
        raise BadInput(f"there is no file '{path}'")
    data = read_json(path)
    if not isinstance(data, Mapping):
        raise BadInput(f"'{path}' must hold an object, but holds {shown(data, 60)}")
    try:
        return Preprocessing.from_dict({key: value for key, value in data.items() if key != "class_names"})
    except BadInput as error:
        raise BadInput(f"'{path}': {error}") from None
