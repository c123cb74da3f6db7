"""The report of a run: one HTML page that works offline, with pictures and tables beside it."""

from __future__ import annotations

from pathlib import Path

from invnas.errors import unwritable
from invnas.report.collect import ReportData


def write(data: ReportData, folder: Path) -> Path:
    """Write index.html, the pictures as PNG and SVG, front.csv and trials.csv.

    Args:
        data: What to show, from `invnas.report.collect.collect`.
        folder: Where to; made when it is not there, files of an earlier report are replaced.

    Returns:
        The path of index.html.

    Raises:
        MissingExtra: If plotly or matplotlib is not installed.
        BadInput: If the folder cannot be written.
        DiskFailed: If the disk is full.
    """
    from invnas.report import render_html, render_static, table

    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = render_html.write(data, folder)
        render_static.write(data, folder)
        table.write(data, folder)
    except OSError as error:
        raise unwritable(f"the report cannot be written to '{folder}'", error) from None
    return page
