"""What is trained next: proposals that are valid, within the caps and new. Nothing else reaches an engine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from invnas.architecture import Architecture
from invnas.choice import Decisions
from invnas.errors import BadInput, InvalidArchitecture
from invnas.measurement import Cost, Measurement, Trial
from invnas.search.events import Event, Rejected
from invnas.search.random_sampler import RandomSampler
from invnas.search.sampler import Sampler
from invnas.space import Space
from invnas.space_check import Caps, Price, smallest_within

#: Proposals in a row the sampler may see rejected before others are tried in its place: each costs TPE 10 ms and more,
#: and asking 20 times finds no better fronts. A uniform sampler is never stuck, only unlucky, and must stay uniform.
ASKS, UNIFORM_ASKS = 1, 2_000
#: What is tried then: neighbours of the rejected proposal, of the last accepted one, then uniform draws.
MUTATIONS, DRAWS = 20, 200
#: Spaces up to this size are gone through one by one when nothing else finds anything new.
ENUMERABLE = 100_000


@dataclass(frozen=True)
class Proposal:
    """An architecture to train; `known` is its measurement when the other half of the run has it already."""

    decisions: Decisions
    architecture: Architecture
    cost: Cost
    known: Measurement | None = None


class Proposer:
    """Asks the sampler, rejects before anything is trained, and looks elsewhere when the sampler is stuck.

    Args:
        space: Where to search.
        sampler: Who proposes.
        price: What an architecture costs.
        caps: Largest cost allowed.
        trials: The trials of the run so far: none of them is trained again.
        baseline: Whether this is the random baseline, which takes over what the search has measured.
        rng: Randomness of the proposals made in the sampler's place.
        on_event: Told of each rejected proposal.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        price: Price,
        caps: Caps,
        trials: Sequence[Trial],
        baseline: bool,
        rng: random.Random,
        on_event: Callable[[Event], None],
    ) -> None:
        self._space, self._sampler, self._price, self._caps = space, sampler, price, caps
        self._rng, self._on_event = rng, on_event
        self._asks = UNIFORM_ASKS if isinstance(sampler, RandomSampler) else ASKS
        self.measured: dict[str, Measurement] = {}
        self._taken: set[str] = set()
        for trial in trials:
            if baseline and not trial.baseline and trial.measurement is not None:
                self.measured[trial.architecture.fingerprint] = trial.measurement
            else:
                self._taken.add(trial.architecture.fingerprint)
        self._accepted = [t.decisions for t in trials]
        self._rest: list[Decisions] | None = None
        self.rejected: Counter[str] = Counter()

    def next(self) -> Proposal | None:
        """Return a new proposal, or None when nothing new was found.

        Raises:
            BadInput: If the space holds nothing that is valid and within the caps.
        """
        for _ in range(self._asks):
            decisions = self._sampler.ask()
            judged = self._judge(decisions)
            if isinstance(judged, Proposal):
                return judged
            self._sampler.tell(decisions, None)
            self.rejected[judged.kind] += 1
            self._on_event(judged)
        for other in self._others(rejected=decisions):
            judged = self._judge(other)
            if isinstance(judged, Proposal):
                return judged
        return None

    def why_none(self) -> str:
        """Return one sentence on why nothing new was found."""
        within = f" within {self._caps}" if str(self._caps) else ""
        if self._rest is not None:
            return f"all {len(self._taken):,} valid architectures{within} have been trained"
        return f"no further architecture{within} was found in {self._asks + 2 * MUTATIONS + DRAWS:,} proposals"

    def _judge(self, decisions: Decisions) -> Proposal | Rejected:
        try:
            architecture = self._space.architecture(decisions)
            fingerprint = architecture.fingerprint
            if fingerprint in self._taken:
                return Rejected("known", f"{fingerprint} is in the run already")
            cost = self._price(architecture)
        except InvalidArchitecture as error:
            return Rejected("invalid", str(error))
        if reason := self._caps.reason(cost):
            return Rejected("cap", reason)
        self._taken.add(fingerprint)
        self._accepted.append(decisions)
        return Proposal(decisions, architecture, cost, self.measured.get(fingerprint))

    def _others(self, rejected: Decisions) -> Iterator[Decisions]:
        if self._rest is None:
            yield from self._neighbours([rejected])
            yield from self._neighbours(self._accepted[-1:])
            for _ in range(DRAWS):
                yield self._space.draw(self._rng)
        if not self._accepted:  # the caps may keep so little that no draw hits it
            yield smallest_within(self._space, self._price, self._caps)[0]
        if self._space.size <= ENUMERABLE:
            yield from self._every_other()
        else:
            yield from self._neighbours(self._accepted)

    def _neighbours(self, parents: list[Decisions]) -> Iterator[Decisions]:
        with suppress(BadInput):  # a parent without valid neighbours
            for _ in range(MUTATIONS if parents else 0):
                yield self._space.mutate(self._rng.choice(parents), self._rng)[0]

    def _every_other(self) -> Iterator[Decisions]:
        if self._rest is None:
            every = self._space.enumerate()
            self._rest = [decisions for decisions, found in every if found.fingerprint not in self._taken]
            self._rng.shuffle(self._rest)
        while self._rest:
            yield self._rest.pop()
