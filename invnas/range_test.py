"""A rate for all trainings of a run, found before the first: a range test on a few architectures of the space.

A short training whose rate rises from step to step, evenly in its logarithm, until the loss has left its valley.
Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from invnas.architecture import Architecture
from invnas.errors import BadInput, InvalidArchitecture, InvnasError, TrialFailed
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.nn import build
from invnas.pretrained import Pretrained, keys_of
from invnas.rates import RateSearch, Sweep
from invnas.space import Space
from invnas.space_check import Price, smallest_within
from invnas.training import make_trainer, quiet_lightning, release, set_order

#: Steps of a sweep, and the rates at its ends by optimiser.
STEPS = 120
ENDS = {"sgd": (1e-4, 10.0), "adamw": (1e-6, 0.3)}

#: Architectures that are looked at, and those of them, by cost, that are tried.
_DRAWS = 100
_SHARES = (1 / 6, 1 / 2, 5 / 6)

#: A loss of so many times the smallest one so far has left the valley.
_LEFT = 3.0


class _Over(Exception):
    """The sweep has seen what there is to see."""


class _Sweeping(Callback):
    """Sets the rate of each step and keeps its loss."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates, self.losses = rates, list[float]()

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[len(self.losses)]

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any) -> None:
        if outputs is None:  # a last batch of one image
            return
        self.losses.append(float(outputs["loss"]))
        left = len(self.losses) > len(self.rates) // 4 and self.losses[-1] > _LEFT * max(min(self.losses), 1e-8)
        if left or len(self.losses) == len(self.rates):
            raise _Over


def find_rate(
    experiment: Experiment,
    space: Space,
    price: Price,
    data: LightningDataModule,
    facts: DataFacts,
    start: Pretrained | None = None,
) -> RateSearch:
    """Return the sweeps of a cheap, a middling and a dear architecture within the caps.

    The same experiment has the same ones. Each costs `STEPS` steps of training.

    Args:
        experiment: What is searched for.
        space: Where.
        price: What an architecture costs.
        data: Set-up images.
        facts: The images.
        start: Weights that trainings start from.

    Raises:
        BadInput: If the loss of one of them is finite at no rate.
    """
    drawn = _drawn(experiment, space, price)
    places = sorted({int(share * len(drawn)) for share in _SHARES})
    return RateSearch(tuple(sweep(drawn[i][1], data, experiment, facts, drawn[i][0], start) for i in places))


def _drawn(experiment: Experiment, space: Space, price: Price) -> list[tuple[int, Architecture]]:
    """Return architectures with their multiply-adds, cheapest first, at least one."""
    rng, found = random.Random(experiment.seed), dict[str, tuple[int, Architecture]]()
    for _ in range(_DRAWS):
        try:  # uniform over the options, for uniform draws are nearly all deep
            architecture = space.architecture(space.draw_branches(rng))
            cost = price(architecture)
        except InvalidArchitecture:
            continue
        if experiment.caps.reason(cost) is None:
            found[architecture.fingerprint] = cost.macs, architecture
    if len(found) < len(_SHARES):  # tight caps: what is near their cheapest architecture, step by step
        decisions, architecture, cost = smallest_within(space, price, experiment.caps, experiment.seed)
        found[architecture.fingerprint] = cost.macs, architecture
        for _ in range(_DRAWS):
            with suppress(InvnasError):  # a space of one architecture has no neighbours
                other, architecture = space.mutate(decisions, rng)
                cost = price(architecture)
                if experiment.caps.reason(cost) is None:
                    found[architecture.fingerprint], decisions = (cost.macs, architecture), other
    return sorted(found.values(), key=lambda one: (one[0], one[1].fingerprint))


def sweep(
    architecture: Architecture,
    data: LightningDataModule,
    experiment: Experiment,
    facts: DataFacts,
    macs: int,
    start: Pretrained | None = None,
) -> Sweep:
    """Return the losses of one architecture at rising rates; its first weights are those of a training of the seed.

    Args:
        architecture: What is trained for a moment.
        data: Set-up images.
        experiment: Task, recipe and seed.
        facts: The images.
        macs: What it costs, for the record.
        start: Weights that trainings start from.
    """
    low, high = ENDS[experiment.recipe.optimizer]
    rates = [low * (high / low) ** (step / (STEPS - 1)) for step in range(STEPS)]
    torch.manual_seed(experiment.seed)
    what = experiment.what
    recipe = replace(experiment.recipe, epochs=STEPS, learning_rate=None, ema=0.0, max_minutes=None)
    network = build(architecture, facts.input_shape, what.head(facts))
    if start is not None:
        start.fill(keys_of(architecture, facts, experiment.task), network)
    module = what.module(network, facts, recipe)
    module.seed = experiment.seed
    set_order(data, recipe, experiment.seed)
    sweeping = _Sweeping(rates)
    try:
        with quiet_lightning():
            trainer = make_trainer(recipe, [sweeping])
            trainer.fit(module, datamodule=data)
    except (_Over, TrialFailed):  # a loss that is not finite is the end of the valley, too
        pass
    finally:
        release(module, data)
    found = [loss for loss in sweeping.losses if math.isfinite(loss)]
    if len(found) < STEPS // 8:
        raise BadInput(
            "`recipe.learning_rate` is auto, but the loss of an architecture is finite at no rate: give a rate"
        )
    told = [float(f"{rate:.4g}") for rate in rates[: len(found)]]  # as they are recorded
    return Sweep(architecture.fingerprint, macs, tuple(told), tuple(found))
