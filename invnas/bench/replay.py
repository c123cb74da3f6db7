"""A search on recorded values: the loop of every search, with an engine that answers from a table."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from invnas.architecture import Architecture
from invnas.bench.pool import Pool
from invnas.caps import Caps
from invnas.choice import Decisions
from invnas.errors import BadInput, shown
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.measurement import Cost, Measurement, Phase, Trial
from invnas.messages import Ended, Job, Message, SpaceSource
from invnas.search.loop import search
from invnas.search.sampler import Sampler
from invnas.search.samplers import make_sampler
from invnas.settings import names
from invnas.space import Space
from invnas.space_check import Price

#: What is known of an architecture.
Answer = tuple[Cost, Measurement]
Table = Mapping[Architecture, Answer] | Callable[[Architecture], Answer]


def replay(
    space: Space,
    table: Table,
    sampler: str | Sampler = "known-cost",
    trials: int = 200,
    seed: int = 0,
    *,
    sampler_args: Mapping[str, Any] | None = None,
    objectives: Sequence[str] = ("top1", "macs"),
    caps: Caps | None = None,
    workers: int = 1,
    price: Price | None = None,
) -> list[tuple[Architecture, Measurement]]:
    """Search as `invnas search` does, deduplication, caps and substitutes included, on values that are known.

    A mapping is searched as it is: only what it holds is proposed (see `Pool`), so a search ends when all of it was
    taken. A callable answers for the whole space.

    Args:
        space: Where to search; a `Pool` saves the time of making one from a mapping again and again.
        table: From an architecture to its cost and measurement.
        sampler: Name or class path, or a sampler of your own, made for this space.
        trials: How many trainings there shall be.
        seed: Seed of the proposals.
        sampler_args: Arguments of the sampler by name.
        objectives: Two or three, by name.
        caps: Largest cost allowed.
        workers: Trainings at a time: so many proposals are made before the first answer.
        price: The cost alone, where that is quicker than the answer of the table: samplers look at the costs of many.

    Returns:
        What was trained, in its order, with what came out.

    Raises:
        BadInput: If the table holds an architecture that is not in the space, answers with something else than a cost
            and a measurement, or the search could not be asked for.

    >>> from invnas.space import load_space
    >>> digits = load_space("digits")
    >>> def table(architecture):
    ...     blocks = sum(len(stage.blocks) for stage in architecture.network.stages)
    ...     return Cost.counted(1000 * blocks, 100, 64), Measurement({"top1": blocks / 5})
    >>> [measured.top1 for _, measured in replay(digits, table, "random", trials=3)]
    [0.8, 0.8, 0.8]
    """
    if not isinstance(space, Space):
        raise BadInput(f"`space` must be a Space, such as load_space('digits'), but got {shown(space)}")
    asked = Experiment(
        space=space.name or "replay",
        objectives=names(objectives, "objectives"),
        trials=trials,
        sampler=sampler if isinstance(sampler, str) else "random",
        sampler_args=dict(sampler_args or {}),
        seed=seed,
        workers=workers,
    )
    where, answer = _searched(space, table)
    record = _Memory(asked)
    search(
        where,
        make_sampler(asked, where) if isinstance(sampler, str) else sampler,
        price or (lambda architecture: answer(architecture)[0]),
        _Recorded(answer, asked.workers or 1),
        record,
        trials=asked.trials,
        objectives=asked.axes,
        caps=caps,
        rng_seed=asked.seed,
    )
    done = (trial for trial in record.trials() if trial.measurement is not None)
    return [(trial.architecture, trial.measurement) for trial in done if trial.measurement is not None]


def _searched(space: Space, table: Table) -> tuple[Space, Callable[[Architecture], Answer]]:
    """Return what is searched, and who answers."""
    if isinstance(table, Mapping):
        for one in table:
            if not isinstance(one, Architecture):
                raise BadInput(f"the keys of a table must be architectures, but one is {shown(one)}")
        return space if isinstance(space, Pool) else Pool.of(space, table), lambda one: _answer(table, one)
    if not callable(table):
        raise BadInput(f"`table` must be a mapping or a function of architectures, but got {shown(table)}")
    return space, lambda one: _checked(one, table(one))


def _answer(table: Mapping[Architecture, Answer], architecture: Architecture) -> Answer:
    if architecture not in table:
        raise BadInput(f"the table has no {architecture.fingerprint}, which the pool holds: make the pool from it")
    return _checked(architecture, table[architecture])


def _checked(architecture: Architecture, found: Any) -> Answer:
    match found:
        case (Cost() as cost, Measurement() as measured):
            return cost, measured
    raise BadInput(
        f"the table must answer with a Cost and a Measurement, but of {architecture.fingerprint} it says {shown(found)}"
    )


class _Recorded:
    """An engine that answers at once, in the order of submission."""

    def __init__(self, answer: Callable[[Architecture], Answer], workers: int) -> None:
        self.workers = workers
        self._answer = answer
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def stop(self, number: int) -> None:
        """Nothing runs that could be ended."""

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        job = self._waiting.popleft()
        tell(Ended(job.number, self._answer(job.architecture)[1], job.attempt))

    def quiet(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        self._waiting.clear()


class _Memory:
    """A record of a search that nobody resumes."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._trials: list[Trial] = []

    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._trials)

    def start(self, architecture: Architecture, decisions: Decisions, cost: Cost, phase: Phase) -> Trial:
        self._trials.append(Trial(len(self._trials), architecture, decisions, cost, phase=phase))
        return self._trials[-1]

    def job(self, trial: Trial) -> Job:
        images, source = DataFacts((1, 8, 8), 10), SpaceSource("replay", "")  # nothing is built
        return Job(trial.number, trial.architecture, trial.cost, self._experiment, images, source)

    def report(self, trial: Trial, measurement: Measurement) -> Trial:
        raise BadInput("a replay has no rungs")

    def finish(self, trial: Trial, measurement: Measurement) -> Trial:
        return self._keep(replace(trial, state="complete", measurement=measurement))

    def stop(self, trial: Trial, measurement: Measurement) -> Trial:
        return self._keep(replace(trial, state="stopped", measurement=measurement))

    def fail(self, trial: Trial, reason: str) -> Trial:
        return self._keep(replace(trial, state="failed", reason=reason))

    def _keep(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        return trial
