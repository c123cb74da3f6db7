"""What is trained next: proposals that are valid, within the caps and new. Nothing else reaches an engine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import BadInput, InvalidArchitecture
from invnas.measurement import BASELINES, Cost, Measurement, Phase, Trial
from invnas.search.events import Event, Rejected
from invnas.search.sampler import Candidate, Context, Draws, Rejection, Sampler, Told
from invnas.space import Space
from invnas.space_check import Price, smallest_within

#: Proposals in a row the sampler may see rejected before others are tried in its place: each costs TPE 10 ms and more,
#: and asking 20 times finds no better fronts. A uniform sampler is never stuck, only unlucky, and must stay uniform.
ASKS, UNIFORM_ASKS = 1, 2_000
#: What is tried then: neighbours of the rejected proposal, of the last accepted one, then uniform draws.
MUTATIONS, DRAWS = 20, 200
#: Spaces up to this size are gone through one by one when nothing else finds anything new.
ENUMERABLE = 100_000
#: Candidates that are remembered, so that none is resolved and priced twice.
_REMEMBERED = 20_000

#: Adds to a counted cost what has to be measured, such as a latency.
Meter = Callable[[Architecture, Cost], Cost]


@dataclass(frozen=True)
class Proposal:
    """A candidate to train; `known` is its measurement when the other half of the run has it already."""

    candidate: Candidate
    known: Measurement | None = None


class Proposer:
    """Asks the sampler, rejects before anything is trained, and looks elsewhere when the sampler is stuck.

    The record decides the next proposal alone: all randomness is that of the seed and of how many trials there are.

    Args:
        space: Where to search.
        sampler: Who proposes.
        price: What an architecture costs.
        caps: Largest cost allowed.
        trials: The trials of the run so far: none of them is trained again.
        phase: What the trials are there for; random baselines and references take over what other phases have
            measured.
        seed: Seed of the proposals made in the sampler's place.
        on_event: Told of each rejected proposal.
        meter: Adds what has to be measured to the cost of a candidate that is to be trained.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        price: Price,
        caps: Caps,
        trials: Sequence[Trial],
        phase: Phase,
        seed: int,
        on_event: Callable[[Event], None],
        meter: Meter | None = None,
    ) -> None:
        self._space, self._sampler, self._caps, self._meter = space, sampler, caps, meter
        self._price = space.priced(price)
        self._seed, self._on_event, self._draws = seed, on_event, Draws(f"loop/{seed}/{phase}")
        self._asks = UNIFORM_ASKS if sampler.uniform else ASKS
        self._number = sum(trial.phase == phase for trial in trials)
        self.measured: dict[str, Measurement] = {}
        self._taken: set[str] = set()
        of_the_space = [trial for trial in trials if trial.phase == "search" or trial.baseline]
        for trial in of_the_space:
            if (
                (phase in BASELINES or phase == "reference")
                and trial.phase != phase
                and trial.state == "complete"
                and trial.measurement is not None
            ):
                self.measured[trial.architecture.fingerprint] = trial.measurement
            else:
                self._taken.add(trial.architecture.fingerprint)
        self._accepted = [t.decisions for t in of_the_space]
        self._seen: dict[tuple[tuple[str, int], ...], Candidate | Rejection] = {}
        self._every: list[Decisions] | None = None
        self.rejected: Counter[str] = Counter()

    def next(self, pending: Sequence[Trial] = ()) -> Proposal | None:
        """Return a new proposal, or None when nothing new was found.

        Raises:
            BadInput: If the space holds nothing that is valid and within the caps.
        """
        context = Context(self._number, tuple(pending), self._caps, self.candidates)
        for _ in range(self._asks):
            decisions = self._sampler.ask(context)
            judged = self._accept(decisions)
            if isinstance(judged, Proposal):
                return judged
            self._sampler.tell(Told(decisions, judged.kind, reason=judged.reason))
            self.rejected[judged.kind] += 1
            self._on_event(Rejected(judged.kind, judged.reason))
        for other in self._others(rejected=decisions):
            judged = self._accept(other)
            if isinstance(judged, Proposal):
                return judged
        return None

    def candidates(self, many: Sequence[Decisions]) -> list[Candidate | Rejection]:
        """Return what each of some decisions would be if it were proposed, priced by what is counted."""
        return [self._judge(decisions) for decisions in many]

    def why_none(self) -> str:
        """Return one sentence on why nothing new was found."""
        within = f" within {self._caps}" if str(self._caps) else ""
        if self._every is not None:
            return f"all {len(self._taken):,} valid architectures{within} have been trained"
        return f"no further architecture{within} was found in {self._asks + 2 * MUTATIONS + DRAWS:,} proposals"

    def _judge(self, decisions: Decisions) -> Candidate | Rejection:
        key = tuple(sorted(decisions.items()))
        found = self._seen.get(key)
        if found is None:
            while len(self._seen) >= _REMEMBERED:
                self._seen.pop(next(iter(self._seen)))
            found = self._seen[key] = self._looked_at(decisions)
        if isinstance(found, Candidate) and found.fingerprint in self._taken:
            return Rejection(decisions, "known", f"{found.fingerprint} is in the run already", found)
        return found

    def _looked_at(self, decisions: Decisions) -> Candidate | Rejection:
        try:
            architecture = self._space.architecture(decisions)
            found = Candidate(decisions, architecture, self._price(architecture))
        except InvalidArchitecture as error:
            return Rejection(decisions, "invalid", str(error))
        if reason := self._caps.reason(found.cost):
            return Rejection(decisions, "cap", reason, found)
        return found

    def _accept(self, decisions: Decisions) -> Proposal | Rejection:
        judged = self._judge(decisions)
        if isinstance(judged, Rejection):
            return judged
        if self._meter is not None:
            judged = self._measured(judged)
            if isinstance(judged, Rejection):
                return judged
        self._number += 1
        self._taken.add(judged.fingerprint)
        self._accepted.append(decisions)
        return Proposal(judged, self.measured.get(judged.fingerprint))

    def _measured(self, judged: Candidate) -> Candidate | Rejection:
        """Return a candidate at the cost that was measured, which counts from now on instead of what was foretold."""
        assert self._meter is not None
        decisions = judged.decisions
        found: Candidate | Rejection
        try:
            found = replace(judged, cost=self._meter(judged.architecture, judged.cost))
            if reason := self._caps.reason(found.cost):
                found = Rejection(decisions, "cap", reason, found)
        except InvalidArchitecture as error:  # who shall run it cannot
            found = Rejection(decisions, "invalid", str(error))
        self._seen[tuple(sorted(decisions.items()))] = found
        return found

    def _others(self, rejected: Decisions) -> Iterator[Decisions]:
        rng = self._draws.at(self._number)
        yield from self._neighbours([rejected], rng)
        yield from self._neighbours(self._accepted[-1:], rng)
        for _ in range(DRAWS):
            yield self._space.draw(rng)
        if not self._accepted:  # the caps may keep so little that no draw hits it
            yield smallest_within(self._space, self._price, self._caps)[0]
        if self._space.size <= ENUMERABLE:
            yield from self._every_other()
        else:
            yield from self._neighbours(self._accepted, rng)

    def _neighbours(self, parents: list[Decisions], rng: random.Random) -> Iterator[Decisions]:
        with suppress(BadInput):  # a parent without valid neighbours
            for _ in range(MUTATIONS if parents else 0):
                yield self._space.mutate(rng.choice(parents), rng)[0]

    def _every_other(self) -> Iterator[Decisions]:
        """Yield every architecture that is not trained yet, in an order that the seed alone decides."""
        if self._every is None:
            self._every = [decisions for decisions, _ in self._space.enumerate()]
            random.Random(f"every/{self._seed}").shuffle(self._every)
            self._every.reverse()
        while self._every:
            yield self._every[-1]
            self._every.pop()  # taken, or refused for ever
