"""What run.json says: what was asked, of which images, with which versions on which machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invnas import __version__
from invnas.errors import BadInput
from invnas.experiment import Experiment

#: Version of the layout of a run folder; raised when an older invnas could misread a newer folder.
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What stands in run.json.

    Attributes:
        experiment: What was asked.
        input_shape: Channels, height, width of an image.
        classes: Number of classes.
        environment: Versions and hardware, as text or plain data by name.
        class_names: Names of the classes in label order, when known.
        normalisation: Mean and standard deviation of each channel, of values in 0..1, when known.
        invnas: Version that made the run.
    """

    experiment: Experiment
    input_shape: tuple[int, int, int]
    classes: int
    environment: Mapping[str, Any]
    class_names: tuple[str, ...] | None = None
    normalisation: Mapping[str, tuple[float, ...]] | None = None
    invnas: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "format": FORMAT,
            "invnas": self.invnas,
            "experiment": self.experiment.to_dict(),
            "data": {
                "input_shape": list(self.input_shape),
                "classes": self.classes,
                "class_names": self.class_names,
                "normalisation": self.normalisation,
            },
            "environment": dict(self.environment),
        }

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read run.json.

        Raises:
            BadInput: If it is malformed or of a newer format.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            newer = data["format"] > FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is malformed: {type(error).__name__}: {error}") from None
        if newer:
            raise BadInput(
                f"the run {path.parent} was made by invnas {data.get('invnas')} in format {data['format']}, "
                f"but this invnas {__version__} reads up to format {FORMAT}: upgrade invnas"
            )
        try:
            images = data["data"]
            channels, height, width = map(int, images["input_shape"])
            names, scale = images.get("class_names"), images.get("normalisation")
            return cls(
                experiment=Experiment.from_dict(data["experiment"]),
                input_shape=(channels, height, width),
                classes=int(images["classes"]),
                environment=dict(data["environment"]),
                class_names=tuple(map(str, names)) if names else None,
                normalisation={key: tuple(map(float, scale[key])) for key in ("mean", "std")} if scale else None,
                invnas=str(data["invnas"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, BadInput) as error:
            raise BadInput(f"{path} is malformed: {type(error).__name__}: {error}") from None
