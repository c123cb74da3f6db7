"""Times networks where they will run. This file is sent there: it needs Python 3.9 and the runtime, nothing of invnas.

It reads requests on its standard input, a line of JSON each with the bytes it announces behind it, and answers in lines
of JSON. A network is timed beside a reference network, a few passes of one and a few of the other in turn: what slows
both, as another process or a clock that sinks with the heat, leaves the ratio as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any

#: What each answer begins with: a shell there may print lines of its own.
ANSWER = "invnas-latency "
#: Rounds of a timing at least and at most; passes of a round that count, after one that does not.
LEAST, MOST, PASSES = 9, 40, 3
#: A pass of so many milliseconds is long: one in a round is enough.
LONG = 20.0
#: Rounds of the reference alone.
ALONE = 60

Pass = Callable[[], object]
Facts = dict[str, Any]


def clock_of(threads: int, one: Callable[[], float] = time.process_time) -> Callable[[], float]:
    """Return the clock of a pass in seconds.

    One thread is timed by the processor time it is given, which is what passes on the wall where nothing else runs, and
    to which what else runs adds nothing. Windows counts that in steps of 15 ms; several threads wait for each other.
    """
    return one if threads == 1 and os.name == "posix" else time.perf_counter


def _preempted() -> int:
    """Return how often this process had to give up a core so far; 0 where nobody counts it."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def block_ms(run: Pass, clock: Callable[[], float], passes: int = PASSES) -> float:
    """Return the median milliseconds of some passes after one that fetches the memory; undisturbed ones alone count.

    Args:
        run: A forward pass.
        clock: Seconds.
        passes: How many count; a single one has none before it.
    """
    if passes > 1:
        run()
    every, calm = [], []
    for _ in range(passes):
        before, start = _preempted(), clock()
        run()
        every.append((clock() - start) * 1000)
        if _preempted() == before:
            calm.append(every[-1])
    return statistics.median(calm or every)


def timed(network: Pass, reference: Pass, clock: Callable[[], float], seconds: float = 1.0) -> dict[str, float]:
    """Return what a pass takes as a multiple of the reference: the median and the quartiles over the rounds.

    Args:
        network: A forward pass of it.
        reference: A forward pass of the reference.
        clock: Seconds.
        seconds: No round begins after these, beyond the least.
    """
    for run in (reference, network):
        run()
        run()
    passes = 1 if block_ms(network, clock, 1) > LONG else PASSES
    ratios: list[float] = []
    references: list[float] = []
    began = time.monotonic()
    while len(ratios) < LEAST or (len(ratios) < MOST and time.monotonic() - began < seconds):
        references.append(max(block_ms(reference, clock), 1e-6))
        ratios.append(block_ms(network, clock, passes) / references[-1])
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    beside = statistics.median(references)
    return {"ratio": middle, "low": low, "high": high, "beside_ms": beside, "rounds": len(ratios)}


def alone_ms(reference: Pass, clock: Callable[[], float]) -> float:
    """Return the milliseconds of the reference: the lower quartile, for the slower ones were disturbed."""
    reference()
    found = [block_ms(reference, clock) for _ in range(ALONE)]
    return statistics.quantiles(found, n=4, method="inclusive")[0]


def machine() -> str:
    """Return what computes here: name, processor and cores."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = (line.partition(":") for line in file)
            model = next((after.strip() for name, _, after in lines if name.strip() in ("model name", "Model")), model)
    except OSError:
        pass
    return f"{platform.node()}, {model}, {os.cpu_count()} cores"


class RefusedLibrary(Exception):
    """The runtime does not take the library of kernels; networks run without it, by standard operators."""


class Onnxruntime:
    """onnxruntime on the CPU; `library` is a file of kernels."""

    def __init__(self, threads: int, library: str | None) -> None:
        import onnxruntime

        self._runtime, self.version = onnxruntime, onnxruntime.__version__
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads, self._options.inter_op_num_threads = threads, 1
        self._options.log_severity_level = 3
        if library is not None:
            try:
                self._options.register_custom_ops_library(library)
            except Exception as error:  # onnxruntime has a class for each of its codes
                raise RefusedLibrary(str(error)) from None

    def load(self, model: bytes, shape: list[int]) -> Pass:
        """Return a forward pass."""
        import numpy

        session = self._runtime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])
        images = numpy.random.default_rng(0).standard_normal(shape, numpy.float32)
        given = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, given)


class Torch:
    """A torch.export program on the CPU."""

    def __init__(self, threads: int, library: str | None) -> None:
        import torch

        self._torch, self.version = torch, torch.__version__
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def load(self, model: bytes, shape: list[int]) -> Pass:
        """Return a forward pass."""
        module = self._torch.export.load(io.BytesIO(model)).module()
        images = self._torch.randn(shape, generator=self._torch.Generator().manual_seed(0))
        return lambda: module(images)


class Executorch:
    """An ExecuTorch program on the CPU."""

    def __init__(self, threads: int, library: str | None) -> None:
        from importlib.metadata import version

        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        self._torch, self._runtime, self.version = torch, Runtime.get(), version("executorch")
        if hasattr(portable_lib, "_unsafe_reset_threadpool"):
            portable_lib._unsafe_reset_threadpool(threads)
        elif threads > 1:
            raise RuntimeError("this executorch cannot be told how many threads to use")

    def load(self, model: bytes, shape: list[int]) -> Pass:
        """Return a forward pass."""
        program = self._runtime.load_program(model)
        method = program.load_method("forward")
        images = self._torch.randn(shape, generator=self._torch.Generator().manual_seed(0))
        held = model, program  # both are read in place: they have to live as long as what runs
        return lambda: (method.execute([images]), held)


@cache
def openvino_core() -> Any:
    """Return the one core of OpenVINO in this process, which is never let go.

    Its plugin gives a thread a stack for signals, and unmaps it when its core goes, whichever thread that is and
    whether or not another core has found it there: the next signal, such as that a loader of images has ended, would
    then end the process (2026.4).
    """
    import openvino

    return openvino.Core()


class Openvino:
    """OpenVINO on the CPU, in float32: where a processor has bfloat16 it would else compute in that."""

    def __init__(self, threads: int, library: str | None) -> None:
        import openvino

        self._core, self.version = openvino_core(), openvino.__version__.partition("-")[0]
        self._how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}

    def load(self, model: bytes, shape: list[int]) -> Pass:
        """Return a forward pass; a model is its XML and, after a zero byte, its weights."""
        import numpy

        xml, _, weights = model.partition(b"\0")
        request = self._core.compile_model(self._core.read_model(xml, weights), "CPU", self._how).create_infer_request()
        images = numpy.random.default_rng(0).standard_normal(shape, numpy.float32)
        return lambda: request.infer([images], share_inputs=True)


RUNTIMES: dict[str, Any] = {
    "onnxruntime": Onnxruntime, "torch": Torch, "executorch": Executorch, "openvino": Openvino
}  # fmt: skip


class Bench:
    """What answers the requests of one connection."""

    def open(self, asked: Facts, reference: bytes, library: bytes) -> Facts:
        """Load the runtime and the reference."""
        if asked["cores"] and sys.platform == "linux":
            os.sched_setaffinity(0, asked["cores"])
        make, kernels = RUNTIMES[asked["runtime"]], hashlib.sha256(library).hexdigest()[:16] if library else ""
        try:
            self._runtime = make(asked["threads"], self._lay(library) if library else None)
        except RefusedLibrary:
            self._runtime, kernels = make(asked["threads"], None), ""
        self._clock = clock_of(asked["threads"])
        self._reference = self._runtime.load(reference, asked["shape"])
        return {"version": self._runtime.version, "machine": machine(), "kernels": kernels}

    def alone(self, asked: Facts) -> Facts:
        """Time the reference alone."""
        return {"reference_ms": alone_ms(self._reference, self._clock)}

    def time(self, asked: Facts, model: bytes) -> Facts:
        """Time a network beside the reference."""
        return timed(self._runtime.load(model, asked["shape"]), self._reference, self._clock, asked["seconds"])

    @staticmethod
    def _lay(library: bytes) -> str:
        import atexit

        handle, path = tempfile.mkstemp(suffix=".so")
        atexit.register(os.remove, path)
        with os.fdopen(handle, "wb") as file:
            file.write(library)
        return path


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a runtime prints is no answer

    def say(answer: Facts) -> None:
        print(ANSWER + json.dumps(answer), file=answers, flush=True)

    bench, asking = Bench(), sys.stdin.buffer
    say({"system": platform.system(), "processor": platform.machine()})
    for line in iter(asking.readline, b""):
        asked = json.loads(line)
        given = [asking.read(size) for size in asked["bytes"]]
        try:
            say(getattr(bench, asked["do"])(asked, *given))
        except ModuleNotFoundError as error:
            say({"missing": str(error.name).partition(".")[0]})
        except Exception as error:
            said = [one.strip() for one in str(error).splitlines() if one.strip()]
            say({"error": f"{type(error).__name__}: {said[0] if said else 'no reason given'}"[:300]})


if __name__ == "__main__":
    main()
