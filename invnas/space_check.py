"""What a space holds, without training anything: its valid share with reasons, its range of cost, what a cap keeps."""

from __future__ import annotations

import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.choice import Choice, Decisions
from invnas.errors import BadInput, InvalidArchitecture
from invnas.measurement import Cost
from invnas.resolver import enumerate_decisions
from invnas.space import Space

Price = Callable[[Architecture], Cost]
Priced = tuple[Decisions, Architecture, Cost]

#: Spaces up to this size are priced completely instead of being sampled or descended.
_SMALL = 2_000
_STARTS = 3
# Draws without a gain after which a descent has arrived; fewer where nobody is told an exact smallest.
_PATIENCE, _BRIEF = 500, 150


def smallest(
    space: Space,
    price: Price,
    seed: int = 0,
    key: Callable[[Cost], float] | None = None,
    patience: int = _PATIENCE,
) -> Priced:
    """Return the cheapest valid architecture: exactly in a small space, else the best of several descents.

    A descent draws one part of the architecture anew, again and again, for as long as that makes it cheaper.

    Args:
        space: Where to look.
        price: What an architecture costs.
        seed: Seed of the starts of the descents.
        key: What cheap means; multiply-adds, then parameters by default.
        patience: Draws without a gain after which a descent has arrived.

    Raises:
        BadInput: If no architecture of the space is valid.
    """
    rank = key or (lambda cost: cost.macs + cost.parameters * 1e-12)
    if space.size <= _SMALL:
        every = [found for taken, _ in space.enumerate() if (found := _priced(space, price, _following(taken)))]
        if not every:
            raise BadInput(
                f"no architecture of the space {space.name} is valid: {_why_invalid(space, price, random.Random(seed))}"
            )
        return min(every, key=lambda priced: rank(priced[2]))
    rng = random.Random(f"smallest/{seed}")
    starts = [found for _ in range(_STARTS) if (found := _priced(space, price, _following(space.sample(rng)[0])))]
    if not starts:
        raise BadInput(f"no architecture of the space {space.name} is valid: {_why_invalid(space, price, rng)}")
    ends = [_descend(space, price, start, rng, rank, patience) for start in starts]
    return min(ends, key=lambda priced: rank(priced[2]))


def smallest_within(space: Space, price: Price, caps: Caps, seed: int = 0) -> Priced:
    """Return the architecture that stays furthest below its caps, or without caps the cheapest.

    Raises:
        BadInput: If no architecture of the space is valid, or none is within the caps.
    """
    found = smallest(space, price, seed, caps.excess if str(caps) else None)
    if reason := caps.reason(found[2]):
        raise BadInput(f"nothing in the space {space.name} is within {caps}: of the smallest architecture, {reason}")
    return found


def ends_of(space: Space, price: Price, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return the dearest and the cheapest of a space by the name of the cost, as far as brief descents find them.

    The draws have a seed of their own, so that all runs on a space have the same ends.

    Args:
        space: Where to look.
        price: What an architecture costs.
        names: Costs that are counted.

    Raises:
        BadInput: If no architecture of the space is valid.
    """

    def end(name: str, sign: float) -> float:
        return smallest(space, price, key=lambda cost: sign * cost[name], patience=_BRIEF)[2][name]

    return {name: (end(name, -1.0), end(name, 1.0)) for name in names}


def _descend(
    space: Space, price: Price, best: Priced, rng: random.Random, rank: Callable[[Cost], float], patience: int
) -> Priced:
    misses = 0
    while misses < patience:
        # A part of the tree, from the whole network down to one decision: a width and the groups that must divide it
        # have to change together.
        names = rng.choice(list(best[0])).split(".")
        part = ".".join(names[: rng.randint(1, len(names))])
        found = _priced(space, price, _redrawn(best[0], part, rng))
        if found and rank(found[2]) < rank(best[2]):
            best, misses = found, 0
        else:
            misses += 1
    return best


def _following(decisions: Decisions) -> Callable[[str, Choice], int]:
    return lambda path, choice: decisions[path]


def _redrawn(decisions: Decisions, part: str, rng: random.Random) -> Callable[[str, Choice], int]:
    # Each option is as likely as the other: uniform over architectures would nearly always be deep.
    def decide(path: str, choice: Choice) -> int:
        kept = path in decisions and not path.startswith(part)
        return decisions[path] if kept else rng.randrange(len(choice.options))

    return decide


def _priced(space: Space, price: Price, decide: Callable[[str, Choice], int]) -> Priced | None:
    taken: Decisions = {}

    def recorded(path: str, choice: Choice) -> int:
        taken[path] = decide(path, choice)
        return taken[path]

    try:
        architecture = space.resolve(recorded)
        return taken, architecture, price(architecture)
    except InvalidArchitecture:
        return None


def _why_invalid(space: Space, price: Price, rng: random.Random) -> str:
    try:
        price(space.architecture(space.draw(rng)))
    except InvalidArchitecture as error:
        return str(error)
    return "no draw was valid"


@dataclass(frozen=True)
class Range:
    """Smallest, median and largest of a cost over the valid architectures."""

    minimum: int
    median: int
    maximum: int


@dataclass(frozen=True)
class SpaceCheck:
    """What a space holds.

    Attributes:
        name: Name of the space.
        size: Exactly how many architectures the choices name, valid or not.
        drawn: How many were looked at: all of a small space, else uniform draws.
        exact: Whether all were looked at.
        valid_share: Share of them that breaks no rule.
        reasons: How many were refused for which kind of reason (numbers in it stand as N).
        macs: Range of multiply-adds of one image; its minimum is that of `smallest`.
        parameters: Range of parameters.
        kept_share: Share of the valid ones within the caps; None without a cap.
        smallest: The architecture with the fewest multiply-adds, as plain data.
        smallest_cost: Its cost.
    """

    name: str
    size: int
    drawn: int
    exact: bool
    valid_share: float
    reasons: Mapping[str, int]
    macs: Range
    parameters: Range
    kept_share: float | None
    smallest: Mapping[str, Any]
    smallest_cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def check_space(space: Space, price: Price, caps: Caps | None = None, draws: int = 2_000, seed: int = 0) -> SpaceCheck:
    """Look at a space without training anything.

    Args:
        space: The space.
        price: What an architecture costs.
        caps: Largest cost allowed.
        draws: Uniform draws when the space is larger than that; smaller ones are looked at completely.
        seed: Seed of the draws.

    Raises:
        BadInput: If no architecture of the space is valid.
    """
    caps, price = caps or Caps(), space.priced(price)
    exact = space.size <= max(draws, 1)
    rng = random.Random(f"check/{seed}")
    looked: Iterator[Decisions] = (
        enumerate_decisions(space.resolver) if exact else (space.draw(rng) for _ in range(draws))
    )
    costs: list[Cost] = []
    reasons: Counter[str] = Counter()
    for decisions in looked:
        try:
            costs.append(price(space.architecture(decisions)))
        except InvalidArchitecture as error:
            reasons[_kind(str(error))] += 1
    cheapest = smallest(space, price, seed)
    lean = smallest(space, price, seed, key=lambda cost: cost.parameters)
    drawn = len(costs) + sum(reasons.values())
    return SpaceCheck(
        name=space.name,
        size=space.size,
        drawn=drawn,
        exact=exact,
        valid_share=len(costs) / drawn,
        reasons=dict(reasons.most_common()),
        macs=_range([cost.macs for cost in costs], cheapest[2].macs),
        parameters=_range([cost.parameters for cost in costs], lean[2].parameters),
        kept_share=sum(caps.reason(cost) is None for cost in costs) / len(costs) if str(caps) and costs else None,
        smallest=cheapest[1].to_dict(),
        smallest_cost=cheapest[2],
    )


def _range(values: list[int], minimum: int) -> Range:
    values = values or [minimum]
    return Range(min(minimum, *values), round(statistics.median(values)), max(values))


def _kind(reason: str) -> str:
    """Return a reason without its numbers and its place, so that like reasons are counted together."""
    return re.sub(r"\d+", "N", re.sub(r"(; nearest: .*| \((stage|stem)[^)]*\))", "", reason))
