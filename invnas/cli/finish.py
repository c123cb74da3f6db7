"""What follows a search: the front on screen, the report, the exported knee."""

from __future__ import annotations

import sys
from typing import Any

from invnas.cli.tables import export_facts, print_export, print_front, print_json, run_facts
from invnas.cli.words import Names
from invnas.errors import InvnasError, MissingExtra
from invnas.exporting import export_trial, picked
from invnas.results import write_report
from invnas.run import Run


def say(sentence: str) -> None:
    """Print a sentence beside the result."""
    print(sentence, file=sys.stderr)


def finish(run: Run, export_folder: str | None, json: bool, *, with_preprocessing: bool = False) -> None:
    """Report, show and export what a search found."""
    if not run.front():
        reason = next((trial.reason for trial in run.trials() if trial.reason), "nothing was trained")
        raise InvnasError(f"no trial of {run.folder} is complete, so there is no front: {reason}")
    page = None
    try:
        page = write_report(run, note=say)
    except MissingExtra as error:
        print(f"no report: {error}", file=sys.stderr)
    if not json:
        print_front(run)
        if page is not None:
            print(f"report: {page}")
    files = None
    if export_folder:
        wanted = {"with_preprocessing": with_preprocessing}
        files = export_files(run, "knee", _installed_formats(), export_folder, show=not json, **wanted)
    if json:
        print_json({**run_facts(run), "report": None if page is None else str(page), "export": files})
        return
    if files is None:
        print(f"next: invnas export {run.folder} --pick knee, or invnas retrain {run.folder} --pick knee --epochs 100")
    print(f"more: invnas resume {run.folder} --trials +20")


def export_files(
    run: Run, pick: str, formats: Names, out: str | None, *, show: bool, **wanted: Any
) -> list[dict[str, Any]]:
    """Export a trial, show the files with their parity errors, and return them as plain data."""
    which = picked(run, pick)
    exported = export_trial(run, which, formats, out, **wanted)
    if show:
        print_export(which, exported)
    return export_facts(exported)


def _installed_formats() -> Names:
    from invnas.export.graphs import GRAPHS

    try:
        GRAPHS["onnx"].need()
    except MissingExtra as error:
        say(f"no ONNX file: {error}")
        return Names(("pt2", "safetensors"))
    return Names(("onnx", "pt2", "safetensors"))
