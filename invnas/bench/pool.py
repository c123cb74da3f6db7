"""A space of which only some architectures may be proposed: those that a table holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from invnas.architecture import Architecture
from invnas.choice import Choice, Decisions
from invnas.errors import BadInput, InvalidArchitecture
from invnas.space import Space

if TYPE_CHECKING:
    import numpy as np

#: A mutation that leads out of the pool leads to one of so many that are nearest to where it led.
NEAREST = 8


@dataclass(frozen=True)
class Pool(Space):
    """The architectures of a space that a table holds; every other breaks a rule of this space.

    A uniform draw is uniform over what is held. A branch-uniform draw and a mutation are those of the whole space where
    they lead to what is held; elsewhere they lead to one of the nearest that are, by the options taken at each place,
    in each stage and in the network. So a sampler is never given the value of an architecture for that of another: it
    is told what was taken instead of what it proposed, as it is of every substitute.

    Attributes:
        held: The decisions of each architecture.
    """

    held: tuple[Decisions, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, space: Space, architectures: Iterable[Architecture]) -> Pool:
        """Return the pool of some architectures of a space.

        Raises:
            BadInput: If there are none, or one is not in the space.
        """
        held = []
        for architecture in dict.fromkeys(architectures):
            decisions = space.decisions(architecture)
            if decisions is None:
                raise BadInput(f"the table holds {architecture.fingerprint}, which is not in the space {space.name}")
            held.append(decisions)
        if not held:
            raise BadInput("the table holds no architecture")
        return cls(space.network, space.constraints, space.name, space.traits, tuple(held))

    @cached_property
    def size(self) -> int:
        """How many architectures are held."""
        return len(self.held)

    def resolve(self, decide: Callable[[str, Choice], int]) -> Architecture:
        """Return the architecture that decisions lead to.

        Raises:
            InvalidArchitecture: If a rule is broken or it is not held, with the reason.
        """
        architecture = super().resolve(decide)
        if architecture.fingerprint not in self._fingerprints:
            raise InvalidArchitecture(f"{architecture.fingerprint} is not in the table")
        return architecture

    def draw(self, rng: random.Random) -> Decisions:
        """Return decisions drawn uniformly over what is held."""
        return dict(rng.choice(self.held))

    def draw_branches(self, rng: random.Random) -> Decisions:
        """Return the decisions held that are nearest to a branch-uniform draw."""
        drawn = super().draw_branches(rng)
        return drawn if self._holds(drawn) else self._near(drawn, 1)[0]

    def mutate(self, decisions: Decisions, rng: random.Random) -> tuple[Decisions, Architecture]:
        """Return a neighbour that is held, other than where it starts."""
        if self.size == 1:
            raise BadInput(
                f"the table of the space {self.name} holds a single architecture: there is nothing to mutate"
            )
        led = self._whole.mutate(decisions, rng)[0]
        if not self._holds(led):
            led = rng.choice([near for near in self._near(led, NEAREST) if near != decisions])
        return dict(led), self.architecture(led)

    def enumerate(self) -> Iterator[tuple[Decisions, Architecture]]:
        """Yield every architecture that is held, with its decisions."""
        for decisions in self.held:
            yield dict(decisions), self.architecture(decisions)

    def _holds(self, decisions: Decisions) -> bool:
        try:
            self.architecture(decisions)
        except InvalidArchitecture:
            return False
        return True

    def _near(self, decisions: Decisions, count: int) -> list[Decisions]:
        import numpy as np

        apart = np.abs(self._encoded - self.encode(decisions)).sum(axis=1)
        return [self.held[i] for i in np.argsort(apart, kind="stable")[:count]]

    @cached_property
    def _whole(self) -> Space:
        return Space(self.network, self.constraints, self.name, self.traits)

    @cached_property
    def _fingerprints(self) -> frozenset[str]:
        return frozenset(self._whole.architecture(decisions).fingerprint for decisions in self.held)

    @cached_property
    def _encoded(self) -> np.ndarray:
        return self.encode_many(self.held)
