"""One trained architecture as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from invnas.belief import Estimate
from invnas.measurement import Measurement, Trial
from invnas.objective import Objective
from invnas.report.sections import Section, sections_of


@dataclass(frozen=True)
class Point:
    """One trained architecture.

    Attributes:
        trial: The trial, complete.
        measurement: Its measurement.
        on_front: Whether it lies on the front of the search or of the random baseline it belongs to.
        tested: What was measured on the test images, by name; empty when it was not tested.
        believed: What it is believed to reach, by name; empty where that is what was measured.
        seeds: Seeds it was trained with.
    """

    trial: Trial
    measurement: Measurement
    on_front: bool
    tested: Mapping[str, float]
    believed: Mapping[str, Estimate] = field(default_factory=dict)
    seeds: int = 1

    @property
    def number(self) -> int:
        """The number of the trial."""
        return self.trial.number

    @property
    def kind(self) -> str:
        """Which operators it has: convolution, involution, hybrid or own."""
        return self.trial.architecture.kind

    @property
    def parts(self) -> tuple[Section, ...]:
        """Its spatial operators by part."""
        return sections_of(self.trial.architecture)

    def value(self, objective: Objective) -> float:
        """Return its number for an objective."""
        return self.trial.values((objective,))[0]

    def standing(self, objective: Objective) -> float:
        """Return where it stands on the front: what is believed of it, or what was measured where that is all."""
        one = self.believed.get(objective.name)
        return self.value(objective) if one is None else one.mean

    def ends(self, objective: Objective) -> tuple[float, float]:
        """Return the 95 % band of what is believed of it; both ends are its value where there is none."""
        one = self.believed.get(objective.name)
        return (self.value(objective),) * 2 if one is None else (one.low, one.high)

    def shown(self, objective: Objective) -> str:
        """Return its number for an objective as text, a dash where it has none."""
        return objective.show(self.trial.value(objective.name))
