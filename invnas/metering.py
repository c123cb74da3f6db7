"""The latency of what a search proposes: foretold for all that is looked at, measured before anything is trained."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invnas.architecture import Architecture
from invnas.caps import Caps
from invnas.engine.cores import reserved
from invnas.errors import BadInput, InvalidArchitecture
from invnas.experiment import Experiment
from invnas.facts import DataFacts
from invnas.latency.predictor import Predictor, fitted, telling
from invnas.measurement import Cost, Trial
from invnas.messages import Engine
from invnas.objective import LATENCY
from invnas.progress import ProgressBar
from invnas.search.proposer import Meter
from invnas.space import Space
from invnas.space_check import Price, smallest

if TYPE_CHECKING:
    from invnas.latency.stopwatch import Stopwatch

#: Networks that are timed for the predictor, out of so many draws; fewer than the least foretell nothing.
CALIBRATION, DRAWS, LEAST = 20, 400, 4


class Metering:
    """What latency adds to the costs of a search.

    Args:
        stopwatch: Who times.
        space: Where is searched.
        price: What is counted of an architecture.
        tables: What of it takes time.

    Attributes:
        predictor: What foretells latencies; None before `calibrate`, and where too few networks can be timed.
        timed: What it was fitted to, the table of each network with its milliseconds.
    """

    def __init__(
        self, stopwatch: Stopwatch, space: Space, price: Price, tables: Callable[[Architecture], np.ndarray]
    ) -> None:
        self._stopwatch, self._space, self._counted, self._tables = stopwatch, space, price, tables
        self.predictor: Predictor | None = None
        self.timed: list[tuple[np.ndarray, float]] = []

    def calibrate(self, quiet: bool) -> None:
        """Time the networks that tell most of the space, the same for each run on it, and say how well that foretells.

        Args:
            quiet: Say nothing.

        Raises:
            BadInput: If no architecture that was drawn can be timed, with the reason of the last one.
        """
        drawn = self._drawn()
        every = np.array([self._tables(one) for one in drawn])
        refused, self.timed = "", []
        words = self._stopwatch.latency.words
        chosen = telling(every, CALIBRATION) if len(drawn) else []
        with ProgressBar(f"latency, {words}", len(chosen), quiet=quiet) as bar:
            for place in chosen:
                try:
                    self.timed.append((every[place], self._stopwatch(drawn[place]).ms))
                except InvalidArchitecture as error:
                    refused = str(error)
                bar.step(f"{self.timed[-1][1]:.3g} ms" if self.timed else refused)
        if refused and not self.timed:
            raise BadInput(f"no architecture of the space {self._space.name} has a latency ({words}): {refused}")
        if len(self.timed) >= LEAST:
            self.predictor = fitted(np.array([row for row, _ in self.timed]), [ms for _, ms in self.timed])
            if not quiet:
                said = f"{100 * self.predictor.error:.1f} % (each of {len(self.timed)} networks by the others)"
                print(f"latency ({self._stopwatch.words}) is foretold to {said}", file=sys.stderr)

    def _drawn(self) -> list[Architecture]:
        rng, found = random.Random("latency"), dict[str, Architecture]()
        for _ in range(DRAWS):
            decisions = self._space.draw(rng) if rng.random() < 0.5 else self._space.draw_branches(rng)
            with suppress(InvalidArchitecture):
                one = self._space.architecture(decisions)
                self._counted(one)
                found[one.fingerprint] = one
        return list(found.values())

    def price(self, architecture: Architecture) -> Cost:
        """Return what is counted, and the latency: as it was measured, or else foretold."""
        cost = self._counted(architecture)
        if (timing := self._stopwatch.known(architecture)) is not None:
            return timing.added(cost)
        if self.predictor is None:
            return cost
        return Cost({**cost.values, LATENCY.name: self.predictor(self._tables(architecture))})

    def meter(self, engine: Engine | None) -> Meter:
        """Return what measures a latency while nothing of an engine computes on this machine."""
        quiet = {} if engine is None else {"quiet": engine.quiet}
        return lambda architecture, cost: self._stopwatch(architecture, **quiet).added(cost)

    def check(self, caps: Caps, seed: int) -> None:
        """Measure the architecture that stays furthest below the caps.

        Raises:
            BadInput: If it is beyond them, with what the fastest one takes that was found.
        """
        if self.predictor is None or LATENCY.name not in caps.limits:
            return
        within = smallest(self._space, self.price, seed, caps.excess)[1]
        reason = caps.reason(self.meter(None)(within, self._counted(within)))
        if reason is None:
            return
        fastest = smallest(self._space, self.price, seed, lambda cost: cost[LATENCY.name])[1]
        ms = min(self._stopwatch(one).ms for one in (within, fastest))
        raise BadInput(
            f"nothing in the space {self._space.name} is within {caps}: the fastest architecture found takes "
            f"{ms:.3g} ms ({self._stopwatch.words})"
        )

    def keep_in(self, folder: Path) -> None:
        """Keep what is timed in a run; say where it was timed on another machine before."""
        if elsewhere := self._stopwatch.keep_in(folder / "latency"):
            print(f"note: latencies of this run were measured so far with {elsewhere}", file=sys.stderr)


def prices_of(experiment: Experiment, facts: DataFacts) -> tuple[Price, Callable[[Sequence[Trial]], Price | None]]:
    """Return what counts the cost of an architecture, and what makes a price that foretells its latency, too.

    That one is fitted to the latencies that a record holds, nothing else: so it is the same wherever the record is
    read. It is None for a record of fewer than four.

    Args:
        experiment: What is asked.
        facts: The images.
    """
    from invnas.cost import pricer
    from invnas.latency.table import tabulator

    head = experiment.what.head(facts)
    counted, tables = pricer(facts.input_shape, head), cache(tabulator(facts.input_shape, head))

    def foretold(trials: Sequence[Trial]) -> Price | None:
        timed = {trial.architecture: trial.cost[LATENCY.name] for trial in trials if LATENCY.name in trial.cost}
        if len(timed) < LEAST:
            return None
        predictor = fitted(np.array([tables(one) for one in timed]), list(timed.values()))

        def price(architecture: Architecture) -> Cost:
            ms = timed.get(architecture) or predictor(tables(architecture))
            return Cost({**counted(architecture).values, LATENCY.name: ms})

        return price

    return counted, foretold


@contextmanager
def metering_of(experiment: Experiment, space: Space, own: str, facts: DataFacts) -> Iterator[Metering | None]:
    """Give what measures the latencies of an experiment; None where nothing asks for one.

    Args:
        experiment: What is asked.
        space: Where is searched.
        own: The text of its file.
        facts: The images.

    Raises:
        BadInput: If the host does not answer, or the runtime is missing there.
    """
    if not experiment.metered:
        yield None
        return
    from invnas.cost import pricer
    from invnas.latency.stopwatch import Stopwatch
    from invnas.latency.table import tabulator

    head, cores = experiment.what.head(facts), reserved(experiment.reserve_cores)
    text = own if space.types else ""
    with Stopwatch(experiment.latency, facts.input_shape, head, own=text, cores=cores) as stopwatch:
        tables, price = tabulator(facts.input_shape, head), pricer(facts.input_shape, head)
        yield Metering(stopwatch, space, price, tables)
