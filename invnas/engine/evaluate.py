"""One trial, in this process: build, train, measure, keep the weights."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from invnas.architecture import Architecture
from invnas.engine.images import open_data, other_images
from invnas.epochs import OnEpoch, OnRung
from invnas.errors import BadInput, InvnasError, TrialFailed, disk_failure, out_of_memory, said_of
from invnas.experiment import Experiment
from invnas.gate import call_of
from invnas.measurement import Measurement
from invnas.messages import Failure, Halt, Job, Message, Outcome, Progress, Store
from invnas.nn import build
from invnas.pretrained import Pretrained, keys_of
from invnas.store import PRETRAINED, checkpoint_of, logs_of, weights_of
from invnas.training import train
from invnas.weights import save_weights


def reason_of(error: BaseException) -> str:
    """Return why a trial failed, as one sentence."""
    text = said_of(error)
    if isinstance(error, SystemExit):
        return f"its code called {call_of(error)}"
    if isinstance(error, InvnasError):
        return text
    if out_of_memory(error):
        return f"out of memory: {text}" if text else "out of memory"
    return f"{type(error).__name__}: {text}"


def evaluate(
    architecture: Architecture,
    experiment: Experiment,
    *,
    checkpoints: Path,
    weights: Path,
    logs: Path,
    on_epoch: OnEpoch | None = None,
    on_rung: OnRung | None = None,
    micro_batches: int = 1,
    pretrained: Pretrained | None = None,
) -> Measurement:
    """Train an architecture as an experiment says, from its last checkpoint when there is one.

    Args:
        architecture: What to train.
        experiment: Data, recipe, seed and objectives.
        checkpoints: Folder of the checkpoint.
        weights: File the trained weights are written to.
        logs: Folder of the recipe's logger.
        on_epoch: Told of each epoch, from 1, once its checkpoint is written; True ends the training.
        on_rung: Told of what was measured at a rung, before its checkpoint is written; True ends the training there.
        micro_batches: Parts of a batch that are computed one after the other.
        pretrained: What the network takes, where it fits, before it is trained.

    Raises:
        Exception: Whatever ends a trial; `reason_of` makes a sentence of it.
    """
    data, facts = open_data(experiment.data)
    torch.manual_seed(experiment.seed)
    network = build(architecture, facts.input_shape, experiment.what.head(facts))
    # After it was built: what is not inherited is what it would be without, and so is every later draw.
    inherited = None
    if pretrained is not None:
        inherited = pretrained.fill(keys_of(architecture, facts, experiment.task), network)
    measured = train(
        network,
        data,
        experiment.recipe,
        facts=facts,
        task=experiment.task,
        seed=experiment.seed,
        checkpoints=checkpoints,
        logs=logs,
        on_epoch=on_epoch,
        rungs=experiment.rungs,
        on_rung=on_rung,
        micro_batches=micro_batches,
    )
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, weights)
    return replace(measured, inherited=inherited)


def pretrained_of(experiment: Experiment, store: Store, scratch: Path) -> Pretrained | None:
    """Return the weights that the trainings of a run start from; None where they start fresh.

    Raises:
        BadInput: If they are missing or damaged.
    """
    if experiment.init_from is None:
        return None
    store.fetch(PRETRAINED, scratch / PRETRAINED)
    return Pretrained.load(scratch / PRETRAINED)


def run_job(
    job: Job, store: Store, scratch: Path, tell: Callable[[Message], None], stopped: Callable[[], bool]
) -> Outcome:
    """Do a job and return what came out, whatever a user's own code raises.

    Args:
        job: What to train.
        store: Where its files are kept.
        scratch: A folder on this machine where the training lays its files, under the names of the store; for a run
            folder on this machine the run folder.
        tell: Told of each epoch.
        stopped: Asked after each epoch whether the training shall end.
    """
    epochs = job.experiment.recipe.epochs
    checkpoint, weights, logs = checkpoint_of(job.number), weights_of(job.number), logs_of(job.number)
    table = f"{logs}/metrics.csv"
    where = platform.node(), _device()

    def say(epoch: int, values: Mapping[str, float], rung: Measurement | None = None) -> None:
        tell(Progress(job.number, epoch, epochs, dict(values), job.attempt, rung, *where))

    def on_epoch(epoch: int, values: Mapping[str, float]) -> bool:
        for name in (checkpoint, table):
            if (scratch / name).is_file():
                store.keep(name, scratch / name)
        say(epoch, values)
        return stopped()

    def on_rung(measured: Measurement) -> bool:
        say(measured.epochs, measured.values, measured)
        return stopped()

    say(0, {})
    try:
        if refused := other_images(job):
            return Halt(refused)
        for name in (checkpoint, table):
            store.fetch(name, scratch / name)
        try:
            pretrained = pretrained_of(job.experiment, store, scratch)
        except BadInput as error:  # no trial's fault
            return Halt(str(error))
        places = {"checkpoints": (scratch / checkpoint).parent, "weights": scratch / weights, "logs": scratch / logs}
        given: dict[str, Any] = {**places, "on_epoch": on_epoch, "on_rung": on_rung, "pretrained": pretrained}
        measured = _within_memory(
            lambda parts: evaluate(job.architecture, job.experiment, **given, micro_batches=parts),
            job.micro_batches,
        )
        store.keep(weights, scratch / weights)
        for path in sorted((scratch / logs).glob("*")):
            store.keep(f"{logs}/{path.name}", path)
        return measured
    except (Exception, SystemExit) as error:  # this ends the trial, not the search
        refused = disk_failure(error)
        failed = Halt(refused) if refused else Failure(reason_of(error))
    _release_memory()
    return failed


def _within_memory(training: Callable[[int], Measurement], micro_batches: int) -> Measurement:
    """Train; where memory runs out once more, from the last checkpoint, with half a batch at a time."""
    if micro_batches == 1:
        try:
            return training(1)
        except Exception as error:
            if not out_of_memory(error):
                raise
        _release_memory()
    try:
        return training(max(micro_batches, 2))
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise TrialFailed(f"{reason_of(error)} (with half a batch at a time, too)") from None


def _release_memory() -> None:
    """Free what a failed training held; not in the handler of its error, which holds the frames with their tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _device() -> str:
    if not torch.cuda.is_available():
        return "cpu"
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    return f"cuda:{named[torch.cuda.current_device()]}"
