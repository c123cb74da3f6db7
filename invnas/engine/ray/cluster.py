"""A connection to Ray: this machine or a cluster, and how many trainings fit on it."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from invnas.errors import BadInput, MissingExtra
from invnas.experiment import Experiment

#: The oldest Ray this works with.
OLDEST = (2, 60)
#: Seconds in which an address must answer.
_ANSWER = 10.0

#: What is told to Ray by environment: it reads these when it is imported or started.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True)
class Share:
    """What one training takes.

    Attributes:
        cpus: CPU cores, perhaps a part of one.
        gpus: GPUs, perhaps a part of one.
    """

    cpus: float
    gpus: float

    @property
    def resources(self) -> dict[str, float]:
        """By the names of Tune."""
        return {"cpu": self.cpus, "gpu": self.gpus}

    def slots(self, node: dict[str, float]) -> int:
        """Return how many trainings fit on a node with these resources."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        fits = [math.floor(node.get(name, 0.0) / part + 1e-9) for name, part in wanted.items() if part > 0]
        return min(fits, default=math.floor(node.get("CPU", 0.0)))


def check_ray() -> None:
    """Raise an error that says what to install unless a Ray that is new enough is there."""
    try:
        found = version("ray")
    except PackageNotFoundError:
        raise MissingExtra("ray", "ray") from None
    if tuple(int(part) for part in found.split(".")[:2] if part.isdigit()) < OLDEST:
        raise BadInput(f"--engine ray needs Ray {OLDEST[0]}.{OLDEST[1]} or newer, but {found} is installed")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray.tune  # noqa: F401
    except ImportError as error:
        raise BadInput(f"--engine ray needs ray[tune], which cannot be imported: {error}") from None


class Cluster:
    """A connection to Ray, made once; where Ray was connected before, that connection is used and left open.

    Args:
        experiment: Its address, GPUs and cores of a training.

    Raises:
        BadInput: If Ray is missing or too old, nobody answers at the address, or a training fits on no node.
    """

    def __init__(self, experiment: Experiment) -> None:
        check_ray()
        import ray

        self.ours = not ray.is_initialized()
        if self.ours:
            _connect(experiment.address)
        try:
            self.share = self._share(experiment)
        except BadInput:
            self.close()
            raise

    def close(self) -> None:
        """Leave; a Ray that was started for this ends, and everything of ours that ran on it."""
        import ray

        if self.ours and ray.is_initialized():
            with _signals_kept():
                ray.shutdown()

    def nodes(self) -> list[dict[str, float]]:
        """Return the resources of each node that is alive."""
        import ray

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def slots(self) -> int:
        """Return how many trainings fit at a time."""
        return sum(self.share.slots(node) for node in self.nodes())

    def _share(self, experiment: Experiment) -> Share:
        nodes = self.nodes()
        largest = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU")}
        gpus = experiment.gpus_per_trial
        cpus = experiment.cpus_per_trial
        share = Share(
            cpus=min(1.0, largest["CPU"]) if cpus is None else cpus,
            gpus=min(1.0, largest["GPU"]) if gpus is None else gpus,
        )
        where = f"the cluster has {len(nodes)} node{'s' * (len(nodes) != 1)}"
        for option, wanted, kind in (("gpus_per_trial", share.gpus, "GPU"), ("cpus_per_trial", share.cpus, "CPU")):
            if wanted > largest[kind]:
                raise BadInput(
                    f"`{option}` is {wanted:g}, but no node has more than {largest[kind]:g} {kind}s: {where} with "
                    f"{', '.join(f'{node.get(kind, 0.0):g}' for node in nodes)}"
                )
        if not any(share.slots(node) for node in nodes):
            raise BadInput(
                f"no node has room for a training with {share.cpus:g} CPUs and {share.gpus:g} GPUs: {where} with "
                + ", ".join(f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs" for node in nodes)
            )
        return share


def _connect(address: str | None) -> None:
    import ray

    if address is not None:
        _check_answers(address)
    try:
        with _signals_kept():
            ray.init(
                address=address if address is not None else "local",
                include_dashboard=None if address is not None else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split()).split(". ")[0]
        what = "Ray cannot be started on this machine" if address is None else f"no Ray answers at address '{address}'"
        token = "" if address is None else ", or where the one there wants a token set RAY_AUTH_MODE=token"
        raise BadInput(f"{what}: {said}; start a cluster with `ray start --head`{token}") from None


def _check_answers(address: str) -> None:
    """Raise BadInput where nobody listens: Ray itself would wait for minutes."""
    if address == "auto":
        return
    if "://" in address:
        raise BadInput(f"`address` must be auto or host:port of the head of the cluster, but got '{address}'")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BadInput(f"`address` must be auto or host:port, such as 10.0.0.1:6379, but got '{address}'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        said = str(error) or type(error).__name__
        raise BadInput(f"nobody answers at address '{address}' ({said}): is the head of the cluster up?") from None


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep our handlers of signals: Ray sets one of its own, which would end the search without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):  # one that was not set by Python
                signal.signal(number, handler)


def search_path() -> list[str]:
    """Return where this process finds modules, the current folder by its name: a user's own are found there too."""
    return [os.path.abspath(entry) for entry in sys.path]
