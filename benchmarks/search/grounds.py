"""On what searches are compared: a space, what a search of a seed sees, what is true, and a box fixed beforehand.

The search sees one training of an architecture; the score uses the others of the same architecture, or the truth
without noise where there is one.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import nasbench201
import numpy as np
import transfer
from truths import Truth as Formula

from invnas.architecture import Architecture
from invnas.bench import Answer, Pool, Truth, load
from invnas.cost import pricer
from invnas.errors import InvalidArchitecture
from invnas.experiment import Experiment
from invnas.measurement import Cost, Measurement
from invnas.pareto import Box
from invnas.space import Space, load_space
from invnas.space_check import smallest

AXES = Experiment().axes
#: Branch-uniform draws from which the box comes where no table holds all; quantile of accuracies at its lower end.
DRAWS, LOW = 2_000, 0.1
#: Seeds of the trainings of InvBench.
SEEDS = 3

Ask = Callable[[Architecture], Answer]


@dataclass(frozen=True)
class Ground:
    """One problem.

    Attributes:
        space: Where to search.
        seen: From the seed of a search to what it sees: a mapping, or a function of the architecture.
        judged: From the seed of a search to what it is scored by.
        price: The cost alone.
        box: Accuracy from the lower tenth of draws, or of a table, to a third of the error of the best; cost from their
            dearest to their cheapest.
        trials: Trainings of a search.
        conditional: Whether some choices are met in some architectures only.
        told: The same space with traits, where somebody who knows it has written some.
    """

    space: Space
    seen: Callable[[int], Mapping[Architecture, Answer] | Ask]
    judged: Callable[[int], Ask]
    price: Callable[[Architecture], Cost]
    box: Box
    trials: int = 200
    conditional: bool = True
    told: Space | None = None


def _box(answers: Iterable[Answer]) -> Box:
    many = list(answers)
    top1, macs = [measured.top1 for _, measured in many], [cost["macs"] for cost, _ in many]
    return Box((float(np.quantile(top1, LOW)), max(macs)), (1 - (1 - max(top1)) / 3, min(macs)))


def _drawn(space: Space, count: int = DRAWS) -> list[Architecture]:
    rng, found = random.Random("box"), list[Architecture]()
    while len(found) < count:
        try:
            found.append(space.architecture(space.draw_branches(rng)))
        except InvalidArchitecture:
            continue
    return found


def formula(kind: str) -> Ground:
    """Return hybrid_cifar with a truth made by formula."""
    space, price = load_space("hybrid_cifar"), cache(pricer((3, 32, 32), 10))
    truth = Formula(space, price, kind)

    def decided(architecture: Architecture) -> tuple[Any, Cost]:
        return space.decisions(architecture), price(architecture)

    @cache
    def true(architecture: Architecture) -> Answer:
        decisions, cost = decided(architecture)
        return cost, Measurement({"top1": truth.accuracy(decisions, cost)})

    def seen(seed: int) -> Ask:
        def answer(architecture: Architecture) -> Answer:
            decisions, cost = decided(architecture)
            return cost, Measurement({"top1": truth.seen(decisions, cost, seed)})

        return answer

    return Ground(space, seen, lambda seed: true, price, _box(map(true, [*_drawn(space), smallest(space, price)[1]])))


def fitted() -> Ground:
    """Return hybrid_cifar with a truth fitted to InvBench."""
    space, price = load_space("hybrid_cifar"), cache(pricer((3, 32, 32), 10))
    truth = transfer.Transferred(load(), space, price, _drawn(space, 600))
    true = cache(truth)
    return Ground(
        space,
        truth.noisy,
        lambda seed: true,
        price,
        _box(map(true, [*_drawn(space), smallest(space, price)[1]])),
    )


def whole() -> Ground:
    """Return the whole space of InvBench, with the forest fitted to the table as its truth."""
    bench, price = load(), cache(pricer((1, 8, 8), 10))
    truth = Truth(bench, price)
    true = cache(truth)
    return Ground(
        bench.space,
        truth.noisy,
        lambda seed: true,
        price,
        _box(map(true, [*_drawn(bench.space), smallest(bench.space, price)[1]])),
    )


def invbench() -> Ground:
    """Return the table: architectures that were trained with all seeds; a search sees one, by turns."""
    bench = load()
    every = bench.answers(seed=tuple(range(SEEDS)))
    single = [bench.answers(seed=seed) for seed in range(SEEDS)]
    others = [bench.answers(seed=tuple(i for i in range(SEEDS) if i != seed)) for seed in range(SEEDS)]
    space = Pool.of(bench.space, every)
    tables = [{one: table[one] for one in every} for table in single]

    return Ground(
        space,
        lambda seed: tables[seed % SEEDS],
        lambda seed: others[seed % SEEDS].__getitem__,
        lambda architecture: every[architecture][0],
        _box(every.values()),
        trials=100,
    )


def nasbench(images: str) -> Ground:
    """Return NAS-Bench-201: a search sees one training of a cell, the score is the mean of the others."""
    table = nasbench201.accuracies(images)
    space = nasbench201.space()
    price = cache(lambda architecture: nasbench201.cost(architecture.network, images))

    def answer(architecture: Architecture, values: Iterable[float]) -> Answer:
        return price(architecture), Measurement({"top1": statistics.fmean(values)})

    def seen(seed: int) -> Ask:
        def found(architecture: Architecture) -> Answer:
            values = table[architecture.network]
            return answer(architecture, [values[seed % len(values)]])

        return found

    def judged(seed: int) -> Ask:
        def found(architecture: Architecture) -> Answer:
            values = table[architecture.network]
            return answer(architecture, [one for i, one in enumerate(values) if i != seed % len(values)])

        return found

    def true(architecture: Architecture) -> Answer:
        return answer(architecture, table[architecture.network])

    box = _box(map(true, map(Architecture, table)))
    return Ground(space, seen, judged, price, box, conditional=False, told=nasbench201.told())


KINDS = ("pairs", "rugged", "additive", "capacity")
GROUNDS: Mapping[str, Callable[[], Ground]] = {
    **{f"nasbench201-{images}": lambda images=images: nasbench(images) for images in nasbench201.IMAGES},
    "hybrid_cifar-fitted": fitted,
    "invbench-forest": whole,
    "invbench": invbench,
    **{f"hybrid_cifar-{kind}": lambda kind=kind: formula(kind) for kind in KINDS},
}
#: Those whose space has traits.
TOLD = frozenset(f"nasbench201-{images}" for images in nasbench201.IMAGES)
#: What a table calls a ground.
TITLES: Mapping[str, str] = {
    **{f"nasbench201-{images}": f"NAS-Bench-201, {images}" for images in nasbench201.IMAGES},
    "hybrid_cifar-fitted": "hybrid_cifar, truth fitted to InvBench",
    "invbench-forest": "space of InvBench, a forest fitted to it",
    "invbench": "InvBench, architectures with three seeds",
    **{f"hybrid_cifar-{kind}": f"hybrid_cifar, truth by formula: {kind}" for kind in KINDS},
}
