"""The file in a run folder that says where the search stands, for whoever looks from outside."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from invnas.files import read_as, write_text
from invnas.search.board import Board, Standing

#: Seconds between two writings.
_PAUSE = 1.0


class StatusFile:
    """Tells other processes where a search stands, inside a `with`: a file in the run folder, at most once a second.

    What cannot be written is not: nobody's search ends for it.

    Args:
        folder: The run folder.
        board: What follows the search.
    """

    NAME = "status.json"

    def __init__(self, folder: Path, board: Board) -> None:
        self._path, self._board = folder / self.NAME, board
        self._written: Standing | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> StatusFile:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def _follow(self) -> None:
        while not self._over.wait(_PAUSE):
            self._write()

    def _write(self) -> None:
        now, old = self._board.standing(), self._written
        # Time alone is no news.
        if old is not None and replace(now, time=old.time, finish=old.finish) == old:
            return
        with suppress(OSError):
            write_text(self._path, json.dumps(now.to_dict()), durable=False)
            self._written = now

    @classmethod
    def read(cls, folder: Path) -> Standing | None:
        """Return what was written last; None when there is nothing.

        Raises:
            BadInput: If it is malformed.
        """
        path = folder / cls.NAME
        if not path.exists():
            return None
        return read_as(path, Standing.from_dict)
