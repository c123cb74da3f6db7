"""Whether a file computes what its network does: both are compared with the same network in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from invnas.errors import InvnasError

#: Times the network's own error in float32 that a file may be off: both round, each in its own order.
TIMES = 10
#: The error of its own that a network has at least, a few roundings, and at most: more than that nobody can rely on.
LEAST, MOST = 2.0**-20, 1e-4
#: The error of its own that is assumed where a network cannot be computed in float64.
ASSUMED = 1e-5

Tensor = torch.Tensor


class ExportMismatch(InvnasError):
    """An exported file computes other scores than the network."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What a network makes of some images.

    Attributes:
        images: Batches (B, C, H, W).
        scores: Those of the network in float32.
        exact: Those in float64; the same as `scores` where the network cannot be computed in it.
    """

    images: list[Tensor]
    scores: list[Tensor]
    exact: list[Tensor]

    @property
    def own(self) -> float:
        """The error of the network itself in float32, as a share of the largest score."""
        return ASSUMED if self.exact is self.scores else self.error(self.scores)

    @property
    def limit(self) -> float:
        """The error that a file may have."""
        return TIMES * min(max(self.own, LEAST), MOST)

    def error(self, found: Sequence[Tensor]) -> float:
        """Return the largest difference of a score from the exact one, over the largest; NaN where one is NaN."""
        scale = max(float(batch.abs().max()) for batch in self.exact) or 1.0
        apart = [(mine.double() - exact.double()).abs().max() for mine, exact in zip(found, self.exact, strict=True)]
        return float(torch.stack(apart).max()) / scale  # the maximum of Python may lose a NaN


def truth_of(network: nn.Module, images: list[Tensor]) -> Truth:
    """Return what a network in eval mode, float32 and on the CPU makes of images; raises what it raises."""
    scores = _scores(network, images)
    try:
        exact = _scores(copy.deepcopy(network).double(), [batch.double() for batch in images])
    except Exception:  # a user's own module may know float32 alone
        exact = scores
    return Truth(images, scores, exact)


def _scores(network: nn.Module, images: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [network(batch) for batch in images]
