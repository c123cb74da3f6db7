"""The commands about runs: search, resume, report, export, retrain. Their docstrings are the help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invnas.cli.words import Names
from invnas.errors import BadInput
from invnas.experiment import Experiment


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
        experiment: Name of an experiment that comes with invnas (see invnas list), a YAML file, or the Python file of a
            space; options win over it.
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
    from invnas.cli.finish import finish
    from invnas.commands import run_search

    _check_export_folder(export)
    with _stoppable(run_dir):
        finish(run_search(experiment, run_dir, quiet=quiet), export, json)


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
    from invnas.cli.finish import finish
    from invnas.commands import resume_search

    _check_export_folder(export)
    with _stoppable(run):
        finish(resume_search(run, trials, quiet=quiet), export, json)


def report(run: str, *, json: bool = False) -> None:
    """Write the report of a run: one page to open, pictures and tables beside it.

    Args:
        run: Folder of the run.
        json: Print the result as JSON.
    """
    from invnas.cli.finish import say
    from invnas.cli.tables import print_front, print_json, run_facts
    from invnas.results import write_report
    from invnas.run import Run

    opened = Run.open(run)
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
    from invnas.cli.finish import export_files
    from invnas.cli.tables import print_json
    from invnas.run import Run

    opened = Run.open(run)
    files = export_files(opened, pick, format, out, show=not json)
    if json:
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
    from invnas import results
    from invnas.cli.tables import print_json, print_retrained

    found = results.retrain(run, pick, epochs, seeds)
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


def _check_export_folder(export_folder: str | None) -> None:
    """Refuse a folder before the search instead of after it."""
    folder = Path(export_folder) if export_folder is not None else None
    if folder is None or not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "architecture.json").is_file()):
        raise BadInput(f"'{folder}' is not empty and holds no export: name another folder")
