"""Training one network with Lightning, and the measurement that comes out."""

from __future__ import annotations

import gc
import logging
import math
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import nn

from invnas.averaging import Average
from invnas.confusion import Confusion
from invnas.data.all_data import validates
from invnas.data.source import describe
from invnas.device import device_name
from invnas.epochs import Clock, EpochEnd, EpochTable, OnEpoch, OnRung, resumed_epoch
from invnas.errors import BadInput, MissingExtra, TrialFailed
from invnas.experiment import Experiment, Recipe
from invnas.facts import DataFacts
from invnas.gate import Exited, call_of
from invnas.learner import Learner
from invnas.measurement import Measurement
from invnas.ops import backend_of
from invnas.recipe import AUTO
from invnas.rung import Judged
from invnas.stopping import Rungs
from invnas.task import load_task


def make_trainer(recipe: Recipe, callbacks: list[Callback] | None = None, logger: Logger | None = None) -> Trainer:
    """Return a Lightning trainer without what a search of many small trainings does not need.

    Raises:
        BadInput: If Lightning does not know the precision of the recipe.
    """
    precision: Any = recipe.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    try:
        return Trainer(
            max_epochs=recipe.epochs,
            devices=1,
            precision=precision,
            gradient_clip_val=recipe.gradient_clip or None,
            callbacks=callbacks,
            logger=logger or False,
            # Without a logger nobody sees the epochs between: validation is paid once, at the end.
            check_val_every_n_epoch=recipe.epochs if recipe.logger == "none" else 1,
            log_every_n_steps=10**9,
            num_sanity_val_steps=0,
            enable_checkpointing=any(isinstance(callback, EpochEnd) for callback in callbacks or ()),
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],
        )
    except ValueError as error:
        raise BadInput(f"`recipe.precision` is '{recipe.precision}': {error}") from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says to every one of hundreds of trainings.

    Raises:
        KeyboardInterrupt: If Lightning ends the process for one, or for a signal: the search has more to say first.
        TrialFailed: If a user's code ends the process.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    except SystemExit as exit:
        if type(exit) in (SystemExit, Exited) and not isinstance(exit.__context__, KeyboardInterrupt):
            raise TrialFailed(f"the data module or the network called {call_of(exit)}") from exit
        raise KeyboardInterrupt from exit
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def train(
    network: nn.Module,
    data: LightningDataModule,
    recipe: Recipe,
    *,
    facts: DataFacts | None = None,
    task: str = "classification",
    seed: int | None = None,
    checkpoints: Path | None = None,
    logs: Path | None = None,
    on_epoch: OnEpoch | None = None,
    rungs: Rungs = Rungs(),  # noqa: B008  # a constant
    on_rung: OnRung | None = None,
    micro_batches: int = 1,
    note: Callable[[str], None] = _say,
) -> Measurement:
    """Train a network from its present weights, or from its last checkpoint, and measure it on the validation images.

    Args:
        network: From images (B, C, H, W) to what the head of the task makes of them; trained in place.
        data: Set-up training and validation images; without a `val_dataloader` nothing is validated, and the
            measurement holds no values.
        recipe: How.
        facts: What is known of the images; by default what the data module says.
        task: What it is trained for.
        seed: Decides order, augmentation and dropout, not the split; None leaves them to the data module and to torch.
        checkpoints: Folder of `last.ckpt`, written after every epoch and continued from when it is there.
        logs: Folder of CSV or TensorBoard logs, when the recipe asks for a logger.
        on_epoch: Told after each epoch its number, from 1, with `train_loss` and what was validated by name; when it
            returns True the training ends there, with fewer `epochs` than `planned_epochs`.
        rungs: The epochs at which it is measured on its way.
        on_rung: Told of each such measurement; when it returns True the training ends there, and it is the result.
        micro_batches: Parts of a batch that are computed one after the other, for less memory.
        note: Told when a checkpoint cannot be read, so that the training starts again.

    Raises:
        TrialFailed: If the loss is not finite or diverges, there is nothing to train on, or the time is over.
    """
    if recipe.learning_rate == AUTO:
        raise BadInput(
            "`recipe.learning_rate` is auto: a search finds it once, on architectures of its space; here give a number"
        )
    what = load_task(task)
    module = what.module(network, facts or describe(data), recipe)
    module.seed, module.micro_batches = seed, micro_batches
    set_order(data, recipe, seed)
    last = _last(checkpoints, module, note)
    clock = Clock(recipe.max_minutes)
    logger, table = _logs(recipe, logs, module.first_epoch)
    kept = checkpoints / "last.ckpt" if checkpoints is not None else None
    names = {objective.name for objective in what.objectives}

    def measured(values: Mapping[str, float], epochs: int) -> Measurement:
        device = trainer.strategy.root_device  # the module itself is back on the CPU at the end
        return Measurement(
            values={name: value for name, value in values.items() if name in names},
            epochs=epochs,
            planned_epochs=recipe.epochs,
            train_seconds=clock.seconds,
            backend=backend_of(device),
            device=device_name(device),
            host=platform.node(),
            micro_batches=micro_batches,
        )

    def ask(rung: Measurement) -> bool | None:
        with clock.waiting():
            return on_rung(rung) if on_rung is not None else None

    average = Average(recipe.ema)
    judged = Judged(rungs if on_rung is not None else Rungs(), measured, average)
    end = EpochEnd(kept, table, on_epoch, judged, ask)
    try:
        with quiet_lightning(), clock:
            trainer = make_trainer(recipe, [clock, average, judged, end], logger)
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True if last else None)
            average.settle(module)
            if trainer.current_epoch == 0:
                raise TrialFailed("the training loader gave no batch")
            if end.rung is not None:
                return end.rung
            # Stopped before, or killed between the last checkpoint and its validation.
            if not module.values and validates(data):
                trainer.validate(module, datamodule=data, verbose=False)
        if not module.values and validates(data):
            raise TrialFailed("the validation loader gave no batch")
        return replace(measured(module.values, trainer.current_epoch), by_class=module.by_class)
    finally:
        release(module, data)


def set_order(data: LightningDataModule, recipe: Recipe, seed: int | None) -> None:
    """Tell a data module, as far as it can be told, in which order its images are trained on.

    Raises:
        BadInput: As `check_sampling`.
    """
    check_sampling(data, recipe)
    for name, value in (("order_seed", seed), ("sampling", recipe.sampling)):
        if hasattr(data, name):
            setattr(data, name, value)


def check_sampling(data: LightningDataModule, recipe: Recipe) -> None:
    """Raise BadInput where a recipe asks for an order of images that a data module cannot be told."""
    path = f"{type(data).__module__}.{type(data).__qualname__}"
    if recipe.sampling != Recipe().sampling and (why := getattr(data, "cannot_balance", "")):
        raise BadInput(f"`recipe.sampling` is {recipe.sampling}, but {why} in `{path}`: nearest: shuffled")
    if recipe.sampling != Recipe().sampling and not hasattr(data, "sampling"):
        raise BadInput(
            f"`recipe.sampling` is {recipe.sampling}, but `{path}` draws its images itself: give it an attribute "
            "`sampling`, which is then set before each training, or let its own loader balance them"
        )


def _last(checkpoints: Path | None, module: Learner, note: Callable[[str], None]) -> Path | None:
    """Return the checkpoint to continue from, if there is one that can be read; the module is told its epoch."""
    if checkpoints is None:
        return None
    checkpoints.mkdir(parents=True, exist_ok=True)
    last = checkpoints / "last.ckpt"
    if not last.is_file():
        return None
    try:
        module.first_epoch = resumed_epoch(last, module)
    except TrialFailed as error:
        note(f"{error}: the training starts again")
        last.unlink()
        return None
    return last


def _logs(recipe: Recipe, folder: Path | None, first_epoch: int) -> tuple[Logger | None, EpochTable | None]:
    if folder is None or recipe.logger == "none":
        return None, None
    if recipe.logger == "csv":
        return None, EpochTable(folder / "metrics.csv", first_epoch)
    try:
        return TensorBoardLogger(folder.parent, name=folder.name, version=""), None
    except ModuleNotFoundError:
        raise MissingExtra("tensorboard", "tensorboard") from None


def release(module: Learner, data: LightningDataModule) -> None:
    """Let go of what a training held: trainer, module and data refer to each other in circles that live on."""
    module.zero_grad(set_to_none=True)
    module.network = nn.Identity()
    data.trainer = None
    if (trainer := module._trainer) is not None:
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
            optimizer.param_groups.clear()
        module._trainer = None
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Reached:
    """What a network reaches on the test images.

    Attributes:
        values: Numbers by the names of the objectives of the task.
        confusion: What it took for what; empty where the task tells no classes apart.
    """

    values: Mapping[str, float]
    confusion: Confusion


def measure_on_test(
    network: nn.Module,
    data: LightningDataModule,
    experiment: Experiment,
    facts: DataFacts | None = None,
    *,
    note: Callable[[str], None] = _say,
) -> Reached:
    """Return what a network reaches on the test images; call it once, for what is reported.

    Args:
        network: A trained network.
        data: Images with a test part.
        experiment: Task and recipe.
        facts: What is known of the images; by default what the data module says.
        note: Told of each number that is not finite, or of counts that are none; they are left out.
    """
    module = experiment.what.module(network, facts or describe(data), experiment.recipe)
    try:
        with quiet_lightning():
            make_trainer(experiment.recipe).test(module, datamodule=data, verbose=False)
    finally:
        release(module, data)
    for name, value in module.values.items():
        if not math.isfinite(value):
            note(f"the {name} on the test images came out as {value}")
    finite = (name for name in experiment.tested if math.isfinite(module.values.get(name, math.nan)))
    try:
        confusion = Confusion(module.confused)
    except BadInput as error:
        note(str(error))
        confusion = Confusion()
    return Reached({name: module.values[name] for name in finite}, confusion)
