"""What a long task shows under the cell of a notebook, replaced as it goes on."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any

#: Seconds between two changes: each is a message to the browser, and is kept in no file.
EVERY = 0.5

_COLUMNS = 110
_FRAME = '<pre style="line-height:1.2;font-family:Menlo,monospace;white-space:pre">{code}</pre>'


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML under the cell that runs."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


class InPlace:
    """Shows what rich draws, and draws it anew at most twice a second, in the thread that asks for it.

    Args:
        drawn: Returns what is shown now, anything that rich prints.
    """

    def __init__(self, drawn: Callable[[], Any]) -> None:
        self._drawn, self._last = drawn, -EVERY
        self._handle: Any = None

    def start(self) -> None:
        """Show it under the cell that runs."""
        from IPython.display import display

        self._handle = display(self._now(), display_id=True)

    def refresh(self) -> None:
        """Show what has changed, unless that was done just now."""
        if self._handle is not None and time.monotonic() - self._last >= EVERY:
            self._handle.update(self._now())

    def stop(self) -> None:
        """Show it as it is at the end."""
        if self._handle is not None:
            self._handle.update(self._now())

    def _now(self) -> Any:
        from IPython.display import HTML
        from rich.console import Console

        self._last = time.monotonic()
        page = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True, force_jupyter=False)
        page.print(self._drawn())
        return HTML(page.export_html(code_format=_FRAME, inline_styles=True))
