"""Random proposals: every architecture is equally likely, or every option of a choice."""

from __future__ import annotations

from invnas.choice import Decisions
from invnas.search.sampler import Context, Draws, Told
from invnas.space import Space


class RandomSampler:
    """Draws uniformly and learns nothing.

    Args:
        space: Where to draw.
        seed: Seed of the draws.
        branches: Uniformly over the options of each choice; else over all architectures, of which most are deep.
    """

    uniform = True

    def __init__(self, space: Space, seed: int = 0, branches: bool = False) -> None:
        self._draw, self._draws = space.draw_branches if branches else space.draw, Draws(seed)

    def ask(self, context: Context) -> Decisions:
        """Return a draw, valid or not."""
        return self._draw(self._draws.at(context.number))

    def tell(self, told: Told) -> None:
        """Forget what came out."""
