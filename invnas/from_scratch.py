"""An architecture of a run trained from scratch: each seed to its weights and its figure on the test images."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.errors import BadInput, DiskFailed, InvnasError, TrialFailed, disk_failure
from invnas.experiment import DataSource, Recipe
from invnas.measurement import Trial
from invnas.retrained import Place, Seed, Standing, spread
from invnas.retraining import Retraining
from invnas.run import Run
from invnas.settings import whole
from invnas.trained import build_network, need_test_images

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule

    from invnas.facts import DataFacts
    from invnas.progress import ProgressBar


def retrain(
    run: Run | str | Path,
    pick: str = "knee",
    epochs: int | None = None,
    seeds: int = 3,
    *,
    recipe: Recipe | Mapping[str, Any] | None = None,
    data: DataSource | Mapping[str, Any] | None = None,
    all_data: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train an architecture of a run from scratch with several seeds, and measure each on the test images.

    A seed decides first weights, order and augmentation; the split of the images stays that of the data. A call that
    was interrupted goes on from the last epoch when it is made again. Other options are another retraining: none of
    their files are shared.

    Args:
        run: The run or its folder.
        pick: As in `export_model`, but for retrained.
        epochs: Epochs of each training; by default the recipe's.
        seeds: How many trainings, with seeds 0, 1, 2, ...; those that an earlier call finished are not trained again.
        recipe: What differs from the recipe of the search, by name, or a whole recipe. Its threads, logger and time
            limit are not those of the search.
        data: What differs from the data of the search, `class_path` and `init_args` by name, or a whole source. Shape
            and classes of the images must stay.
        all_data: Train on the validation images too; then nothing is validated. The sources of invnas can do so, and a
            module that has a method `all_data_dataloader`.
        quiet: Show no progress.

    Returns:
        Trial number, epochs, the test accuracy of each seed, their mean and standard deviation (None of one seed), the
        options that differ from those of the search, and the name of the retraining: its folder in `retrain/` in the
        run folder holds the weights of each seed, which `export_model` ships by the pick "retrained".

    Raises:
        BadInput: If the run has no such trial, there is no such option, or its images or their test part are not there.
        TrialFailed: If a training fails, or its number on the test images is not finite.

    Example, after that of `run_search`:
        >>> from invnas import retrain
        >>> found = retrain("runs/example", "best", 1, seeds=2, recipe={"learning_rate": 0.05}, quiet=True)
        >>> len(found["test_top1"]), found["options"]
        (2, {'recipe.learning_rate': 0.05})
        >>> data = {"init_args": {"batch_size": 32}}
        >>> final = retrain("runs/example", "best", 1, 1, data=data, all_data=True, quiet=True)
        >>> final["options"]
        {'data.init_args.batch_size': 32, 'all_data': True}
    """
    from invnas.progress import ProgressBar

    seeds = whole(seeds, "seeds")
    if seeds < 1:
        raise BadInput(f"`seeds` must be at least 1, but got {seeds}")
    run = run if isinstance(run, Run) else Run.open(run)
    trial = run.pick(pick)
    asked = Retraining.of(run.experiment, trial.number, epochs, recipe, data, all_data)
    with run.locked(), _threads(asked.recipe.threads):
        images = _images(run, asked)
        place = Place.of(run.folder, asked)
        place.begin(asked, images.facts)
        with ProgressBar("retrain", seeds * asked.recipe.epochs, quiet=quiet) as bar:
            found = [_trained(run, trial, asked, images, _Course(place, seeds, seed, bar)) for seed in range(seeds)]
        place.stand(None)
    tested = sorted(run.experiment.tested, key=lambda name: name != run.experiment.leading.name)  # that one first
    mean, deviation = spread([one.test[tested[0]] for one in found])
    return {
        "trial": trial.number,
        "epochs": asked.recipe.epochs,
        **{f"test_{name}": [one.test[name] for one in found] for name in tested},
        "mean": mean,
        "standard_deviation": deviation,
        "options": asked.differs(run.experiment),
        "name": asked.name,
    }


@dataclass(frozen=True)
class _Images:
    """The images of a retraining: those it trains on, those it is tested on, and what is known of them."""

    training: LightningDataModule
    testing: LightningDataModule
    facts: DataFacts


@dataclass
class _Course:
    """One training among those asked for: tells how far it is."""

    place: Place
    seeds: int
    seed: int
    bar: ProgressBar
    done: int = 0

    def tell(self, epoch: int, epochs: int, values: Mapping[str, float]) -> None:
        """Tell an epoch that was trained; those before it since the last one were trained by an earlier call."""
        self.bar.skip(epoch - 1 - self.done)
        said = f"seed {self.seed}, epoch {epoch} of {epochs}, train loss {values['train_loss']:.3g}"
        self.bar.step(said, last=epoch == epochs)
        self.stand(epoch)

    def begin(self) -> None:
        """Write where an earlier call has left this seed, or that it begins."""
        before = self.place.standing()
        goes_on = before and before.seed == self.seed and self.place.checkpoints(self.seed).is_dir()
        self.place.stand(Standing(os.getpid(), self.seeds, self.seed, before.epoch if before and goes_on else 0))

    def stand(self, epoch: int) -> None:
        """Write where it is."""
        self.done, left = epoch, self.bar.seconds_left
        finish = None if left is None else time.time() + left
        self.place.stand(Standing(os.getpid(), self.seeds, self.seed, epoch, finish))


def _images(run: Run, asked: Retraining) -> _Images:
    from invnas.data.all_data import all_data
    from invnas.engine.images import images_of, open_data

    path, task = asked.data.class_path, run.experiment.what
    if asked.data == run.experiment.data:
        data, facts = images_of(run)
    else:
        data, facts = open_data(asked.data, task)
        if other := run.manifest.facts.unfit(facts):
            raise BadInput(
                f"these data options do not fit the networks of {run.folder}: {other}; shape and classes must stay"
            )
    need_test_images(data, path)
    if not asked.all_data:
        return _Images(data, data, facts)
    training = all_data(data, path)
    _refuse_tested(run, asked, data, facts)
    return _Images(training, data, facts)


def _refuse_tested(run: Run, asked: Retraining, data: LightningDataModule, facts: DataFacts) -> None:
    """Refuse a user's own module whose validation images are its test images: they would be trained on."""
    from invnas.data.check import split_fingerprint
    from invnas.data.module import ImageDataModule
    from invnas.gate import user_code

    if isinstance(data, ImageDataModule):
        return
    path = asked.data.class_path
    with user_code(f"`{path}.setup('test')`"):
        data.setup("test")
    tested = split_fingerprint(path, data, facts, run.experiment.what.check_targets(facts), "test")
    if tested == facts.fingerprint:
        raise BadInput(
            f"the validation images of `{path}` are its test images: with all_data they would be trained on, and "
            "nothing would be left to test on"
        )


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """Compute on so many threads of torch; 0: as many as it takes by itself."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained(run: Run, trial: Trial, asked: Retraining, images: _Images, course: _Course) -> Seed:
    """Return what a seed reached; it is trained unless it was."""
    from invnas.engine.evaluate import reason_of

    place, seed = course.place, course.seed
    try:
        found = _done(run, trial, place, seed)
        if found is None:
            course.begin()
            found = _train(run, trial, asked, images, course)
            shutil.rmtree(place.checkpoints(seed), ignore_errors=True)
        course.bar.skip(asked.recipe.epochs - course.done)
    except Exception as error:
        if (full := disk_failure(error)) is not None:
            raise DiskFailed(full) from error
        if isinstance(error, InvnasError) and not isinstance(error, TrialFailed):
            raise
        raise TrialFailed(f"the training with seed {seed} failed: {reason_of(error)}") from error
    return found


def _done(run: Run, trial: Trial, place: Place, seed: int) -> Seed | None:
    from invnas.weights import load_weights

    found = place.seed(seed)
    if found is None:
        return None
    try:
        load_weights(build_network(run, trial), place.weights(seed))
    except BadInput:  # gone, or torn
        return None
    return found


def _train(run: Run, trial: Trial, asked: Retraining, images: _Images, course: _Course) -> Seed:
    """Train a seed from its last checkpoint, keep its weights, and test them."""
    import torch

    from invnas.engine.evaluate import pretrained_of
    from invnas.pretrained import keys_of
    from invnas.store import FolderStore
    from invnas.training import measure_on_test, train
    from invnas.weights import save_weights

    place, seed, epochs = course.place, course.seed, asked.recipe.epochs
    start = pretrained_of(run.experiment, FolderStore(run.folder), run.folder)
    torch.manual_seed(seed)
    network = build_network(run, trial)
    if start is not None:  # from scratch means: from where the search started
        start.fill(keys_of(trial.architecture, run.manifest.facts, run.experiment.task), network)
    measured = train(
        network,
        images.training,
        asked.recipe,
        facts=images.facts,
        task=run.experiment.task,
        seed=seed,
        checkpoints=place.checkpoints(seed),
        logs=place.logs(seed),
        on_epoch=lambda epoch, values: course.tell(epoch, epochs, values),
    )
    save_weights(network, place.weights(seed))
    experiment = replace(run.experiment, recipe=asked.recipe)
    found = measure_on_test(network, images.testing, experiment, images.facts).values
    if missing := [name for name in run.experiment.tested if name not in found]:
        raise TrialFailed(f"its {missing[0]} on the test images is not finite")
    return place.finish(seed, found, measured.values)
