"""Where latency is measured: the runtime, its threads, the batch and the machine, as a frozen value without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from invnas.errors import BadInput
from invnas.objective import LATENCY, Objective
from invnas.settings import settle

#: More threads or images than that are a slip.
MOST = 1024

# Letters that no shell and no option of ssh can take for something else; nothing of it begins with a dash.
_USER, _HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]*", r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]"
_ADDRESS = re.compile(rf"ssh://(?:({_USER})@)?({_HOST})(?::(\d{{1,5}}))?((?:/[A-Za-z0-9_.+][A-Za-z0-9_.+-]*)+)?/?")


@dataclass(frozen=True)
class Host:
    """A machine that is reached by ssh.

    Attributes:
        name: Its name or address, or what the user's ssh configuration calls it.
        user: Who logs in; empty for whom ssh takes.
        port: The port; 0 for the one ssh takes.
        python: The Python there that has the runtime.

    >>> Host.parse("ssh://pi@board:2222/home/pi/venv/bin/python")
    Host(name='board', user='pi', port=2222, python='/home/pi/venv/bin/python')
    """

    name: str
    user: str = ""
    port: int = 0
    python: str = "python3"

    @classmethod
    def parse(cls, text: str) -> Host:
        """Return ssh://user@host:port/path/of/python as a value; user, port and path may be left out.

        Raises:
            BadInput: If it is no such address.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[3] or 1) not in range(1, 65536):
            raise BadInput(
                "`latency.on` must be local or ssh://user@host:port/path/of/python (user, port and path may be left "
                f"out; letters, digits and . _ - alone, no name begins with a dash), but got '{text:.80}'"
            )
        return cls(found[2].strip("[]"), found[1] or "", int(found[3] or 0), found[4] or "python3")


@dataclass(frozen=True)
class Latency:
    """What a latency is a latency of: who runs a network, on how many threads, for how many images, on which machine.

    Attributes:
        runtime: Who runs it: torch, onnxruntime, executorch or openvino.
        threads: Threads of one forward pass.
        batch: Images of one forward pass.
        on: Where: local, or ssh://user@host:port of another machine, with the path of its Python behind it where
            python3 is not the one that has the runtime.

    >>> Latency("onnxruntime", threads=2).words
    'onnxruntime, 2 threads'
    """

    runtime: Literal["torch", "onnxruntime", "executorch", "openvino"] = "torch"
    threads: int = 1
    batch: int = 1
    on: str = "local"

    def __post_init__(self) -> None:
        settle(self, "latency.")
        for name in ("threads", "batch"):
            if not 1 <= getattr(self, name) <= MOST:
                raise BadInput(f"`latency.{name}` must be 1 to {MOST:,}, but got {getattr(self, name)}")
        _ = self.host  # an address that cannot be is refused here

    @property
    def host(self) -> Host | None:
        """The other machine; None where it is this one."""
        return None if self.on == "local" else Host.parse(self.on)

    @property
    def words(self) -> str:
        """It in words, as it stands beside the unit."""
        threads = f"{self.runtime}, {self.threads} thread{'s' * (self.threads > 1)}"
        images = f", batch {self.batch}" if self.batch > 1 else ""
        return f"{threads}{images}{'' if self.host is None else f', on {self.host.name}'}"

    @property
    def axis(self) -> Objective:
        """The objective, with a title that says what it is a latency of."""
        images = "one image" if self.batch == 1 else "a batch"
        return replace(LATENCY, title=f"Latency of {images}, {self.words}")


def check_reserved(cores: int, latency: Latency, metered: bool, engine: str) -> None:
    """Raise BadInput if so many cores cannot be kept free for measuring.

    Args:
        cores: How many.
        latency: Where a latency is measured.
        metered: Whether one is.
        engine: Who trains.
    """
    if cores < 0:
        raise BadInput(f"`reserve_cores` must not be negative, but got {cores}")
    if not cores:
        return
    if engine != "local":
        raise BadInput("`reserve_cores` is for trainings on this machine: it needs --engine local")
    if not metered or latency.host is not None:
        raise BadInput(
            "`reserve_cores` is for latencies that are measured on this machine: it needs the objective latency_ms or "
            "a cap max_latency_ms, and latency.on local"
        )
    if latency.threads > cores:
        raise BadInput(
            f"`latency.threads` must be at most the cores reserved for it, {cores}, but got {latency.threads}"
        )
