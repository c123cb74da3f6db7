"""Networks that do what they are told to, and runs of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from invnas.architecture import Architecture
from invnas.engine.local import InProcess
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.facts import DataFacts
from invnas.measurement import Cost, Trial
from invnas.messages import Ended, Job, Message, Outcome
from invnas.run import Run

EXPERIMENT = Experiment(
    data=DataSource("HardDigits", {"batch_size": 512}), recipe=Recipe(epochs=1, learning_rate=0.2, threads=1)
)

SPACE = '''
import errno, itertools, os, sys, time
from dataclasses import dataclass
from pathlib import Path
from invnas import Choice, Space

calls, sizes = [], []

def greedy(y, megabytes):
    """Return what it is given, with 300 MB of activations for 512 images, in a process with so much left."""
    import resource
    if not sizes:
        sizes.append(int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (sizes[0] + megabytes * 2**20, most))
    wide = y.repeat(1, 5_000)
    return wide.tanh().tanh().view(len(y), -1, y.shape[1]).mean(1)

def act(how, images=0):
    if how == "raise":
        raise RuntimeError("on purpose")
    if how == "nan":
        return float("nan")
    if how == "exit":
        sys.exit(0)
    if how == "die":
        os._exit(3)
    if how == "sleep":
        time.sleep(1000)
    if how == "slow":
        time.sleep(0.02)
    if how == "spin":  # in C, without a moment in which another thread could run
        sum(itertools.repeat(1, 10**15))
    if how == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")
    if how.startswith("die once "):
        marker = Path(how.removeprefix("die once "))
        if not marker.exists():
            marker.touch()
            os._exit(3)
    if how.startswith("fits"):  # so many images after so many calls
        import torch
        most, after = map(int, how.split()[1:])
        calls.append(images)
        if images > most and len(calls) > after:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {images} images")
    print("a user's print does not mix with the answers")
    return 1.0

@dataclass(frozen=True)
class Acts:
    how: str

    def build(self, input_shape, classes):
        from torch import nn

        class Net(nn.Module):
            def __init__(net):
                super().__init__()
                net.layer = nn.Linear(input_shape[1] * input_shape[2], classes)
                if self.how.endswith(" heavy"):
                    import torch
                    net.weight = nn.Parameter(torch.ones(500_000))

            def forward(net, x):
                y = net.layer(x.flatten(1)) * getattr(net, "weight", x.new_ones(1)).mean()
                if self.how.startswith("greedy ") and net.training:
                    return greedy(y, int(self.how.split()[1]))
                return y * act(self.how.removesuffix(" heavy"), len(x) if net.training else 0)

        return Net()

space = Acts(Choice("fine", "raise"))
'''


def make_run(folder: Path, experiment: Experiment = EXPERIMENT) -> Run:
    """Make a run of such networks."""
    path = folder / "acts.py"
    path.write_text(SPACE)
    return Run.create(folder / "run", experiment, path, facts=DataFacts((1, 8, 8), 10), environment={})


def job(run: Run, how: str, number: int = 0, **recipe: Any) -> Job:
    """Return a job of a network that acts."""
    network = run.space.types["Acts"](how)
    made = run.job(Trial(number, Architecture(network), {}, Cost.counted(0, 0, 0)))
    return replace(made, experiment=replace(made.experiment, recipe=replace(made.experiment.recipe, **recipe)))


def follow(
    engine: Any, number: int = 1, on_message: Callable[[Message], None] = lambda message: None, seconds: float = 300
) -> dict[int, Outcome]:
    """Wait until so many jobs have ended, and return what came out, by number."""
    ended: dict[int, Outcome] = {}

    def tell(message: Message) -> None:
        on_message(message)
        if isinstance(message, Ended):
            assert message.number not in ended
            ended[message.number] = message.outcome

    until = time.monotonic() + seconds
    while len(ended) < number:
        assert time.monotonic() < until
        engine.wait(0.2, tell)
    return ended


def trained_here(run: Run, epochs: int) -> tuple[list[Message], bytes]:
    """Train a network in this process, take away what it left, and return what was told and its weights."""
    told: list[Message] = []
    engine = InProcess(run.folder, EXPERIMENT)
    engine.submit(job(run, "fine", epochs=epochs))
    follow(engine, 1, told.append)
    weights = run.weights_path(0).read_bytes()
    run.weights_path(0).unlink()
    for path in run.checkpoint_folder(0).iterdir():
        path.unlink()
    return told, weights


def until(true: Callable[[], Any], seconds: float = 300) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Tell whether a process runs: one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
