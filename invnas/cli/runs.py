"""The commands about runs: search, resume, confirm, status, report, export, retrain. Their docstrings are the help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from invnas.cli.words import Names
from invnas.errors import BadInput, DiskFailed
from invnas.experiment import Experiment


def search(
    experiment: Experiment,
    *,
    run_dir: str = "",
    export: str | None = None,
    with_preprocessing: bool = False,
    json: bool = False,
    quiet: bool = False,
    print_config: bool = False,
) -> None:
    """Search for the best hybrids: train what the sampler proposes, show the front, write the report.

    Args:
        experiment: Name of an experiment that comes with invnas (see invnas list), a YAML file, or the Python file of a
            space; options win over it.
        run_dir: Folder of the run; by default runs/<name>-<first free number>.
        export: Also export the knee of the front to this folder, as torch.export program, weights and, where its
            packages are installed, ONNX.
        with_preprocessing: Export model_with_preprocessing.onnx as well, which takes the bytes of an image of any size.
        json: Print the result as JSON.
        quiet: Show no progress.
        print_config: Print every setting with its value as YAML, and do nothing.
    """
    if print_config:
        from invnas.cli.config import config_of

        print(config_of(experiment), end="")
        return
    from invnas.cli.finish import finish
    from invnas.commands import run_search

    _check_export(export, with_preprocessing)
    with _stoppable(run_dir):
        finish(run_search(experiment, run_dir, quiet=quiet), export, json, with_preprocessing=with_preprocessing)


def resume(
    run: str,
    *,
    trials: str | None = None,
    promote: int = 0,
    baselines: bool = False,
    engine: Literal["local", "ray"] | None = None,
    workers: int | None = None,
    reserve_cores: int | None = None,
    address: str | None = None,
    gpus_per_trial: float | None = None,
    cpus_per_trial: float | None = None,
    storage: str | None = None,
    export: str | None = None,
    with_preprocessing: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Continue an interrupted search from where it stopped, here or elsewhere, or extend a finished one.

    Args:
        run: Folder of the run. A run folder is code: its space.py is executed.
        trials: Architectures to train in all, or +20 for so many more.
        promote: So many of the most promising stopped trials are trained to the end, beside those.
        baselines: Also train pure members of the space and well-known small networks, to compare the front with.
        engine: Who trains from here on: local or ray; by default who did before.
        workers: Trainings at a time from here on.
        reserve_cores: Cores of this machine that trainings leave free from here on, so that latencies are measured
            beside them.
        address: Address of a Ray cluster, such as auto or 10.0.0.1:6379.
        gpus_per_trial: GPUs of each training under Ray, a part such as 0.25 too.
        cpus_per_trial: CPU cores of each training under Ray.
        storage: Folder that all machines share, or URL, through which files come back under Ray.
        export: Also export the knee of the front to this folder, as torch.export program, weights and, where its
            packages are installed, ONNX.
        with_preprocessing: Export model_with_preprocessing.onnx as well, which takes the bytes of an image of any size.
        json: Print the result as JSON.
        quiet: Show no progress.
    """
    from invnas.cli.finish import finish
    from invnas.commands import resume_search

    given = {
        "engine": engine,
        "workers": workers,
        "reserve_cores": reserve_cores,
        "address": address,
        "gpus_per_trial": gpus_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "storage": storage,
    }
    placed = {name: value for name, value in given.items() if value is not None}
    _check_export(export, with_preprocessing)
    with _stoppable(run):
        resumed = resume_search(run, trials, promote=promote, baselines=baselines, placed=placed, quiet=quiet)
        finish(resumed, export, json, with_preprocessing=with_preprocessing)


def confirm(run: str, *, seeds: int = 2, json: bool = False, quiet: bool = False) -> None:
    """Train the front of a run and its references with further seeds, and say which differences hold.

    Args:
        run: Folder of the run. A run folder is code: its space.py is executed.
        seeds: How many further seeds each architecture of the front, and each reference, shall have; those it has are
            not trained again.
        json: Print the result as JSON.
        quiet: Show no progress.
    """
    from invnas.cli.tables import print_confirmation, print_json, verdict_of
    from invnas.commands import confirm_front
    from invnas.run import Run

    with _stoppable(run, f"invnas confirm {run} --seeds {seeds}"):
        found = confirm_front(run, seeds, quiet=quiet)
    said = verdict_of(Run.open(run))
    if json:
        print_json({"run": run, **found.to_dict(), "verdict": said or None})
        return
    print_confirmation(found)
    if said:
        print(said)


def status(run: str, *, watch: bool = False, json: bool = False, trust: bool = False) -> None:
    """Show where a run stands: what is done, running and failed, how fast it goes and when it will be done.

    Args:
        run: Folder of the run; it is neither locked nor changed, and a search may be writing it.
        watch: Look again every 2 seconds until no process is at the run; Ctrl-C ends it, and not the search.
        json: Print it as JSON; with --watch one line each time.
        trust: Execute the code of the run, where its task is code of its own; otherwise only run.json, journal.log and
            status.json are read.
    """
    from invnas.cli.watch import show_status
    from invnas.run import Run

    show_status(Run.open(run, trust=trust), watch=watch, json=json)


def report(run: str, *, trust: bool = True, json: bool = False) -> None:
    """Write the report of a run: one page to open, pictures and tables beside it.

    Args:
        run: Folder of the run. A run folder is code: its space.py and its data module are executed.
        trust: Write no for the run of a stranger: only run.json and journal.log are read, nothing is executed, and no
            test accuracy is measured.
        json: Print the result as JSON.
    """
    from invnas.cli.finish import say
    from invnas.cli.tables import print_front, print_json, run_facts
    from invnas.results import write_report
    from invnas.run import Run

    opened = Run.open(run, trust=trust)
    page = write_report(opened, note=say)
    if json:
        print_json({**run_facts(opened), "report": str(page)})
        return
    if opened.front():
        print_front(opened)
    print(f"report: {page}")


def export(
    run: str,
    *,
    pick: str = "knee",
    format: Names = Names(("onnx", "pt2", "safetensors")),  # noqa: B008  # a constant
    out: str | None = None,
    with_preprocessing: bool = False,
    int8: bool = False,
    max_drop: float = 1.0,
    json: bool = False,
) -> None:
    """Export a trained architecture; each file is checked against the network, and a mismatch fails.

    Args:
        run: Folder of the run. A run folder is code: its space.py is executed.
        pick: Which weights. Of the search those of knee, best, trial=17, max-macs=20M or max-parameters=1M; retrained
            for what was retrained last, its best seed by the validation images (with --all-data there are none, so its
            first), never by the test images; retrained:seed=1 for a seed of it; retrained:NAME for another retraining.
        format: Any of onnx, pt2, pte (ExecuTorch), openvino, safetensors, with commas between.
        out: Folder to write to; by default export in the folder of the run.
        with_preprocessing: Also write model_with_preprocessing.onnx, which takes the bytes of an image of any size and
            returns probabilities and the class; of a segmenter a mask as large as the image; of a RetinaNet boxes, and
            model_with_postprocessing.onnx beside it does so of batches of images.
        int8: Also write model_int8.onnx and, for pte, model_int8.pte, with convolutions in int8, calibrated by
            validation images; accuracy and time before and after are printed.
        max_drop: Percentage points of accuracy that int8 may lose before that is said to be too much.
        json: Print the result as JSON.
    """
    from invnas.cli.finish import export_files
    from invnas.cli.tables import print_json, shipped_facts
    from invnas.exporting import picked
    from invnas.run import Run

    opened = Run.open(run)
    wanted = {"with_preprocessing": with_preprocessing, "int8": int8, "max_drop": max_drop}
    files = export_files(opened, pick, format, out, show=not json, **wanted)
    if json:
        print_json({"run": run, **shipped_facts(picked(opened, pick)), "files": files})


def retrain(
    run: str,
    *,
    pick: str = "knee",
    epochs: int | None = None,
    seeds: int = 3,
    recipe: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    all_data: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Train an architecture of a run from scratch with several seeds, and measure each on the test images.

    The same command goes on after an interruption; other options are another retraining. Ship one with
    invnas export --pick retrained.

    Args:
        run: Folder of the run. A run folder is code: its space.py is executed.
        pick: Which trial: knee, best, trial=17, max-macs=20M or max-parameters=1M.
        epochs: Epochs of each training; by default those of the search.
        seeds: How many trainings.
        recipe: What differs from the recipe of the search.
        data: What differs from the data of the search; shape and classes of the images must stay.
        all_data: Train on the validation images too, for a final training; then nothing is validated.
        json: Print the result as JSON.
        quiet: Show no progress.
    """
    from invnas import results
    from invnas.cli.tables import print_json, print_retrained

    try:
        found = results.retrain(run, pick, epochs, seeds, recipe=recipe, data=data, all_data=all_data, quiet=quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; give the same command again to go on from the last epoch") from None
    (print_json if json else print_retrained)(found)
    if not json:
        print(f"next: invnas export {run} --pick retrained")


@contextmanager
def _stoppable(folder: str, again: str = "") -> Iterator[None]:
    """Say after a stop with which command it goes on; by default it is resume."""
    begun, again = Path(folder, "run.json").is_file, again or f"invnas resume {folder}"
    try:
        yield
    except DiskFailed as full:
        hint = f"; no trial is blamed: make room, then continue with: {again}" if begun() else ""
        raise DiskFailed(f"{full}{hint}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; what was trained is kept, continue with: {again}"
            if begun()
            else "stopped before anything was trained"
        ) from None


def _check_export(export_folder: str | None, with_preprocessing: bool) -> None:
    """Refuse an export before the search instead of after it."""
    if with_preprocessing:
        if export_folder is None:
            raise BadInput("`with_preprocessing` is a file of an export: give its folder too, --export FOLDER")
        from invnas.export.graphs import GRAPHS

        GRAPHS["onnx"].need()
    folder = Path(export_folder) if export_folder is not None else None
    if folder is None or not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "architecture.json").is_file()):
        raise BadInput(f"'{folder}' is not empty and holds no export: name another folder")
