"""Where a search stands, as plain data: what the live view draws and another process reads from the run folder."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from invnas.measurement import Trial
from invnas.search.events import Advanced, Event, Failed, Finished, Rejected, Started, Stopped

_FAILURES, _HOSTS = 3, 4
#: Seconds that a search may still take, 30 years: no clock says more.
_LONGEST = 1e9


@dataclass(frozen=True)
class Running:
    """How far a running trial is.

    Attributes:
        trial: Its number.
        epoch: Epochs done.
        of: Epochs planned; 0 until it has told of itself.
        values: What is known after the last epoch, by name.
        host: Name of the machine that trains.
        device: What it trains on, such as "cpu" or "cuda:0".
        first: Epochs that an earlier call had trained; None before the first epoch of this one.
    """

    trial: int
    epoch: int = 0
    of: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    host: str = ""
    device: str = ""
    first: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Running:
        """Rebuild from plain JSON data."""
        values = {str(name): float(value) for name, value in data["values"].items()}
        come = int(data["trial"]), int(data["epoch"]), int(data["of"])
        first = None if data["first"] is None else int(data["first"])
        return cls(*come, values, str(data["host"]), str(data["device"]), first)

    def after(self, event: Advanced) -> Running:
        """Return how far it is after an event."""
        first = event.epoch - 1 if self.first is None and event.epoch else self.first
        return Running(self.trial, event.epoch, event.of, dict(event.values), event.host, event.device, first)

    @property
    def trained(self) -> int:
        """Epochs that were trained in this call."""
        return 0 if self.first is None else self.epoch - self.first

    @property
    def words(self) -> str:
        """One line: how far, the last values, and where."""
        if not self.of:
            return f"trial {self.trial}: no epoch known"
        values = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in self.values.items())
        where = f" on {self.host} ({self.device})" if self.host else ""
        return f"trial {self.trial}: epoch {self.epoch} of {self.of}{values}{where}"


@dataclass(frozen=True)
class Standing:
    """Where a search stands, as its process knows it beyond the record.

    Attributes:
        phase: What runs, such as "search".
        process: Number of the process that searches.
        host: The machine it runs on.
        time: When this was so, seconds since 1970.
        running: The running trials.
        trials_per_hour: Trials, parts of running ones with them, since this call began; None before the first epoch.
        epochs_per_hour: Epochs that were trained, likewise.
        finish: When the phase is expected to be done, seconds since 1970.
    """

    phase: str
    process: int
    host: str
    time: float
    running: tuple[Running, ...] = ()
    trials_per_hour: float | None = None
    epochs_per_hour: float | None = None
    finish: float | None = None

    @property
    def places(self) -> dict[str, tuple[str, ...]]:
        """The devices in use by host."""
        found: dict[str, tuple[str, ...]] = {}
        for host, device in sorted({(one.host, one.device) for one in self.running if one.host}):
            found[host] = (*found.get(host, ()), device)
        return found

    @property
    def gpus(self) -> int:
        """GPUs in use; one that several trials share counts once."""
        return sum(device != "cpu" for devices in self.places.values() for device in devices)

    @property
    def pace(self) -> str:
        """The rates and where they come from, in words; empty before the first epoch."""
        parts = []
        if self.trials_per_hour is not None and self.epochs_per_hour is not None:
            parts.append(f"{_rate(self.trials_per_hour)} trials and {_rate(self.epochs_per_hour)} epochs an hour")
        if places := self.places:
            more = f" and {len(places) - _HOSTS} more hosts" if len(places) > _HOSTS else ""
            named = ", ".join(f"{host} ({', '.join(devices)})" for host, devices in list(places.items())[:_HOSTS])
            gpus = f"{self.gpus} GPU{'' if self.gpus == 1 else 's'} in use" if self.gpus else ""
            parts += [*([gpus] if gpus else []), f"on {named}{more}"]
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standing:
        """Rebuild from `to_dict`; what is no number raises a TypeError or ValueError."""
        trials, epochs, finish = (
            None if data[name] is None else float(data[name])
            for name in ("trials_per_hour", "epochs_per_hour", "finish")
        )
        datetime.fromtimestamp(finish or 0.0)  # what is no moment of any calendar is refused here
        running = tuple(Running.from_dict(one) for one in data["running"])
        who = str(data["phase"]), int(data["process"]), str(data["host"]), float(data["time"])
        return cls(*who, running, trials, epochs, finish)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def finish_words(finish: float, now: float) -> str:
    """Return when something is expected to be done and how long that is, both in seconds since 1970.

    >>> noon = datetime(2026, 1, 2, 12).timestamp()
    >>> finish_words(noon + 90, noon)
    'about 1:30 left, until 12:01'
    >>> finish_words(noon + 200_000, noon)
    'about 55 h 33 min left, until 2026-01-04 19:33'
    """
    end, left = datetime.fromtimestamp(finish), max(int(finish - now), 0)
    minutes, seconds = divmod(left, 60)
    words = f"{minutes}:{seconds:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
    day = "" if end.date() == datetime.fromtimestamp(now).date() else f"{end:%Y-%m-%d} "
    return f"about {words} left, until {day}{end:%H:%M}"


class Board:
    """Follows the events of a search. May be read from another thread.

    Args:
        trials: Finished trials the search shall reach.
        found: Trials of this phase known before.
        phase: What runs, such as "search".

    Attributes:
        total: Finished trials the search shall reach.
        states: Trials that have ended, by state.
        rejected: Proposals refused before training, by kind.
        failures: The last failures with their reasons.
    """

    def __init__(self, trials: int, found: Sequence[Trial] = (), phase: str = "search") -> None:
        self.total, self._phase = trials, phase
        # Who draws may read while an event comes: no container changes its size.
        self.states = Counter({"complete": 0, "stopped": 0, "failed": 0})
        self.states.update(trial.state for trial in found if trial.state != "running")
        self.rejected: Mapping[str, int] = {}
        self.failures: tuple[str, ...] = ()
        self._before = self.done
        self._epochs = 0
        self._running: dict[int, Running] = {}
        self._began = self._heard = time.monotonic()
        self._guard = threading.Lock()

    def begin(self) -> None:
        """Count the time from now on."""
        self._began = self._heard = time.monotonic()

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return self.states.total()

    @property
    def running(self) -> tuple[Running, ...]:
        """The running trials."""
        with self._guard:
            return tuple(self._running.values())

    def __call__(self, event: Event) -> None:
        """Take one event."""
        with self._guard:
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Rejected):
            self.rejected = {**self.rejected, event.kind: self.rejected.get(event.kind, 0) + 1}
            return
        number = event.trial.number
        known = self._running.get(number, Running(number))
        if isinstance(event, Started):
            self._running[number] = known
        elif isinstance(event, Advanced):
            self._running[number] = known.after(event)
        elif isinstance(event, Finished | Stopped | Failed):
            self._running.pop(number, None)
            self._epochs += known.trained
            self.states[event.trial.state] += 1
            if isinstance(event, Failed):
                self.failures = (*self.failures, f"trial {number}: {event.trial.reason}")[-_FAILURES:]
        self._heard = time.monotonic()

    def standing(self) -> Standing:
        """Return where the search stands now.

        The time left is expected by the trials and parts of trials that were trained since this call began, until the
        last event, and counts down from there.
        """
        with self._guard:
            running, epochs, done, heard = tuple(self._running.values()), self._epochs, self.done, self._heard
        now = Standing(self._phase, os.getpid(), platform.node(), time.time(), running)
        told = [one for one in running if one.of]
        trained = done - self._before + sum(one.trained / one.of for one in told)
        seconds = heard - self._began
        if trained <= 0 or seconds <= 0:
            return now
        epochs += sum(one.trained for one in told)
        now = replace(now, trials_per_hour=3600 * trained / seconds, epochs_per_hour=3600 * epochs / seconds)
        if done >= self.total:
            return now
        left = seconds / trained * max(self.total - done - sum(one.epoch / one.of for one in told), 0.0)
        left = max(left - (time.monotonic() - heard), 0.0)
        return replace(now, finish=now.time + min(left, _LONGEST))
