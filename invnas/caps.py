"""The largest cost that is allowed, by the name of what is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from invnas.measurement import Cost


@dataclass(frozen=True)
class Caps:
    """Largest cost allowed; what is not named is free.

    Attributes:
        limits: Cap by the name of a cost, such as {"macs": 30_000_000}.

    >>> str(Caps.of(macs=30_000_000, parameters=None))
    'max_macs=30,000,000'
    """

    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, **limits: float | None) -> Caps:
        """Return the caps that are given; None allows any."""
        return cls({name: cap for name, cap in limits.items() if cap is not None})

    def excess(self, cost: Cost) -> float:
        """Return the cost over its cap, the largest of the ratios: above 1 is refused."""
        return max((_excess(cost[name], cap) for name, cap in self.limits.items() if name in cost), default=0.0)

    def reason(self, cost: Cost) -> str | None:
        """Return why a cost is refused, or None; what is not in the cost yet is not judged."""
        for name, cap in self.limits.items():
            if name in cost and cost[name] > cap:
                return f"{cost[name]:,} {_WORDS.get(name, name)} are more than max_{name}={cap:,}"
        return None

    def __str__(self) -> str:
        return " and ".join(f"max_{name}={cap:,}" for name, cap in self.limits.items())


_WORDS = {"macs": "MACs"}


def _excess(cost: float, cap: float) -> float:
    return cost / cap if cap > 0 else 1 + cost - cap  # no ratio to a cap of nothing
