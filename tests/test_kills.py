"""A search whose driver or workers are killed at any moment, of real trainings: nothing is lost, nothing done twice."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from invnas.engine.ray.cluster import check_ray
from invnas.measurement import Trial
from invnas.run import Run

#: Each network says which it is and how many images it is trained on, before it learns from them.
SPACE = """
import os, time
from torch import nn
from invnas import Choice

class Network(nn.Module):
    def __init__(self, classes, width, depth):
        super().__init__()
        self.name = f"{width}/{depth}"
        deep = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), *deep, nn.Linear(width, classes))

    def forward(self, x):
        if self.training and x.device.type != "meta":
            mark = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(mark, f"{self.name} {len(x)}\\n".encode())
            os.close(mark)
            time.sleep(0.02)
        return self.layers(x)

def space(input_shape, classes, width=Choice(*range(4, 16)), depth=Choice(1, 2)):
    return Network(classes, width, depth)
"""
EPOCHS = 4
WORDS = [
    "--data.class_path", "HardDigits", "--data.init_args.batch_size", 4096, "--recipe.epochs", EPOCHS,
    "--recipe.threads", 1, "--recipe.learning_rate", 0.5, "--sampler", "evolution", "--sampler_args.population", 3,
    "--objectives", "top1,parameters", "--seed", 4, "--quiet",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


@dataclass
class Driver:
    """A command of invnas in a process of its own."""

    server: subprocess.Popen[str]
    log: Path
    pid: int
    code: int | None = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        assert self.server.stdout is not None
        self.code = int(self.server.stdout.readline())
        return self.code

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    path = Path(__file__).with_name("fork_server.py")
    child = subprocess.Popen(
        [sys.executable, str(path)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    yield child
    child.kill()
    child.communicate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray of one machine and one core, to which drivers come and go."""
    pytest.importorskip("ray")
    check_ray()
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield found
    found.shutdown()


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in listed.read_text().split()] if listed.is_file() else []


def actors(cluster: Any) -> list[int]:
    """Return the processes that do something on a cluster of one machine."""
    (raylet,) = cluster.head_node.all_processes["raylet"]
    busy = b"ray::ImplicitFunc", b"ray::Desk"
    return [pid for pid in children(raylet.process.pid) if words_of(pid).startswith(busy)]


@dataclass
class Search:
    """A search in a folder of its own, with what its networks have marked."""

    server: subprocess.Popen[str]
    place: Path
    words: list[Any]
    lost: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.place.mkdir()
        (self.place / "space.py").write_text(SPACE.replace("MARKS", repr(str(self.place / "marks"))))
        self.folder = self.place / "run"

    def first(self) -> list[Any]:
        return ["search", "--space", self.place / "space.py", "--run-dir", self.folder, *WORDS, *self.words]

    def start(self) -> Driver:
        begun = (self.folder / "run.json").is_file()
        return self.launch(["resume", self.folder, "--quiet"] if begun else self.first())

    def launch(self, given: list[Any]) -> Driver:
        words = [str(word) for word in given]
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        log = self.place / "log"
        self.server.stdin.write(json.dumps({"words": words, "log": str(log)}) + "\n")
        return Driver(self.server, log, int(self.server.stdout.readline()))

    def trials(self) -> tuple[Trial, ...]:
        return Run.open(self.folder).trials()

    def marked(self) -> list[tuple[str, int]]:
        path = self.place / "marks"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(images)) for name, images in map(str.split, lines)]

    def epochs(self) -> Counter[str]:
        """Epochs that were begun, by network; half a batch is a half."""
        found: Counter[str] = Counter()
        for name, images in self.marked():
            found[name] += images
        most = max((images for _, images in self.marked()), default=1)
        return Counter({name: -(-images // most) for name, images in found.items()})

    def note_losses(self) -> None:
        """After a kill: a running trial has lost the epoch that was under way, no more."""
        begun = self.epochs()
        for trial in self.trials():
            if trial.state == "running":
                lost = begun[name_of(trial)] - kept(self.folder, trial.number) - self.lost[trial.number]
                assert 0 <= lost <= 1, (trial.number, begun, self.lost)
                self.lost[trial.number] += lost


def name_of(trial: Trial) -> str:
    network: Any = trial.architecture.network
    return f"{network.width}/{network.depth}"


def kept(folder: Path, number: int) -> int:
    """Return the epochs that the checkpoint of a running trial holds."""
    path = folder / "checkpoints" / str(number) / "last.ckpt"
    try:
        return int(torch.load(path, weights_only=False)["epoch"]) + 1
    except FileNotFoundError:  # none yet, or none any more
        return 0


def until(true: Callable[[], Any], driver: Driver, seconds: float = 300) -> None:
    """Wait, long enough for a machine that does much else; a driver in vain waited for is ended, so that no other test
    reads its answer."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            driver.kill()
            driver.wait()
            pytest.fail(driver.said())
        time.sleep(0.005)


def words_of(pid: int | str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def orphans_are_gone(folder: Path) -> None:
    """Wait until no process names a folder: workers that end with their search may be writing still."""
    words, end = str(folder).encode(), time.monotonic() + 120
    while time.monotonic() < end and any(words in words_of(path.name) for path in Path("/proc").glob("[0-9]*")):
        time.sleep(0.02)


def found_by(search: Search) -> list[Any]:
    return [
        (t.number, t.state, t.architecture.fingerprint, t.measurement and (t.measurement.epochs, t.measurement.values))
        for t in search.trials()
    ]


def second_is_refused(call: Callable[..., tuple[int, str, str]], search: Search, driver: Driver) -> None:
    told = f"the run {search.folder} is in use by process {driver.pid}: wait for it or stop it"
    assert call("resume", search.folder) == (2, "", f"invnas: error: {told}\n")
    code, out, err = call(*search.first())
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"{search.folder} holds a run already" in err


#: After how many more images, of a batch each, a driver is killed; 0 is while it starts.
MOMENTS = {("local", 1): (0, 0, 1, 2, 3), ("local", 2): (2, 3, 4), ("ray", 1): (0, 0, 1, 2)}


@pytest.mark.parametrize(
    ("engine", "workers", "kills", "trials", "words"),
    [
        ("local", 1, 6, 5, []),
        ("local", 1, 6, 9, ["--stopper", "halving"]),
        ("local", 2, 2, 4, []),
        ("ray", 1, 4, 4, []),
    ],
    ids=["one", "halving", "two", "ray"],
)
def test_kill_9_at_random_moments_then_resume_to_the_end(
    server: subprocess.Popen[str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    engine: str,
    workers: int,
    kills: int,
    trials: int,
    words: list[Any],
    call: Callable[..., tuple[int, str, str]],
) -> None:
    asked = ["--workers", workers, "--trials", trials, *words]
    cluster: Any = request.getfixturevalue("cluster") if engine == "ray" else None
    ray = [] if cluster is None else ["--engine", "ray", "--address", cluster.address]
    search, drawn = Search(server, tmp_path / "killed", asked + ray), random.Random(9)
    for number in range(kills):
        driver = search.start()
        before, wanted = len(search.marked()), drawn.choice(MOMENTS[engine, workers])
        until(lambda: (search.folder / "holder").exists() and (search.folder / "run.json").exists(), driver)
        if cluster is not None and number == 0:
            second_is_refused(call, search, driver)
        until(lambda: len(search.marked()) >= before + wanted, driver)  # noqa: B023
        if cluster is not None and wanted:
            assert len(actors(cluster)) == 2  # the training and the desk
        time.sleep(drawn.random() * (0.05 if wanted else 0.4 if cluster is None else 1.0))
        driver.kill()
        assert driver.wait() == -signal.SIGKILL, driver.said()  # it had not ended
        orphans_are_gone(search.folder)
        if cluster is not None:  # Ray ends what was started by a driver that is gone
            until(lambda: not actors(cluster), driver)
        search.note_losses()
    driver = search.start()
    assert driver.wait() == 0, driver.said()
    found = search.trials()
    assert [trial.number for trial in found] == list(range(trials))
    assert len({trial.architecture.fingerprint for trial in found}) == trials
    assert {trial.state for trial in found} <= {"complete", "stopped"}
    begun = search.epochs()
    for trial in found:
        assert trial.measurement is not None
        again = begun[name_of(trial)] - trial.measurement.epochs
        # One that was stopped at a rung has its measurement of the epoch whose checkpoint the kill has prevented.
        assert again in {search.lost[trial.number], search.lost[trial.number] - (trial.state == "stopped")}
    assert 0 < search.lost.total() <= kills * workers
    if workers == 1:
        whole = Search(server, tmp_path / "whole", asked)
        driver = whole.start()
        assert driver.wait() == 0, driver.said()
        assert found_by(search) == found_by(whole)
        assert ("stopped" in {trial.state for trial in found}) == bool(words)
        assert [t.number for t in Run.open(search.folder).front()] == [t.number for t in Run.open(whole.folder).front()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the workers")
def test_kill_9_of_a_worker_while_others_train_and_a_second_search_in_the_same_folder(
    server: subprocess.Popen[str], tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    search = Search(server, tmp_path / "search", ["--workers", 2, "--trials", 3, "--recipe.epochs", 24])
    driver = search.start()
    until(lambda: (search.folder / "holder").exists() and (search.folder / "run.json").exists(), driver)
    second_is_refused(call, search, driver)
    until(lambda: sum(1 < kept(search.folder, number) < 18 for number in range(3)) == 2, driver)
    workers = children(driver.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    assert driver.wait() == 0, driver.said()
    begun, found = search.epochs(), search.trials()
    assert [trial.state for trial in found] == ["complete"] * 3
    again = [begun[name_of(trial)] - 24 for trial in found]
    halved = [trial.measurement.micro_batches for trial in found if trial.measurement is not None]
    assert sorted(halved) == [1, 1, 2]
    assert all(0 <= epochs <= (parts - 1) for epochs, parts in zip(again, halved, strict=True))


def test_kill_9_amid_a_retraining_then_the_same_command_again(
    server: subprocess.Popen[str], tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    search = Search(server, tmp_path / "killed", ["--trials", 1])
    assert search.start().wait() == 0
    whole = tmp_path / "whole"
    shutil.copytree(search.folder, whole)
    trained, seeds, drawn = len(search.marked()), 2, random.Random(3)
    words = ["--epochs", EPOCHS, "--seeds", seeds, "--recipe.learning_rate", 0.1, "--all-data", "--quiet"]
    for number in range(4):
        before = len(search.marked())
        driver = search.launch(["retrain", search.folder, *words])
        until(lambda: len(search.marked()) >= before + 1 + number % 2, driver)  # noqa: B023
        time.sleep(drawn.random() * 0.05)
        driver.kill()
        assert driver.wait() == -signal.SIGKILL, driver.said()  # it had not ended
        said = call("status", search.folder)[1]
        assert re.search(r"retrained trial 0, 4 epochs \(recipe.learning_rate 0.1, all_data\): .*, interrupted", said)
    assert search.launch(["retrain", search.folder, *words]).wait() == 0
    lost = len(search.marked()) - trained - EPOCHS * seeds
    assert 0 < lost <= 4  # no kill costs more than the epoch that was under way
    assert search.launch(["retrain", whole, *words]).wait() == 0
    (one,), (other,) = Run.open(search.folder).retrained(), Run.open(whole).retrained()
    assert one.asked == other.asked
    assert one.standing is None
    assert [seed.test for seed in one.seeds] == [seed.test for seed in other.seeds]
    assert len(one.seeds) == seeds
    for seed in range(seeds):
        weights = f"retrain/{one.asked.name}/seed{seed}.safetensors"
        assert (search.folder / weights).read_bytes() == (whole / weights).read_bytes()
    assert not list((search.folder / "retrain").rglob("*.ckpt"))
