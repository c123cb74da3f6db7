"""What run.json says: what was asked, of which images, with which versions on which machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invnas import __version__
from invnas.errors import BadInput
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.files import read_json

#: Version of the layout of a run folder; raised when what it holds changes.
FORMAT = 2


@dataclass(frozen=True)
class Manifest:
    """What stands in run.json.

    Attributes:
        experiment: What was asked.
        facts: The images as they were found when the run was made.
        environment: Versions and hardware, as text or plain data by name.
        ends: Where the space ends, worst and best by the name of a cost: the box of a hypervolume; empty in runs of an
            older version until they are resumed.
        invnas: Version that made the run.
    """

    experiment: Experiment
    facts: DataFacts
    environment: Mapping[str, Any]
    ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    invnas: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "format": FORMAT,
            "invnas": self.invnas,
            "experiment": self.experiment.to_dict(),
            "data": self.facts.to_dict(),
            "environment": dict(self.environment),
            "ends": {name: list(ends) for name, ends in self.ends.items()},
        }

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read run.json.

        Raises:
            BadInput: If it is malformed or of another format.
        """
        try:
            data = read_json(path)
            made, wanted = data["format"], FORMAT
            newer, older = made > wanted, made < wanted
        except (KeyError, TypeError) as error:
            raise BadInput(f"{path} is malformed: {type(error).__name__}: {error}") from None
        if newer or older:
            said = f"the run {path.parent} was made by invnas {data.get('invnas')} in format {made}, but this invnas"
            remedy = "upgrade invnas" if newer else "search again, or read it with the version that made it"
            raise BadInput(f"{said} {__version__} reads format {wanted}: {remedy}")
        try:
            return cls(
                experiment=Experiment.from_dict(data["experiment"]),
                facts=DataFacts.from_dict(data["data"]),
                environment=dict(data["environment"]),
                ends={str(name): _two(ends) for name, ends in data.get("ends", {}).items()},
                invnas=str(data["invnas"]),
            )
        except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, BadInput) as error:
            raise BadInput(f"{path} is malformed: {type(error).__name__}: {error}") from None


def _two(ends: Any) -> tuple[float, float]:
    worst, best = ends
    return float(worst), float(best)
