"""The phases of a run: the search, its random baselines, references and further seeds, each trained to its number."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from invnas.engine.signals import stopped_by_signals
from invnas.errors import DiskFailed, InvnasError, disk_failure
from invnas.experiment import Experiment
from invnas.measurement import BASELINES, PHASES, Phase, Trial
from invnas.messages import Engine
from invnas.metering import Metering, prices_of
from invnas.run import Run
from invnas.search.convergence import Convergence
from invnas.search.halving import HalvingStopper
from invnas.search.live import LiveView
from invnas.search.loop import SearchOutcome, search
from invnas.search.outlook import Candidates
from invnas.search.references import references
from invnas.search.samplers import make_sampler
from invnas.search.status_file import StatusFile
from invnas.space_check import Price, ends_of
from invnas.stopping import halving_of

if TYPE_CHECKING:
    from invnas.engine.ray.cluster import Cluster


def _engine(run: Run, cluster: Cluster | None) -> Engine:
    if cluster is None:
        from invnas.engine.local import local_engine

        return local_engine(run.folder, run.experiment)
    from invnas.engine.ray.engine import RayEngine

    return RayEngine(run.folder, run.experiment, cluster)


def continue_run(
    run: Run, quiet: bool, cluster: Cluster | None, only: Phase | None = None, metering: Metering | None = None
) -> Run:
    """Train what the phases of a run still lack, one phase after the other.

    Args:
        run: The run; it is locked meanwhile.
        quiet: Show no progress.
        cluster: The connection to Ray, for runs under Ray.
        only: The phase that goes on; by default all.
        metering: Who knows latencies, where something asks for them.
    """
    from invnas.engine.images import images_of

    with stopped_by_signals(), _disk_failures(run.folder), run.locked():
        _bound(run)
        phases = [phase for phase in PHASES if only in (None, phase)]
        choosing = run.experiment.baselines and "reference" in phases
        if lacking(run, phases):
            images_of(run)
            if not quiet:
                for split, words in run.manifest.facts.origins.items():
                    print(f"{split}: {words}", file=sys.stderr)
        engine = _engine(run, cluster)
        try:
            for phase in phases:
                if phase == "reference" and choosing:
                    _choose_references(run, engine, metering)
                if number := phases_of(run).get(phase):
                    _phase(run, engine, phase, number, quiet, metering)
        finally:
            engine.close()
    return run


def lacking(run: Run, phases: Collection[Phase] = tuple(PHASES)) -> bool:
    """Tell whether some phases of a run lack trainings."""
    unchosen = run.experiment.baselines and "reference" in phases and not run.trials("reference")
    wanted = phases_of(run)
    return unchosen or any(finished(run, phase) < wanted.get(phase, 0) for phase in phases)


def _bound(run: Run) -> None:
    """Record where the space ends, once in the life of a run: the box of its hypervolume."""
    counted = [axis.name for axis in run.experiment.axes if axis.source == "counted"]
    if counted and not run.manifest.ends:
        with suppress(InvnasError):  # nothing valid: the search will say why
            run.bound(ends_of(run.space, _price(run), counted))


def _choose_references(run: Run, engine: Engine, metering: Metering | None) -> None:
    """Record as running what the front shall be compared with; the same record chooses the same."""
    experiment, meter = run.experiment, None if metering is None else metering.meter(engine)
    price = _price(run, metering)
    known = {trial.architecture.fingerprint for trial in run.trials("reference")}
    searched = run.trials("search")
    for one in references(run.space, searched, experiment.axes, price, experiment.caps, experiment.seed):
        cost = one.cost if meter is None else meter(one.architecture, one.cost)
        if one.fingerprint not in known and experiment.caps.reason(cost) is None:
            run.start(one.architecture, one.decisions, cost, "reference")


def phases_of(run: Run) -> dict[Phase, int]:
    """Return the phases of a run in their order, each with the finished trials it shall reach."""
    wanted: dict[Phase, int] = {phase: len(run.trials(phase)) for phase in PHASES}
    wanted["search"] = run.experiment.trials
    wanted |= {phase: run.experiment.trials if phase in run.experiment.drawn else 0 for phase in BASELINES}
    return {phase: number for phase, number in wanted.items() if number}


def finished(run: Run, phase: Phase) -> int:
    """Return how many trials of a phase have ended."""
    return sum(trial.state != "running" for trial in run.trials(phase))


@contextmanager
def _disk_failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)  # the journal does not say its name
        if (refused := disk_failure(error)) is None:
            raise
        raise DiskFailed(refused) from error


def _price(run: Run, metering: Metering | None = None) -> Price:
    if metering is not None:
        return metering.price
    from invnas.cost import pricer

    facts = run.manifest.facts
    return pricer(facts.input_shape, run.experiment.what.head(facts))


def stopper_of(experiment: Experiment, trials: Sequence[Trial]) -> HalvingStopper | None:
    """Return who judges at the rungs of a search; None where nobody does, or a scheduler of Ray Tune."""
    if experiment.stopper != "halving":
        return None
    return HalvingStopper(experiment.axes, halving_of(experiment.stopper_args).eta, trials)


def _convergence(run: Run) -> Convergence | None:
    experiment = run.experiment
    if experiment.stop_when_converged is None:
        return None
    price, foretold = prices_of(experiment, run.manifest.facts)
    candidates = Candidates(run.space, price, experiment.caps, experiment.axes, experiment.seed, foretold)
    since = None if run.ended is None else run.ended[0]
    share, trials = experiment.stop_when_converged, experiment.converged_trials
    return Convergence(candidates, experiment.axes, share, trials, since)


def _phase(run: Run, engine: Engine, phase: Phase, wanted: int, quiet: bool, metering: Metering | None) -> None:
    experiment = run.experiment
    mine, title = run.trials(phase), PHASES[phase]
    # Another seed: a random search and its baseline shall not draw the same architectures.
    drawn = BASELINES.get(phase, "random")
    uniform = replace(experiment, sampler=drawn, sampler_args={}, warm_start=None, seed=experiment.seed + 1)
    asked = experiment if phase == "search" else uniform
    view = LiveView(
        wanted,
        experiment.axes,
        mine,
        caps=experiment.caps,
        ends=run.manifest.ends,
        front=run.trials("search") if phase in ("reference", "confirm") else None,
        title=title,
        quiet=quiet,
    )
    with view, StatusFile(run.folder, view.board):
        outcome = search(
            run.space,
            make_sampler(asked, run.space, mine, run.earlier if phase == "search" else ()),
            _price(run, metering),
            engine,
            run,
            trials=wanted,
            objectives=experiment.axes,
            caps=experiment.caps,
            phase=phase,
            rng_seed=experiment.seed,
            stopper=stopper_of(experiment, mine) if phase == "search" else None,
            meter=None if metering is None else metering.meter(engine),
            convergence=(convergence := _convergence(run) if phase == "search" else None),
            on_event=view,
        )
    if convergence is not None and convergence.reason:
        run.end(convergence.reason)
    if not quiet:
        print(f"{title}: {_told(outcome)}", file=sys.stderr)


def _told(outcome: SearchOutcome) -> str:
    refused = ", ".join(f"{number} {kind}" for kind, number in sorted(outcome.rejected.items())) or "none"
    return (
        f"{outcome.ended}; {outcome.trained} trained, {outcome.stopped} stopped, {outcome.failed} failed, "
        f"{outcome.reused} reused; rejected before training: {refused}"
    )
