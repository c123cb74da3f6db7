"""Which images train and which are held out: seeded, stratified by class, disjoint."""

from __future__ import annotations

import numpy as np


def seed_of(*parts: int) -> int:
    """Return one well-mixed seed in [0, 2**63) made of several non-negative numbers, such as seed and epoch."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices of `labels` in two, class by class.

    A class of at least two images has at least one on either side; a single image stays in the rest.

    Args:
        labels: Class of each image, (N,).
        share: Share of each class to hold out, in (0, 1).
        seed: Equal seeds give equal splits in any process.

    Returns:
        Sorted indices of the rest and of the held-out images.
    """
    held = np.zeros(len(labels), dtype=bool)
    for members in _shuffled_classes(labels, seed):
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held[members[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def subset(labels: np.ndarray, count: int, seed: int, balance: bool = False) -> np.ndarray:
    """Return sorted indices of `count` images; the subset of a smaller count is part of that of a larger one.

    Args:
        labels: Class of each image, (N,).
        count: How many; all where there are fewer.
        seed: Seed of the draw.
        balance: Draw from the classes in turn, equally many of each as far as they go. Otherwise every class keeps its
            share, to an image; a class whose share is less than one image may be left out.
    """
    turn = np.empty(len(labels))
    for members in _shuffled_classes(labels, seed):
        # In its class, an image stands at this place: the n-th, or behind this share of the class.
        turn[members] = np.arange(len(members)) if balance else (np.arange(len(members)) + 0.5) / len(members)
    tie = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(np.lexsort((tie, turn))[:count])


def balanced(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return as many indices as there are labels, in random order, each class equally often (to one image).

    Within a class every image comes as often as the others, to one; those that come once more are drawn by the seed.
    """
    members = _shuffled_classes(labels, seed)
    rng = np.random.default_rng((seed, 1))
    each, more = divmod(len(labels), len(members))
    extra = rng.permutation(len(members)) < more
    return rng.permutation(np.concatenate([np.resize(m, each + one) for m, one in zip(members, extra, strict=True)]))


def _shuffled_classes(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return [rng.permutation(members) for members in np.split(order, starts) if len(members)]
