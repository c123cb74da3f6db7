"""What InvBench says of architectures that it does not hold: a forest fitted to it, as the truth of replays."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invnas.architecture import Architecture
from invnas.bench.invbench import InvBench
from invnas.bench.replay import Answer
from invnas.errors import BadInput
from invnas.measurement import Cost, Measurement
from invnas.space import Space
from invnas.space_check import Price

#: The forest: no sampler that comes with invnas believes in trees.
TREES, LEAF, SHARE = 200, 2, 0.3
FOLDS = 10


@dataclass(frozen=True)
class Fit:
    """How well a forest foretells top-1 of architectures that it was not fitted to.

    Attributes:
        r2: Share of the variance that is foretold; the noise of the seeds, which nothing foretells, counts as missed.
        tau: Kendall's, of the order of pairs.
        rmse: Root mean square error.
    """

    r2: float
    tau: float
    rmse: float


class Fitted(ABC):
    """What was fitted to trainings: a table for `replay` without noise, and with it by `noisy`."""

    def __call__(self, architecture: Architecture) -> Answer:
        """Return cost and measurement."""
        return self.answer(architecture, 0.0)

    def noisy(self, seed: int) -> Callable[[Architecture], Answer]:
        """Return what a search of this seed sees: each architecture with the noise of one training, always the same."""

        def lucky(architecture: Architecture) -> Answer:
            return self.answer(architecture, random.Random(f"{seed}/{architecture.fingerprint}").gauss(0, 1))

        return lucky

    @abstractmethod
    def answer(self, architecture: Architecture, luck: float) -> Answer:
        """Return cost and measurement of a training so many standard deviations of the seeds above the mean."""


@dataclass(frozen=True)
class Truth(Fitted):
    """Cost and measurement of any architecture of the space of InvBench: a table for `replay`.

    It is fitted to the mean over the seeds of each architecture and has no noise; `noisy` has.

    Attributes:
        bench: What it is fitted to.
        price: What an architecture costs: `invnas.cost.pricer((1, 8, 8), 10)`.
    """

    bench: InvBench
    price: Price

    def answer(self, architecture: Architecture, luck: float) -> Answer:
        """Return cost and measurement of a training so many standard deviations of the seeds above the mean."""
        cost = self.price(architecture)
        logit, log_loss = self._forest.predict(_features(self.bench.space, [(architecture, cost)])[0])
        up, down = self._spread
        top1, loss = 1 / (1 + math.exp(-logit - luck * up)), math.exp(log_loss - luck * down)
        return cost, Measurement({"top1": top1, "loss": loss}, self.bench.epochs, self.bench.epochs)

    @cached_property
    def _forest(self) -> Forest:
        return Forest(*_data(self.bench))

    @cached_property
    def _spread(self) -> tuple[float, float]:
        """Standard deviation between the seeds, of the logit of top-1 and of the logarithm of the loss."""
        several = [targets for targets in targets_of(self.bench).values() if len(targets) > 1]
        up, down = np.sqrt(np.mean([np.var(targets, axis=0, ddof=1) for targets in several], axis=0))
        return float(up), float(down)


def fit_of(bench: InvBench) -> Fit:
    """Return how well architectures in one of ten folds are foretold from the others."""
    inputs, targets = _data(bench)
    fold = np.random.default_rng(0).permutation(len(inputs)) % FOLDS
    found = np.empty(len(inputs))
    for i in range(FOLDS):
        forest = Forest(inputs[fold != i], targets[fold != i])
        found[fold == i] = [forest.predict(row)[0] for row in inputs[fold == i]]
    seen, foretold = (1 / (1 + np.exp(-logits)) for logits in (targets[:, 0], found))
    pairs = np.sign(seen[:, None] - seen) * np.sign(foretold[:, None] - foretold)
    error = float(np.mean((seen - foretold) ** 2))
    n = len(seen)
    return Fit(1 - error / float(np.var(seen)), float(pairs.sum()) / (n * (n - 1)), math.sqrt(error))


class Forest:
    """A forest of regression trees, laid flat: one row is answered in a fraction of a millisecond.

    Args:
        inputs: (n, features).
        targets: (n, outputs).
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        from sklearn.ensemble import RandomForestRegressor

        model = RandomForestRegressor(TREES, min_samples_leaf=LEAF, max_features=SHARE, random_state=0)
        trees = [one.tree_ for one in model.fit(inputs, targets if targets.shape[1] > 1 else targets[:, 0]).estimators_]
        sizes = [tree.node_count for tree in trees]
        self._roots = np.cumsum([0, *sizes[:-1]])
        first = np.repeat(self._roots, sizes)
        self._feature, self._threshold, left, right = (
            np.concatenate([getattr(tree, name) for tree in trees])
            for name in ("feature", "threshold", "children_left", "children_right")
        )
        self._value = np.concatenate([tree.value[:, :, 0] for tree in trees])
        # A leaf leads to itself: all trees are gone down equally far.
        here, leaf = np.arange(len(first)), left < 0
        self._left, self._right = np.where(leaf, here, left + first), np.where(leaf, here, right + first)
        self._depth = max(tree.max_depth for tree in trees)

    def predict(self, row: np.ndarray) -> tuple[float, ...]:
        """Return the outputs for (features,)."""
        row, nodes = row.astype(np.float32), self._roots  # as the forest was fitted
        for _ in range(self._depth):
            goes_left = row[self._feature[nodes]] <= self._threshold[nodes]
            nodes = np.where(goes_left, self._left[nodes], self._right[nodes])
        return tuple(self._value[nodes].mean(axis=0).tolist())


def targets_of(bench: InvBench) -> dict[Architecture, list[tuple[float, float]]]:
    """Return the logit of top-1 and the logarithm of the loss of each training of the whole budget."""
    found: dict[Architecture, list[tuple[float, float]]] = {}
    for training in bench.trainings:
        if training.epochs == bench.epochs:
            top1, loss = training.measurement["top1"], training.measurement["loss"]
            found.setdefault(training.architecture, []).append((math.log(top1 / (1 - top1)), math.log(loss)))
    return found


def _data(bench: InvBench) -> tuple[np.ndarray, np.ndarray]:
    targets = targets_of(bench)
    inputs = _features(bench.space, [(one, bench.costs[one]) for one in targets])
    return inputs, np.array([np.mean(seeds, axis=0) for seeds in targets.values()])


def _features(space: Space, many: Sequence[tuple[Architecture, Cost]]) -> np.ndarray:
    """Return (n, features): counts of the options taken, and the logarithms of what is counted."""
    decisions = [space.decisions(architecture) for architecture, _ in many]
    if None in decisions:
        raise BadInput(f"{many[decisions.index(None)][0].fingerprint} is not in the space of InvBench")
    logs = np.log([[cost.macs, cost.parameters, cost.activation_bytes] for _, cost in many])
    return np.hstack([space.encode_many([taken for taken in decisions if taken is not None]), logs])
