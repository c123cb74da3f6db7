"""What is done with a run: test its front, report, export, retrain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from invnas.belief import Outlook
from invnas.errors import BadInput
from invnas.exporting import export_model, export_trial
from invnas.from_scratch import retrain
from invnas.gate import user_code
from invnas.measurement import Trial
from invnas.run import Run
from invnas.store import pictures_of
from invnas.task import Legend
from invnas.trained import need_test_images, trained_network

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule
    from torch import nn

    from invnas.facts import DataFacts
    from invnas.report.collect import Beyond

__all__ = ["export_model", "export_trial", "measure_test", "retrain", "write_report"]


def measure_test(
    run: Run, trials: Sequence[Trial], *, note: Callable[[str], None] = lambda sentence: None
) -> dict[int, dict[str, float]]:
    """Return what trials reach on the test images, by number; each is measured once in the life of a run.

    Args:
        run: The run, locked.
        trials: Complete ones.
        note: Told why a trial has no number: its weights are gone, or what came out is not finite.

    Raises:
        BadInput: If the images or their test part are not there, or none of the trials has weights.
        Exception: Whatever a user's own data module raises.
    """
    missing = [trial for trial in trials if trial.number not in run.tested()]
    if missing:
        from invnas.engine.images import images_of

        data, facts = images_of(run)
        need_test_images(data, run.experiment.data.class_path)
        failed = [why for trial in missing if (why := _measure_one(run, trial, data, facts, note))]
        if len(failed) == len(missing):
            raise BadInput(failed[0])
        for why in failed:
            note(why)
    known = run.tested()
    return {trial.number: known[trial.number] for trial in trials if trial.number in known}


def _measure_one(
    run: Run, trial: Trial, data: LightningDataModule, facts: DataFacts, note: Callable[[str], None]
) -> str:
    """Measure and record a trial; return why it cannot be, or nothing."""
    from invnas.training import measure_on_test

    try:
        network = trained_network(run, trial)
    except BadInput as error:
        return str(error)
    found = measure_on_test(
        network, data, run.experiment, facts, note=lambda said: note(f"trial {trial.number}: {said}")
    )
    if found.confusion:
        run.keep_confusion(trial.number, found.confusion)
    try:
        with user_code(f"`{run.experiment.task}.pictures`"):
            _draw(run, trial, network, data, facts)
    except BadInput as error:  # a picture is no reason to lose a figure
        note(f"trial {trial.number} has no picture: {error}")
    run.add_tested({trial.number: found.values})  # last: what has a number here is not tested again
    return ""


def _draw(run: Run, trial: Trial, network: nn.Module, data: LightningDataModule, facts: DataFacts) -> None:
    """Keep a picture of what a trial finds in the first test images, where its task draws one."""
    from invnas.data.source import single_loader
    from invnas.files import replacing

    draw = getattr(run.experiment.what, "pictures", None)
    if draw is None:
        return
    images, targets = next(iter(single_loader(data, "test_dataloader")))
    path = run.folder / pictures_of(trial.number)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as part:
        draw(network, images, targets, facts).save(part, format="PNG")


def write_report(
    run: Run | str | Path, *, trust: bool = True, note: Callable[[str], None] = lambda sentence: None
) -> Path:
    """Measure the front on the test images, write the report of a run, and return the path of its index.html.

    Args:
        run: The run or its folder. A run folder is code: its space.py and its data module are executed.
        trust: False for a folder of a stranger: nothing in it is executed, and no test accuracy is measured.
        note: Told the reason, when the test accuracy cannot be measured; the report is written all the same.

    Example, after that of `run_search`:
        >>> from invnas import write_report
        >>> write_report("runs/example").name
        'index.html'
    """
    from invnas import report
    from invnas.report.collect import collect

    run = run if isinstance(run, Run) else Run.open(run, trust=trust)
    try:
        with run.locked():
            measure_test(run, run.front(), note=note)
    except (Exception, SystemExit) as error:  # a search is writing, or images, weights or the user's own code fail
        note(f"test accuracy is not measured: {_said(error)}")
    data = collect(
        run.folder.name, run.experiment, run.trials(), _texts(run), run.tested(), belief=run.belief, beyond=_beyond(run)
    )
    return report.write(data, run.folder / "report")


def _beyond(run: Run) -> Beyond:
    """Return what a report shows beside the trials; what needs the code of the run is left out without trust."""
    from invnas.report.answers import sizes
    from invnas.report.collect import Beyond
    from invnas.report.sections import prior_of
    from invnas.search.outlook import influences

    facts, experiment, trials = run.manifest.facts, run.experiment, run.trials()
    found = Beyond(
        Outlook(influences(run.belief, run.trials("search"), experiment.axes)),
        retrained=run.retrained(),
        sizes=sizes(facts.counts, facts.origins),
        images=facts.counts.get("validation"),
        ended="" if run.ended is None else run.ended[1],
        ends=run.manifest.ends,
        classes=facts.class_names or (),
        rates=run.rates(),
        pictures={
            trial.number: path.read_bytes()
            for trial in run.front()
            if (path := run.folder / pictures_of(trial.number)).is_file()
        },
        legend=getattr(experiment.what, "legend", Legend("what the network finds")),
        confusions={trial.number: one for trial in run.front() if (one := run.confusion(trial.number)) is not None},
    )
    if not run.trusted:
        return found
    from invnas.metering import prices_of
    from invnas.search.outlook import Candidates

    price, foretold = prices_of(experiment, facts)
    candidates = Candidates(run.space, price, experiment.caps, experiment.axes, experiment.seed, foretold)
    prospects = tuple(candidates.ranked(run.belief, trials) or ())
    prior = prior_of(run.space, experiment.seed)
    return replace(found, outlook=replace(found.outlook, prospects=prospects), prior=prior)


def _said(error: BaseException) -> str:
    from invnas.engine.evaluate import reason_of

    return reason_of(error) if isinstance(error, Exception) else f"the data module called sys.exit({error})"


def _texts(run: Run) -> dict[str, str]:
    facts = {
        "images": " x ".join(map(str, run.manifest.facts.input_shape)),
        **run.experiment.what.describe(run.manifest.facts),
        **{f"{split} images": words for split, words in run.manifest.facts.origins.items()},
        "space": f"{run.space.name}, {run.space.size:,} points" if run.trusted else run.experiment.space,
    }
    return {**facts, **{key: str(value) for key, value in run.manifest.environment.items()}}
