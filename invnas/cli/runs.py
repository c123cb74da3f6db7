"""The commands about runs: search, resume, report, export, retrain. Their docstrings are the help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invnas.cli.words import Names
from invnas.errors import BadInput, InvnasError, MissingExtra
from invnas.experiment import Experiment

if TYPE_CHECKING:
    from invnas.run import Run


def search(
    experiment: Experiment,
    *,
    run_dir: str = "",
    export: str | None = None,
    json: bool = False,
    quiet: bool = False,
    print_config: bool = False,
) -> None:
    """Search for the best hybrids: train what the sampler proposes, show the front, write the report.

    Args:
        experiment: Name of an experiment that comes with invnas (see invnas list), or a YAML file; options win over it.
        run_dir: Folder of the run; by default runs/<name>-<first free number>.
        export: Also export the knee of the front to this folder, in each format that is installed.
        json: Print the result as JSON.
        quiet: Show no progress.
        print_config: Print every setting with its value as YAML, and do nothing.
    """
    if print_config:
        import yaml

        print(yaml.safe_dump(experiment.to_dict(), sort_keys=False, default_flow_style=None), end="")
        return
    from invnas.commands import run_search

    _check_export_folder(export)
    with _stoppable(run_dir):
        _finish(run_search(experiment, run_dir, quiet=quiet), export, json)


def resume(
    run: str, *, trials: str | None = None, export: str | None = None, json: bool = False, quiet: bool = False
) -> None:
    """Continue an interrupted search from where it stopped, or extend a finished one.

    Args:
        run: Folder of the run.
        trials: Architectures to train in all, or +20 for so many more.
        export: Also export the knee of the front to this folder, in each format that is installed.
        json: Print the result as JSON.
        quiet: Show no progress.
    """
    from invnas.commands import resume_search

    _check_export_folder(export)
    with _stoppable(run):
        _finish(resume_search(run, trials, quiet=quiet), export, json)


def report(run: str, *, json: bool = False) -> None:
    """Write the report of a run: one page to open, pictures and tables beside it.

    Args:
        run: Folder of the run.
        json: Print the result as JSON.
    """
    from invnas.cli.tables import print_front, print_json, run_facts
    from invnas.commands import write_report
    from invnas.run import Run

    opened = Run.open(run)
    page = write_report(opened)
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
    json: bool = False,
) -> None:
    """Export a trained architecture; each file is checked against the network, and a mismatch fails.

    Args:
        run: Folder of the run.
        pick: Which trial: knee, best, trial=17, max-macs=20M or max-parameters=1M.
        format: Any of onnx, pt2, safetensors, with commas between.
        out: Folder to write to; by default export in the folder of the run.
        json: Print the result as JSON.
    """
    from invnas.run import Run

    opened = Run.open(run)
    files = _export(opened, pick, format, out, show=not json)
    if json:
        from invnas.cli.tables import print_json

        print_json({"run": run, "trial": opened.pick(pick).number, "files": files})


def retrain(run: str, *, pick: str = "knee", epochs: int | None = None, seeds: int = 3, json: bool = False) -> None:
    """Train an architecture of a run from scratch with several seeds, and measure each on the test images.

    Args:
        run: Folder of the run.
        pick: Which trial: knee, best, trial=17, max-macs=20M or max-parameters=1M.
        epochs: Epochs of each training; by default those of the search.
        seeds: How many trainings.
        json: Print the result as JSON.
    """
    from invnas import commands
    from invnas.cli.tables import print_json, print_retrained

    found = commands.retrain(run, pick, epochs, seeds)
    (print_json if json else print_retrained)(found)


@contextmanager
def _stoppable(folder: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        begun = Path(folder, "run.json").is_file()
        raise KeyboardInterrupt(
            f"stopped; what was trained is kept, continue with: invnas resume {folder}"
            if begun
            else "stopped before anything was trained"
        ) from None


def _finish(run: Run, export_folder: str | None, json: bool) -> None:
    """Report, show and export what a search found."""
    from invnas.cli.tables import print_front, print_json, run_facts
    from invnas.commands import write_report

    if not run.front():
        reason = next((trial.reason for trial in run.trials() if trial.reason), "nothing was trained")
        raise InvnasError(f"no trial of {run.folder} is complete, so there is no front: {reason}")
    page = None
    try:
        page = write_report(run)
    except MissingExtra as error:
        print(f"no report: {error}", file=sys.stderr)
    if not json:
        print_front(run)
        if page is not None:
            print(f"report: {page}")
    files = _export(run, "knee", _installed_formats(), export_folder, show=not json) if export_folder else None
    if json:
        print_json({**run_facts(run), "report": None if page is None else str(page), "export": files})
        return
    if files is None:
        print(f"next: invnas export {run.folder} --pick knee, or invnas retrain {run.folder} --pick knee --epochs 100")
    print(f"more: invnas resume {run.folder} --trials +20")


def _installed_formats() -> Names:
    if all(find_spec(package) for package in ("onnx", "onnxruntime", "onnxscript")):
        return Names(("onnx", "pt2", "safetensors"))
    print(f"no ONNX file: {MissingExtra('onnx', 'onnx')}", file=sys.stderr)
    return Names(("pt2", "safetensors"))


def _check_export_folder(export_folder: str | None) -> None:
    """Refuse a folder before the search instead of after it."""
    folder = Path(export_folder) if export_folder is not None else None
    if folder is None or not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "architecture.json").is_file()):
        raise BadInput(f"'{folder}' is not empty and holds no export: name another folder")


def _export(run: Run, pick: str, formats: Names, out: str | None, *, show: bool) -> list[dict[str, Any]]:
    from invnas.cli.tables import export_facts, print_export
    from invnas.commands import export_trial

    trial = run.pick(pick)
    exported = export_trial(run, trial, formats, out)
    if show:
        print_export(trial, exported)
    return export_facts(exported)
