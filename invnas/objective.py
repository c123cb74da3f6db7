"""What is compared: a number of a trial with its direction, its unit, its scale and how it is printed.

Objectives are values that are passed along. Those of a training belong to their task (`Task.objectives`); what a
network costs is the same for every task and stands here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from invnas.errors import BadInput, nearest

#: Stands where nothing was measured.
DASH = "–"

#: Keeps the logarithm of a cost of zero finite: 1 microsecond, a thousandth of a multiply-add.
SMALLEST = 1e-3

#: Logarithm of the largest value of a gain: what is believed of the unseen may lie anywhere.
_LARGEST = 700.0

Unit = Literal["share", "count", "bytes", "ms", "number"]


@dataclass(frozen=True)
class Objective:
    """One number by which trials are compared.

    Attributes:
        name: Its key in a measurement or a cost, in a configuration and in a CSV file, such as "macs".
        label: What a table calls it, such as "FLOPs".
        title: What an axis calls it, without its unit.
        direction: Which way is better.
        unit: "share" (0 to 1, printed in per cent), "count", "bytes", "ms" or "number".
        log: Whether its steps are ratios: twice as cheap is the same step at every size.
        worst: The end of its axis in a hypervolume where no cap is; None: of a counted cost the dearest of the space,
            else the worst of the first trials, so that no two runs compare.
        best: The other end; None: the cheapest of the space, else the best of the first trials.
        source: "learned" (by training), "counted" (exact before training) or "metered" (measured before training).
        of_images: Whether it is a share of the validation images, so that chance alone spreads it as counts are.
    """

    name: str
    label: str
    title: str
    direction: Literal["maximize", "minimize"] = "minimize"
    unit: Unit = "count"
    log: bool = True
    worst: float | None = None
    best: float | None = None
    source: Literal["learned", "counted", "metered"] = "counted"
    of_images: bool = False

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def axis(self) -> str:
        """The title with the unit."""
        units = {"share": " (%)", "ms": " (ms)", "bytes": " (bytes)"}
        return self.title + units.get(self.unit, "")

    def gain(self, value: float) -> float:
        """Return a value on the scale on which it is modelled: more is better, and steps are ratios where meant.

        Of a share it is the part that is missing that is halved: 98 and 99 % are as far apart as 60 and 80 %.

        >>> error = Objective("error", "error", "Error", unit="share", source="learned")
        >>> round(MACS.gain(100) - MACS.gain(200), 3), round(error.gain(0.1) - error.gain(0.2), 3)
        (0.693, 0.693)
        """
        if self.unit == "share":
            return -math.log(max(1 - value if self.direction == "maximize" else value, SMALLEST))
        return self.sign * (math.log(max(value, SMALLEST)) if self.log else value)

    def at_gain(self, gain: float) -> float:
        """Return the value of a gain: the inverse of `gain`; a share that would be below 0 or above 1 is that.

        >>> round(MACS.at_gain(MACS.gain(1200)), 6), round(HYPERVOLUME.at_gain(HYPERVOLUME.gain(0.25)), 6)
        (1200.0, 0.25)
        """
        if self.unit == "share":
            missing = math.exp(min(-gain, 0.0))
            return 1 - missing if self.direction == "maximize" else missing
        return math.exp(min(self.sign * gain, _LARGEST)) if self.log else self.sign * gain

    def plotted(self, value: float) -> float:
        """Return a value as an axis counts it: shares in per cent."""
        return 100 * value if self.unit == "share" else value

    def show(self, value: float | None) -> str:
        """Return a value with its unit, or a dash when there is none.

        >>> MACS.show(1_234_567), LATENCY.show(1.5), ACTIVATION_BYTES.show(4096), MACS.show(None)
        ('1.23 M', '1.50 ms', '4.10 kB', '–')
        """
        if value is None or not math.isfinite(value):
            return DASH
        match self.unit:
            case "share":
                return f"{100 * value:.1f} %"
            case "bytes":
                return count(value) + ("B" if value >= 999.5 else " B")
            case "ms":
                return f"{value:.3g} ms" if value < 1 or value >= 100 else f"{value:.2f} ms"
            case "count":
                return count(value)
        return f"{value:.4g}"

    def exact(self, value: float | None) -> str:
        """Return a value for a table of a terminal: every digit of a count, four of a share.

        >>> MACS.exact(1234567), LATENCY.exact(0.25)
        ('1,234,567', '0.25')
        """
        if value is None or not math.isfinite(value):
            return DASH
        if self.unit == "share":
            return f"{value:.4f}"
        return f"{value:,.0f}" if self.unit in ("count", "bytes") else f"{value:,.6g}"

    def tick(self, value: float) -> str:
        """Return the text of a tick: as short as its digits allow.

        >>> MACS.tick(1_500_000), MACS.tick(200_000), LATENCY.tick(0.5)
        ('1.5 M', '200 k', '0.5')
        """
        if self.unit not in ("count", "bytes"):
            return f"{value:g}"
        number, _, letter = count(value).partition(" ")
        if letter:
            number = f"{value / 1000 ** ' kMGT'.index(letter):.4g}"
        return f"{number} {letter}".strip()


def count(value: float) -> str:
    """Return a number with three digits and a letter.

    >>> count(1_234_567), count(999_999), count(48), count(2e9)
    ('1.23 M', '1.00 M', '48', '2.00 G')
    """
    letters = ("", " k", " M", " G", " T")
    step = 0 if value < 1 else min(int(math.log10(value) / 3), len(letters) - 1)
    if step < len(letters) - 1 and round(value / 1000**step, 2 if step else 0) >= 999.5:
        step += 1
    scaled = value / 1000**step
    if step == 0:
        return f"{scaled:.0f}" if scaled == int(scaled) else f"{scaled:.3g}"
    digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
    return f"{scaled:.{digits}f}{letters[step]}"


MACS = Objective("macs", "FLOPs", "FLOPs of one image (multiply-adds)")
PARAMETERS = Objective("parameters", "parameters", "Parameters")
ACTIVATION_BYTES = Objective("activation_bytes", "activations", "Peak activation memory of one image", unit="bytes")
LATENCY = Objective(
    "latency_ms", "latency", "Latency of one image", unit="ms", worst=1000.0, best=0.01, source="metered"
)

#: What a network costs: the same for every task.
COSTS = (MACS, PARAMETERS, ACTIVATION_BYTES, LATENCY)


#: What a front covers is drawn like an objective, but belongs to no trial. It is no accuracy: never in per cent.
HYPERVOLUME = Objective("hypervolume", "hypervolume", "Hypervolume", "maximize", "number", log=False)


def by_name(names: Sequence[str], known: Iterable[Objective]) -> tuple[Objective, ...]:
    """Return two or three different objectives by name.

    Raises:
        BadInput: If a name is unknown or stands twice, or there are not two or three.
    """
    found = {objective.name: objective for objective in known}
    for name in names:
        if name not in found:
            raise BadInput(f"unknown objective '{name}'; {nearest(str(name), found)}")
    if len(set(names)) != len(names) or len(names) not in (2, 3):
        raise BadInput(
            f"`objectives` must name two or three different objectives, but got {', '.join(names) or 'none'}"
        )
    return tuple(found[name] for name in names)
