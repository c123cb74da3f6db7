"""Trials of real architectures of the digits space with measurements from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from invnas.architecture import Architecture, Involution
from invnas.experiment import Experiment
from invnas.measurement import Cost, Measurement, Phase, Trial
from invnas.report.collect import ReportData, collect
from invnas.space import Space, load_space

CREATED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ENVIRONMENT = {"python": "3.11.7", "torch": "2.13.0", "invnas": "0.1.0", "cpu": "Some <CPU> & more", "device": "cpu"}


def measure(architecture: Architecture, rng: random.Random, latency: bool = False) -> tuple[Cost, Measurement]:
    """Make up a plausible price and measurement."""
    weights = [o.kernel_size * (1 if isinstance(o, Involution) else 3) for _, o in architecture.operators]
    macs = round(120_000 * sum(weights) ** 1.2 * rng.uniform(0.4, 1.6))
    top1 = 0.9 - 0.45 * math.exp(-macs / 6e6) - 0.12 * rng.random()
    cost = Cost.counted(macs, macs // 9, 4096 * len(weights))
    if latency:
        cost = Cost({**cost.values, "latency_ms": round(0.2 + macs / 4e6 * rng.uniform(0.5, 2), 3)})
    values = {"top1": round(top1, 4), "top5": round(0.98 - 0.1 * rng.random(), 4), "loss": round(2 - top1, 4)}
    return cost, Measurement(values, epochs=30, planned_epochs=30, train_seconds=4.2, backend="shift", device="cpu")


def make_trials(
    space: Space, count: int, baseline: int = 0, latency: bool = False, failures: bool = True, branch: int = 0
) -> list[Trial]:
    """Return finished trials; every ninth fails when `failures`."""
    rng = random.Random(0)
    trials = []
    phases: list[Phase] = [*["search"] * count, *["random"] * baseline, *["branch"] * branch]
    for number, phase in enumerate(phases):
        decisions, architecture = space.sample(rng)
        while number % 3 == 1 and architecture.kind != "convolution":  # rare in a uniform sample
            decisions, architecture = space.sample(rng)
        cost, measured = measure(architecture, rng, latency)
        base = Trial(number, architecture, decisions, cost, phase=phase)
        made = {"state": "complete", "measurement": measured}
        if failures and number % 9 == 8:
            made = {
                "state": "failed",
                "reason": f"the loss was NaN in epoch {number % 5} <b>&</b> the training stopped",
            }
        trials.append(Trial(**{**vars_of(base), **made}))
    return trials


def halved(trials: list[Trial], every: int = 4) -> list[Trial]:
    """Return trials of which one in so many was stopped after 8 of 30 epochs; the first is continued at the end."""
    made = [
        replace(trial, state="stopped", measurement=replace(trial.measurement, epochs=8))
        if trial.number % every == 1 and trial.measurement is not None
        else trial
        for trial in trials
    ]
    first = trials[1]
    return [*made, replace(first, number=len(trials), continues=first.number)]


def vars_of(trial: Trial) -> dict[str, object]:
    return {name: getattr(trial, name) for name in trial.__dataclass_fields__}


def make_data(
    count: int = 30, baseline: int = 0, latency: bool = False, stopped: bool = False, branch: int = 0, **other: object
) -> ReportData:
    """Return the data of a report over the digits space."""
    trials = make_trials(load_space("digits"), count, baseline, latency, count > 1, branch)
    trials = halved(trials) if stopped else trials
    experiment = Experiment(**{"trials": max(count, 1), "random_baseline": baseline > 0, "seed": 7, **other})  # type: ignore[arg-type]
    tested = {trial.number: {"top1": 0.7} for trial in trials if trial.state == "complete" and trial.number % 2 == 0}
    return collect("runs/digits <1>", experiment, trials, ENVIRONMENT, tested, CREATED)


@pytest.fixture(scope="session")
def data() -> ReportData:
    return make_data(40, 40)


@pytest.fixture(scope="session")
def make() -> Callable[..., ReportData]:
    return make_data
