"""The stopwatch: milliseconds of architectures where they will run, each timed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from invnas import __version__
from invnas.architecture import Architecture
from invnas.errors import InvnasError, out_of_memory
from invnas.export.graphs import GRAPHS
from invnas.files import cache_folder
from invnas.head import Head, as_head
from invnas.latency.cache import Cache
from invnas.latency.elsewhere import Elsewhere
from invnas.latency.forms import FORMS, Shape, inference_network, model_bytes
from invnas.latency.in_torch import InTorch
from invnas.latency.settings import Latency
from invnas.measurement import SPREAD, Cost
from invnas.objective import LATENCY
from invnas.zoo import small_resnet

#: What is timed beside every network, and its image.
REFERENCE, REFERENCE_SHAPE = small_resnet(8), (3, 32, 32)
#: Seconds of a timing: no round begins later.
SECONDS = 1.0
#: What a timing is: another number here, and nothing of before is taken for one.
_FORMAT = 1


@dataclass(frozen=True)
class Timing:
    """What a forward pass takes.

    Attributes:
        ms: Milliseconds: the median ratio to the reference, times what that takes undisturbed.
        spread_ms: Interquartile range of the rounds, in milliseconds.
    """

    ms: float
    spread_ms: float

    def added(self, cost: Cost) -> Cost:
        """Return a cost with it."""
        return Cost({**cost.values, LATENCY.name: self.ms, SPREAD: self.spread_ms})


class Bench(Protocol):
    """Where networks are timed beside the reference."""

    version: str
    machine: str
    kernels: str

    def alone(self) -> float:
        """Return the milliseconds of the reference."""
        ...

    def time(self, network: nn.Module, shape: Sequence[int], seconds: float) -> Mapping[str, float]:
        """Return ratio, low and high of a network to the reference."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Stopwatch:
    """Times architectures for one kind of image and head; use it inside a `with`.

    Args:
        latency: Where and how.
        input_shape: (channels, height, width) of one image.
        head: What the networks end in.
        own: Text of the user's own modules, if the networks have any: another text, another network.
        cores: Cores of this machine that are kept free for it; none waits for a quiet moment.

    Raises:
        BadInput: If the host does not answer, or the runtime is missing there.
    """

    def __init__(
        self, latency: Latency, input_shape: Shape, head: Head | int, *, own: str = "", cores: Sequence[int] = ()
    ) -> None:
        self.latency, self._shape, self._head, self._cores = latency, input_shape, as_head(head), tuple(cores)
        self._known: dict[str, dict[str, float]] = {}
        self._shared = Cache(cache_folder() / "latency")
        self._mine: Cache | None = None
        self._bench: Bench = _bench_of(latency, self._cores)
        self._where = {
            "format": _FORMAT, "invnas": __version__, "runtime": latency.runtime, "version": self._bench.version,
            "threads": latency.threads, "machine": self._bench.machine, "kernels": self._bench.kernels,
        }  # fmt: skip
        self._what = {
            **self._where, "batch": latency.batch, "input_shape": list(input_shape), "head": repr(self._head),
            "own": hashlib.sha256(own.encode()).hexdigest() if own else "",
        }  # fmt: skip
        self._reference_ms = 0.0

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(self, *error: object) -> None:
        self._bench.close()

    @property
    def version(self) -> str:
        """That of the runtime."""
        return self._bench.version

    @property
    def machine(self) -> str:
        """What computes there."""
        return self._bench.machine

    @property
    def words(self) -> str:
        """The runtime with its version, the threads and the machine."""
        return self.latency.words.replace(self.latency.runtime, f"{self.latency.runtime} {self.version}")

    def keep_in(self, folder: Path) -> str:
        """Keep what is timed in a run too, beside the user's cache; what the run has already is taken from there.

        Returns:
            The machine on which the run has timed before, where that is another one; empty otherwise.
        """
        self._mine, elsewhere = Cache(folder), ""
        for key, values in self._mine.every():
            if key == self._where:
                self._reference_ms = values["reference_ms"]
            elif key == {**self._what, "fingerprint": key.get("fingerprint")}:
                self._known[key["fingerprint"]] = values
            elif "reference_ms" in values:
                elsewhere = f"{key.get('runtime')} {key.get('version')} on {key.get('machine')}"
        for fingerprint, values in self._known.items():
            self._mine.put({**self._what, "fingerprint": fingerprint}, values)
        if self._reference_ms:
            self._mine.put(self._where, {"reference_ms": self._reference_ms})
        return "" if self._reference_ms else elsewhere

    def known(self, architecture: Architecture) -> Timing | None:
        """Return what this search has timed; None where it has not."""
        found = self._known.get(architecture.fingerprint)
        return None if found is None or not self._reference_ms else self._timing(found)

    def __call__(
        self, architecture: Architecture, quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Timing:
        """Return what an architecture takes.

        Args:
            architecture: What to time, unless it was, here or by another run.
            quiet: Holds what else computes on this machine while the clock runs.

        Raises:
            InvalidArchitecture: If the runtime cannot run it.
            InvnasError: If the host is lost, or memory runs out.
        """
        undisturbed = nullcontext if self._cores or self.latency.host is not None else quiet
        key = {**self._what, "fingerprint": architecture.fingerprint}
        found = self._known.get(architecture.fingerprint) or self._shared.get(key)
        if found is None:
            found = self._timed(architecture, undisturbed)
            self._shared.put(key, found)
        if architecture.fingerprint not in self._known:
            self._known[architecture.fingerprint] = found
            if self._mine is not None:
                self._mine.put(key, found)
        self._weigh_reference(undisturbed)
        return self._timing(found)

    def again(self, architecture: Architecture) -> Timing:
        """Return what an architecture takes when it is timed once more; what is known stays as it is."""
        self._weigh_reference(nullcontext)
        return self._timing(self._timed(architecture, nullcontext))

    def _timed(self, architecture: Architecture, quiet: Callable[[], AbstractContextManager[None]]) -> dict[str, float]:
        network = inference_network(architecture, self._shape, self._head)
        shape = (self.latency.batch, *self._shape)
        try:
            bench = self._bench
            given: Any = network if isinstance(bench, InTorch) else model_bytes(network, self.latency.runtime, shape)
            with quiet():
                found = bench.time(given, shape, SECONDS)
        except Exception as error:
            if not out_of_memory(error):
                raise
            said = " x ".join(map(str, shape))
            raise InvnasError(f"the network on images of {said} does not fit the memory of this machine") from None
        return {name: found[name] for name in ("ratio", "low", "high", "beside_ms")}

    def _weigh_reference(self, quiet: Callable[[], AbstractContextManager[None]]) -> None:
        """Time the reference alone, once on a machine: ratios to it become milliseconds."""
        if self._reference_ms:
            return
        found = self._shared.get(self._where)
        if found is None:
            with quiet():
                found = {"reference_ms": self._bench.alone()}
            self._shared.put(self._where, found)
        self._reference_ms = found["reference_ms"]
        if self._mine is not None:
            self._mine.put(self._where, found)

    def _timing(self, found: Mapping[str, float]) -> Timing:
        return Timing(found["ratio"] * self._reference_ms, (found["high"] - found["low"]) * self._reference_ms)


def _bench_of(latency: Latency, cores: Sequence[int]) -> Bench:
    GRAPHS[FORMS[latency.runtime]].need()  # here the file is written that goes there
    reference = inference_network(REFERENCE, REFERENCE_SHAPE, 10)
    shape = (1, *REFERENCE_SHAPE)
    if latency.runtime == "torch" and latency.host is None:
        return InTorch(latency.threads, reference, shape, cores)
    return Elsewhere(latency, model_bytes(reference, latency.runtime, shape), shape, cores)
