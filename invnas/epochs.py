"""What is kept and told after every epoch: a checkpoint, a row of the log, the progress, the time."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from invnas.errors import TrialFailed, out_of_memory
from invnas.files import replacing, write_text
from invnas.learner import Learner
from invnas.measurement import Measurement
from invnas.rung import Judged

#: Seconds between two beats of a clock, and from which on there was none because the process was held.
BEAT, HELD = 0.5, 2.0
#: Told of each epoch, from 1, with what is known by then; True ends the training.
OnEpoch = Callable[[int, Mapping[str, float]], bool | None]
#: Told of what was measured at a rung; True ends the training.
OnRung = Callable[[Measurement], bool | None]


class Clock(Callback):
    """The seconds of a training, those before an interruption too, and their limit; enter it while the training runs.

    A step or a loader that hangs never comes to a check: that is for whoever can kill the process. What the training
    waits for others does not count, nor, where there is a limit, what the whole process was held (SIGSTOP, a suspended
    job): a second thread that beats twice a second has not beaten then.
    """

    def __init__(self, max_minutes: float | None) -> None:
        self._max_minutes, self._before = max_minutes, 0.0
        self._began = self._beaten = time.perf_counter()
        self._waits = False
        self._over, self._lock = threading.Event(), threading.Lock()

    def __enter__(self) -> Clock:
        if self._max_minutes is not None:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            self._leave_out_holds()

    def _leave_out_holds(self) -> None:
        with self._lock:
            now = time.perf_counter()
            if now - self._beaten > HELD and not self._waits:
                self._began += now - self._beaten
            self._beaten = now

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Leave out the time of a block."""
        self._waits, began = True, time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._began += time.perf_counter() - began
                self._beaten, self._waits = time.perf_counter(), False

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        if self._max_minutes is not None and not self._over.is_set():
            self._leave_out_holds()
        return self._before + time.perf_counter() - self._began

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._before = float(state_dict["seconds"])

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Check the limit."""
        self._check(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Check the limit."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if self._max_minutes is not None and self.seconds > 60 * self._max_minutes:
            epoch, epochs = min(trainer.current_epoch + 1, trainer.max_epochs or 1), trainer.max_epochs
            raise TrialFailed(f"took longer than max_minutes={self._max_minutes:g} (in epoch {epoch} of {epochs})")


class EpochEnd(Checkpoint):
    """Keeps and tells each epoch, after the module itself has judged it: one that diverged is not kept.

    Args:
        checkpoint: File of the last checkpoint; None keeps none.
        table: Where a row is added, or None.
        on_epoch: Told last: what it is told is on the disk by then.
        judged: Measures at the rungs.
        on_rung: Told of what was measured before the checkpoint is written: a kill in between trains the epoch again,
            and no rung is ever passed over.

    Attributes:
        rung: What was measured at the rung where the training was ended; None where it was not.
    """

    def __init__(
        self,
        checkpoint: Path | None,
        table: EpochTable | None,
        on_epoch: OnEpoch | None,
        judged: Judged | None = None,
        on_rung: OnRung | None = None,
    ) -> None:
        self.checkpoint, self.table, self.on_epoch = checkpoint, table, on_epoch
        self._judged, self._on_rung = judged, on_rung
        self.rung: Measurement | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and ask at a rung, write the row and the checkpoint, then tell."""
        assert isinstance(pl_module, Learner)
        values = {"train_loss": pl_module.train_loss or 0.0, **pl_module.values}
        if self._judged is not None and self._on_rung is not None:
            measured = self._judged.measure(trainer, pl_module)
            if measured is not None:
                values |= measured.values
                if self._on_rung(measured):
                    self.rung, trainer.should_stop = measured, True
        if self.table is not None:  # before the checkpoint, so that a kill between loses no row
            self.table.add(trainer.current_epoch, trainer.global_step, values)
        if self.checkpoint is not None:
            with replacing(self.checkpoint) as fresh:
                trainer.save_checkpoint(fresh)
        if self.on_epoch is not None and self.on_epoch(trainer.current_epoch + 1, values):
            trainer.should_stop = True


class EpochTable:
    """metrics.csv: one row for each epoch, those before an interruption too.

    Args:
        path: Where the table lies.
        first_epoch: Epoch at which the training goes on, from 0; rows of later ones are trained again.
    """

    def __init__(self, path: Path, first_epoch: int) -> None:
        self._path = path
        self._rows = [row for row in _read(path) if int(row["epoch"]) < first_epoch] if first_epoch else []

    def add(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Write the row of an epoch (from 0) that ended at a step of the optimiser."""
        self._rows.append({"epoch": epoch, "step": step, **values})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, text.getvalue())


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdigit()]
    except FileNotFoundError:
        return []


def resumed_epoch(path: Path, module: LightningModule) -> int:
    """Return how many epochs a checkpoint holds.

    Raises:
        TrialFailed: If the file is torn, empty or not of this network, in a sentence that says so.
        Exception: If there is no memory to read it.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        expected = {name: value.shape for name, value in module.state_dict().items()}
        if {name: value.shape for name, value in found["state_dict"].items()} != expected:
            raise ValueError("it is of another network")
        return int(found["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except Exception as error:  # torch, zipfile and pickle each have words of their own for a torn file
        if out_of_memory(error):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrialFailed(f"the checkpoint {path} cannot be read ({said})") from None
