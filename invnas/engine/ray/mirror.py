"""The run folder and the storage of a cluster: which of the two has the checkpoint of a trial.

Where the trainings write into the run folder itself there is nothing to do. Otherwise a trial's files lie in the
storage while it runs, and come to the run folder when it has ended or the search stops: any engine goes on from there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from invnas.errors import BadInput
from invnas.measurement import Measurement
from invnas.messages import Outcome
from invnas.store import PRETRAINED, SharedStore, checkpoint_of, logs_of, weights_of


class Mirror(Protocol):
    """Moves the files of trials between the run folder and where they are trained."""

    def share(self) -> None:
        """Bring what all trials need to where they are trained."""
        ...

    def give(self, number: int) -> None:
        """Bring the files of a trial to where it is trained."""
        ...

    def take(self, number: int, outcome: Outcome) -> None:
        """Bring what an ended trial left to the run folder."""
        ...

    def bring_back(self, numbers: list[int]) -> None:
        """Bring the checkpoints of trials that were cut off to the run folder."""
        ...


def mirror_of(folder: Path, storage: str | None) -> Mirror:
    """Return what a run with or without a storage needs.

    Raises:
        BadInput: If the storage cannot be written.
    """
    if storage is None:
        return Same()
    store = SharedStore(storage)
    store.check()
    return Apart(folder, store)


class Same:
    """The trainings write into the run folder."""

    def share(self) -> None:
        """Do nothing."""

    def give(self, number: int) -> None:
        """Do nothing."""

    def take(self, number: int, outcome: Outcome) -> None:
        """Do nothing."""

    def bring_back(self, numbers: list[int]) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Apart:
    """The trainings write into a storage.

    Attributes:
        folder: The run folder.
        store: The storage.
    """

    folder: Path
    store: SharedStore

    def share(self) -> None:
        """Bring the weights that trainings start from, whatever lies there: another run may have left its own."""
        if (self.folder / PRETRAINED).is_file():
            self.store.keep(PRETRAINED, self.folder / PRETRAINED)

    def give(self, number: int) -> None:
        """Bring the checkpoint and the log of a trial to the storage; what lies there is newer where there is both."""
        for name in _begun(number):
            path = self.folder / name
            if path.is_file() and not self.store.names(name.rpartition("/")[0]):
                self.store.keep(name, path)

    def take(self, number: int, outcome: Outcome) -> None:
        """Bring weights and logs, and the checkpoint of a trial that was stopped early; the storage is cleared."""
        names = [weights_of(number), *self.store.names(logs_of(number))]
        if isinstance(outcome, Measurement) and outcome.stopped:
            names.append(checkpoint_of(number))
        for name in names:
            self.store.fetch(name, self.folder / name)
        self._clear(number)

    def bring_back(self, numbers: list[int]) -> None:
        """Bring the checkpoints and logs of trials that were cut off; the storage is cleared."""
        for number in numbers:
            with suppress(OSError, BadInput):  # it stays there, and the next engine finds it there
                for name in _begun(number):
                    self.store.fetch(name, self.folder / name)
                self._clear(number)
        with suppress(OSError, BadInput):
            self.store.drop(PRETRAINED)

    def _clear(self, number: int) -> None:
        self.store.drop(checkpoint_of(number).rpartition("/")[0])
        self.store.drop(logs_of(number))
        self.store.drop(weights_of(number))


def _begun(number: int) -> tuple[str, str]:
    return checkpoint_of(number), f"{logs_of(number)}/metrics.csv"
