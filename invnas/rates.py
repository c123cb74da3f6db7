"""What a range test found: losses at rising rates, and the rate that follows; plain JSON both ways."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Steps on either side over which a loss is averaged: a batch says little.
_BESIDE = 4

#: The rate that is taken, as a share of the one at which the loss is smallest: there it is about to rise.
SHARE = 1 / 3


@dataclass(frozen=True)
class Sweep:
    """The losses of one architecture at rising rates.

    Attributes:
        fingerprint: Of the architecture.
        macs: Its multiply-adds.
        rates: The rate of each step, rising.
        losses: The training loss before that step, all finite.
    """

    fingerprint: str
    macs: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The losses, each averaged with its neighbours."""
        around = (self.losses[max(0, i - _BESIDE) : i + _BESIDE + 1] for i in range(len(self.losses)))
        return tuple(map(statistics.fmean, around))

    @property
    def lowest(self) -> float:
        """The rate at which the averaged loss is smallest."""
        return self.rates[min(range(len(self.rates)), key=self.smoothed.__getitem__)]


@dataclass(frozen=True)
class RateSearch:
    """The sweeps of a run.

    >>> sweeps = [Sweep("a", 10, (0.1, 1.0, 10.0), (2.0, 1.0, 9.0)), Sweep("b", 20, (0.1, 1.0, 10.0), (2.0, 1.0, 9.0))]
    >>> found = RateSearch(tuple(sweeps))
    >>> RateSearch.from_dict(found.to_dict()) == found
    True
    """

    sweeps: tuple[Sweep, ...]

    @property
    def rate(self) -> float:
        """The rate for all trainings: the geometric mean of a third of each `lowest`, to two digits."""
        return float(f"{SHARE * math.exp(statistics.fmean(math.log(one.lowest) for one in self.sweeps)):.2g}")

    @property
    def words(self) -> str:
        """Return what was found, in a sentence."""
        if len(self.sweeps) == 1:
            alone = f"the loss of one architecture is smallest at a rate of {self.sweeps[0].lowest:.2g}"
            return f"{alone}; a third of it is {self.rate:g}"
        low, high = (end(one.lowest for one in self.sweeps) for end in (min, max))
        valley = f"the loss of {len(self.sweeps)} architectures is smallest at rates of {low:.2g} to {high:.2g}"
        return f"{valley}; a third of their mean is {self.rate:g}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "rate": self.rate,
            "sweeps": [
                {**vars(one), "rates": [float(f"{rate:.4g}") for rate in one.rates], "losses": list(one.losses)}
                for one in self.sweeps
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RateSearch:
        """Rebuild from `to_dict`."""
        return cls(
            tuple(
                Sweep(
                    str(one["fingerprint"]), int(one["macs"]), *(tuple(map(float, one[k])) for k in ("rates", "losses"))
                )
                for one in data["sweeps"]
            )
        )
