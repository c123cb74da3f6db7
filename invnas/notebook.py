"""The report of a run within a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from invnas.errors import BadInput
from invnas.run import Run


@dataclass(frozen=True)
class Page:
    """A page that a notebook shows under the cell whose value it is.

    Attributes:
        path: Of the HTML file, which holds all it needs.
        height: Pixels of the frame it is shown in.
    """

    path: Path
    height: int

    def _repr_html_(self) -> str:
        # The page itself, not its address: a notebook that is moved or served from elsewhere has no such file.
        text = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{text}" width="100%" height="{self.height}" style="border:0"></iframe>'


def show_report(run: Run | str | Path, height: int = 900, *, trust: bool = True) -> Page:
    """Write the report of a run, as `write_report` does, and return it as a value that a notebook shows.

    Args:
        run: The run or its folder. A run folder is code: its space.py and its data module are executed.
        height: Pixels of the frame it is shown in.
        trust: False for a folder of a stranger: nothing in it is executed.

    Example, after that of `run_search`:
        >>> from invnas import show_report
        >>> show_report("runs/example").path.name
        'index.html'
    """
    from invnas.results import write_report

    if height < 1:
        raise BadInput(f"`height` must be at least 1 pixel, but got {height}")
    return Page(write_report(run, trust=trust), height)
