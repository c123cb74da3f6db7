"""Where networks are timed in another process: the runner, here or on another host."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invnas.errors import BadInput, InvalidArchitecture, InvnasError
from invnas.latency.link import LOADS, Link, Lost, by_ssh, here
from invnas.latency.settings import Latency
from invnas.ops.onnx import library_path


def _kernels(latency: Latency, greeting: Mapping[str, str]) -> bytes:
    """Return invnas's kernels for onnxruntime on the same system and processor; empty where there are none."""
    same = greeting == {"system": platform.system(), "processor": platform.machine()}
    path = library_path() if latency.runtime == "onnxruntime" and same else None
    return Path(path).read_bytes() if path else b""


class Elsewhere:
    """A runner in another process, here or on another host; one that is lost is started once more.

    Args:
        latency: Where and how.
        reference: The file of the reference.
        shape: (batch, channels, height, width) of its images.
        cores: Cores to be bound to.

    Attributes:
        version: That of the runtime, and whether invnas's kernels run in it.
        machine: What computes there.
        kernels: Which kernels of invnas; empty without.

    Raises:
        BadInput: If the host does not answer, or the runtime is missing there.
    """

    def __init__(self, latency: Latency, reference: bytes, shape: Sequence[int], cores: Sequence[int]) -> None:
        self._latency = latency
        host = latency.host
        self._name = "this machine" if host is None else f"the host {host.name}"
        self._reach = here if host is None else by_ssh(host)
        facts = {"runtime": latency.runtime, "threads": latency.threads, "cores": list(cores), "shape": list(shape)}
        self._opening = facts, reference
        self._link = self._opened()

    def _opened(self) -> Link:
        link = Link(self._reach, self._name)
        try:
            facts, reference = self._opening
            found = link.ask("open", facts, reference, _kernels(self._latency, link.greeting), seconds=LOADS)
            if "missing" in found:
                python = "this Python" if self._latency.host is None else self._latency.host.python
                raise BadInput(
                    f"`latency.runtime`: {self._latency.runtime} cannot be used on {self._name}: {python} there has no "
                    f"package '{found['missing']}'; install it there, or name another Python: ssh://host/path/of/python"
                )
            if "error" in found:
                raise BadInput(f"`latency`: {self._latency.runtime} on {self._name} fails: {found['error']}")
        except Lost as lost:
            link.close()
            raise BadInput(f"`latency.on`: {lost}") from None
        except BadInput:
            link.close()
            raise
        self.machine, self.kernels = str(found["machine"]), str(found["kernels"])
        self.version = f"{found['version']}{' and invnas' if self.kernels else ''}"
        return link

    def alone(self) -> float:
        """Return the milliseconds of the reference."""
        return float(self._asked("alone", {})["reference_ms"])

    def time(self, network: Any, shape: Sequence[int], seconds: float) -> Mapping[str, float]:
        """Return ratio, low and high of the file of a network."""
        found = self._asked("time", {"shape": list(shape), "seconds": seconds}, network)
        if "error" in found:
            raise InvalidArchitecture(f"{self._latency.runtime} cannot run it: {found['error']}")
        return found

    def close(self) -> None:
        """End the runner."""
        self._link.close()

    def _asked(self, do: str, facts: Mapping[str, Any], *given: bytes) -> dict[str, Any]:
        try:
            return self._link.ask(do, facts, *given)
        except Lost:
            self._link.close()
        try:
            self._link = self._opened()
            return self._link.ask(do, facts, *given)
        except (BadInput, Lost) as error:
            said = str(error).removeprefix("`latency.on`: ")
            raise InvnasError(f"no latency could be measured: {said}") from None
