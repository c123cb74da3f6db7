"""Jobs under Ray Tune: the same answers as here, and no death of an actor, a machine or the search loses anything."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loose_torchvision import missing, unmeasured
from search import cheap

from engine.acting import EXPERIMENT, alive, follow, job, make_run, trained_here, until
from invnas.commands import run_search
from invnas.engine.ray import running
from invnas.engine.ray.cluster import Cluster, check_ray
from invnas.engine.ray.engine import RayEngine
from invnas.errors import InvnasError
from invnas.experiment import DataSource, Experiment
from invnas.files import replacing
from invnas.measurement import Measurement
from invnas.messages import Ended, Failure, Halt, Job, Message, Outcome, Progress
from invnas.pretrained import Pretrained
from invnas.run import Run
from invnas.search.loop import search
from invnas.search.samplers import make_sampler
from invnas.store import PRETRAINED, checkpoint_of

pytest.importorskip("ray")
UNDER_RAY = replace(EXPERIMENT, engine="ray")


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A cluster of one machine with two cores, to which others can be added.

    It looks twice a second whether one is gone: that is seen in seconds, and one that is slow to answer is not gone.
    """
    check_ray()
    import ray
    from ray.cluster_utils import Cluster as Machines

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    looks = {"health_check_period_ms": 500}
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": looks}
    found = Machines(initialize_head=True, head_node_args=head)
    ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left_on_the_cluster(machines: Any) -> Iterator[None]:
    """A closed engine gives back all that its trainings took."""
    import ray

    yield
    until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], 20)


@pytest.fixture
def run(tmp_path: Path, machines: Any) -> Run:
    return make_run(tmp_path)


@pytest.fixture
def engine(run: Run) -> Iterator[RayEngine]:
    made = RayEngine(run.folder, UNDER_RAY)
    yield made
    made.close()


COUNTING = """
import gc, os
import torch
from pathlib import Path
from invnas.data import HardDigits

class Counting(HardDigits):
    def __init__(self, log: str, batch_size: int = 512) -> None:
        super().__init__(batch_size=batch_size)
        self.log = Path(log)

    def setup(self, stage=None):
        with self.log.open("a") as file:
            file.write(f"opened {os.getpid()}\\n")
        super().setup(stage)

    def train_dataloader(self):
        gc.collect()
        tensors = [one for one in gc.get_objects() if isinstance(one, torch.Tensor)]
        with self.log.open("a") as file:
            file.write(f"tensors {os.getpid()} {len(tensors)} {sum(one.nbytes for one in tensors)}\\n")
        return super().train_dataloader()
"""


def test_actors_train_as_here_outlive_failures_and_are_replaced(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One actor for what costs none, and one where that is killed: each imports torch, which takes seconds."""
    (tmp_path / "counting_images.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    engine = RayEngine(run.folder, replace(UNDER_RAY, workers=1))
    try:
        measured_as_here(run, engine)
        no_failure_costs_the_actor(run, engine)
        images_are_opened_once_and_nothing_is_held(run, engine, tmp_path / "log")
        a_kill_costs_half_a_batch(run, engine)
        memory_that_runs_out_costs_half_a_batch(run, engine)
    finally:
        engine.close()


def measured_as_here(run: Run, engine: RayEngine) -> None:
    """The same measurement, messages and weights."""
    theirs: list[Message] = []
    mine, weights = trained_here(run, epochs=2)
    engine.submit(job(run, "fine", epochs=2))
    follow(engine, 1, theirs.append)
    steps = [[(m.epoch, m.of, m.values, m.host) for m in some if isinstance(m, Progress)] for some in (mine, theirs)]
    assert steps[0] == steps[1]
    assert len(steps[0]) == 3
    first, second = (messages[-1].outcome for messages in (mine, theirs) if isinstance(messages[-1], Ended))
    assert isinstance(first, Measurement)
    assert isinstance(second, Measurement)
    assert (second.values, second.epochs, second.planned_epochs) == (first.values, 2, 2)
    assert run.weights_path(0).read_bytes() == weights


def pid_of(engine: RayEngine, number: int) -> int:
    letter = engine._running[number].letter
    assert letter is not None
    assert letter.pid is not None
    return letter.pid


def no_failure_costs_the_actor(run: Run, engine: RayEngine) -> None:
    """What a user's code raises is a reason, a full disk is no failure."""
    expected = {
        "raise": Failure("RuntimeError: on purpose"),
        "full": Halt("somewhere cannot be written or read: No space left on device"),
        "exit": Failure("the data module or the network called sys.exit(0)"),
    }
    pids: set[int] = set()
    for number, how in enumerate(expected, start=1):
        engine.submit(job(run, how, number))
        ended = follow(engine, 1, lambda m: pids.add(pid_of(engine, m.number)) if isinstance(m, Progress) else None)
        assert ended[number] == expected[how]
    assert len(pids) == 1


def images_are_opened_once_and_nothing_is_held(run: Run, engine: RayEngine, log: Path) -> None:
    """An actor holds nothing of earlier trials."""
    source = DataSource("counting_images.Counting", {"log": str(log)})
    for number in range(4, 8):
        one = job(run, "fine", number, epochs=2)
        engine.submit(replace(one, experiment=replace(one.experiment, data=source)))
        assert isinstance(follow(engine)[number], Measurement)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({pid for _, pid, *_ in lines}) == 1
    assert sum(what == "opened" for what, *_ in lines) <= 2  # once by us, once by Lightning
    counts = [tuple(rest) for what, _, *rest in lines if what == "tensors"]
    assert len(counts) >= 4
    assert len(set(counts[-3:])) == 1  # after the first one nothing grows


def a_kill_costs_half_a_batch(run: Run, engine: RayEngine) -> None:
    """Its training goes on from its checkpoint, in another actor."""
    epochs: list[int] = []
    pids: set[int] = set()

    def kill(message: Message) -> None:
        if isinstance(message, Progress):
            epochs.append(message.epoch)
            pids.add(pid := pid_of(engine, message.number))
            if len(epochs) == 4:
                os.kill(pid, signal.SIGKILL)

    engine.submit(job(run, "slow", 8, epochs=12))
    ended = follow(engine, 1, kill)[8]
    assert len(pids) == 2
    assert isinstance(ended, Measurement)
    assert (ended.epochs, ended.micro_batches) == (12, 2)
    again = epochs.index(0, 1)
    assert epochs[again + 1] >= epochs[again - 1]  # from its checkpoint
    assert sorted(set(epochs)) == list(range(13))


def memory_that_runs_out_costs_half_a_batch(run: Run, engine: RayEngine) -> None:
    """A real limit: half of a batch does not fit either; then half of it does; no actor dies of it."""
    pids: set[int] = set()
    ended: dict[int, Any] = {}
    for number, how in enumerate(("greedy 60", "greedy 270", "fine"), start=9):
        engine.submit(job(run, how, number, epochs=2))
        ended |= follow(engine, 1, lambda m: pids.add(pid_of(engine, m.number)) if isinstance(m, Progress) else None)
    assert len(pids) == 1
    assert isinstance(ended[9], Failure)
    assert ended[9].reason.startswith("out of memory: ")
    assert ended[9].reason.endswith(" (with half a batch at a time, too)")
    assert [isinstance(ended[number], Measurement) and ended[number].micro_batches for number in (10, 11)] == [2, 1]


def dying(job: Job, store: Any, scratch: Path, tell: Callable[[Message], None], stopped: Callable[[], bool]) -> Outcome:
    """Die as often as a training of this name shall, by the number of the attempt: before it has begun, or later; or
    hang."""
    network: Any = job.architecture.network
    deaths = network.how
    how = deaths[job.attempt] if job.attempt < len(deaths) else deaths[-1]
    if how == "v":
        os._exit(3)
    tell(Progress(job.number, 0, 1, {}, job.attempt))
    tell(Progress(job.number, 1, 1, {}, job.attempt))
    if how == "d":
        time.sleep(0.5)  # until it was read
        os._exit(3)
    if how == "c":  # in C, without a moment in which another thread could run
        sum(itertools.repeat(1, 10**15))
    time.sleep(1000 if how == "s" else 0)
    return Measurement({"top1": job.attempt, "loss": 1.0}, 1, 1)


def test_a_trial_outlives_so_many_deaths_and_what_follows_one_counts_apart(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "RETRIES", 1)
    engine = RayEngine(run.folder, UNDER_RAY, run=dying)
    try:
        for number, deaths in enumerate(("vdv.", "d", "v")):
            engine.submit(job(run, deaths, number))
        ended = follow(engine, 3)
        engine.submit(job(run, ".", 3))
        ended |= follow(engine)
    finally:
        engine.close()
    assert isinstance(ended[0], Measurement), ended[0]
    assert ended[0].values["top1"] == 3
    assert isinstance(ended[3], Measurement), ended[3]
    for number, half in ((1, ", at last with half a batch at a time"), (2, "")):
        outcome = ended[number]
        assert isinstance(outcome, Failure)
        assert outcome.reason.startswith(f"its actor died (tried 2 times{half}): The actor died unexpectedly")


def test_a_trial_that_tune_itself_gives_up_leaves_its_place_to_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invnas.engine.ray.engine.RETRIES", -1)  # Tune bears no death
    engine = RayEngine(run.folder, replace(UNDER_RAY, workers=1), run=dying)  # half of the cluster
    try:
        engine.submit(job(run, "v"))
        outcome = follow(engine)[0]
        assert isinstance(outcome, Failure)
        assert outcome.reason.startswith("its actor died: The actor died unexpectedly")
        assert not engine._handover.leaving  # no actor waits until it may go
        engine.submit(job(run, ".", 1))
        assert isinstance(follow(engine)[1], Measurement)
    finally:
        engine.close()


def test_one_that_rays_monitor_of_memory_kills_is_tried_with_half_a_batch_and_then_fails(
    run: Run, machines: Any
) -> None:
    """On a machine where everything is too much for it."""
    small = machines.add_node(num_cpus=4, env_vars={"RAY_memory_usage_threshold": "0.0"})
    engine = RayEngine(run.folder, replace(UNDER_RAY, cpus_per_trial=4), run=dying)
    try:
        engine.submit(job(run, "s"))
        outcome = follow(engine)[0]
    finally:
        engine.close()
        machines.remove_node(small)
    assert not engine._tune.is_alive()  # it would connect anew to a Ray that is left
    assert isinstance(outcome, Failure)
    assert outcome.reason.startswith("out of memory: ")
    assert "running low on memory" in outcome.reason
    assert outcome.reason.endswith(" (with half a batch at a time, too)")


def test_a_ray_without_the_class_that_is_mended_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import tune_controller

    from invnas.engine.ray.tuning import bear_kills_for_memory

    monkeypatch.setitem(sys.modules, "ray.air.execution._internal", None)
    monkeypatch.setattr(tune_controller, "RayActorManager", None)
    bear_kills_for_memory()
    assert tune_controller.RayActorManager is None


def test_one_that_waits_for_the_verdict_of_a_rung_or_to_be_read_does_not_hang(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invnas.engine.ray.engine.STEP", 0.5)
    timed = replace(UNDER_RAY, recipe=replace(UNDER_RAY.recipe, max_minutes=0.01))
    engine = RayEngine(run.folder, timed, grace=2.0, run=recorded)  # 2.6 seconds
    waits: list[float] = []

    def slow(message: Message) -> None:
        if isinstance(message, Progress) and (message.rung is not None or message.epoch == 3):
            waits.append(3.0)
            time.sleep(3.0)

    try:
        one = job(run, "fine", epochs=4)
        engine.submit(replace(one, experiment=replace(one.experiment, stopper="halving")))
        outcome = follow(engine, 1, slow)[0]
    finally:
        engine.close()
    assert len(waits) >= 2
    assert isinstance(outcome, Measurement), outcome


def test_a_hung_trial_is_ended_with_its_reason_and_the_next_one_runs(run: Run) -> None:
    timed = replace(UNDER_RAY, recipe=replace(UNDER_RAY.recipe, max_minutes=0.02))
    engine = RayEngine(run.folder, timed, grace=2.0, run=dying)  # 3.2 seconds
    try:
        engine.submit(job(run, "c", 0))
        pids: list[int] = []
        ended = follow(engine, 1, lambda m: pids.append(pid_of(engine, 0)) if isinstance(m, Progress) else None)
        until(lambda: not alive(pids[0]))
        assert ended[0] == Failure("took longer than max_minutes=0.02 and did not end by itself: its actor was killed")
        engine.submit(job(run, ".", 1))
        assert isinstance(follow(engine)[1], Measurement)
    finally:
        engine.close()


def test_a_storage_apart_serves_machines_that_do_not_see_the_run_folder(run: Run, tmp_path: Path) -> None:
    Pretrained("there", {"stem.0": torch.ones(1)}, {"stem": ""}).save(run.folder / PRETRAINED)
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / PRETRAINED).write_text("of another run")  # it is replaced
    engine = RayEngine(run.folder, replace(UNDER_RAY, storage=str(tmp_path / "storage"), workers=1))
    (run.folder / "run.json").rename(tmp_path / "hidden")
    try:
        one = job(run, "fine", 0, epochs=2, logger="csv")
        engine.submit(replace(one, experiment=replace(one.experiment, init_from="there")))
        outcome = follow(engine)[0]
        engine.submit(job(run, "fine", 1, epochs=5_000))
        told: list[Message] = []
        while not any(isinstance(message, Progress) and message.epoch > 1 for message in told):
            engine.wait(1, told.append)
    finally:
        engine.close()
    assert isinstance(outcome, Measurement), outcome
    assert outcome.inherited == 0.0  # what it should start from was read, and fits nothing
    assert (run.folder / "weights" / "0.safetensors").is_file()
    assert (run.folder / "logs" / "0" / "metrics.csv").is_file()
    assert (run.folder / "checkpoints" / "1" / "last.ckpt").is_file()  # cut off: any engine goes on from it
    assert not [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]

    other = RayEngine(run.folder, replace(UNDER_RAY, workers=1))
    try:
        other.submit(job(run, "fine", 2))
        outcome = follow(other)[2]
        assert isinstance(outcome, Halt)
        assert "does not see the run folder" in outcome.reason
    finally:
        other.close()


def recorded(
    job: Job, store: Any, scratch: Path, tell: Callable[[Message], None], stopped: Callable[[], bool]
) -> Outcome:
    """Tell of four epochs at once; what is learned grows towards the number that the architecture says."""
    epochs = job.experiment.recipe.epochs
    end = int(job.architecture.fingerprint[:8], 16) / 16**8
    tell(Progress(job.number, 0, epochs, {}, job.attempt))
    for epoch in range(1, epochs + 1):
        part = Measurement({"top1": end * epoch / epochs, "loss": 1.0}, epoch, epochs, host=str(os.getpid()))
        if epoch in job.experiment.rungs.epochs:
            tell(Progress(job.number, epoch, epochs, part.values, job.attempt, part))
            if stopped():
                return part
        tell(Progress(job.number, epoch, epochs, {}, job.attempt))
        if stopped() and epoch < epochs:
            return part
    return part


class Here:
    """The same in this process."""

    workers = 1

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._stopped: set[int] = set()

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def stop(self, number: int) -> None:
        self._stopped.add(number)

    def wait(self, timeout: float, tell: Callable[[Message], None]) -> None:
        one = self._jobs.pop()
        outcome = recorded(one, None, Path(), tell, lambda: one.number in self._stopped)
        tell(Ended(one.number, outcome, one.attempt))

    def close(self) -> None:
        pass


def searched(run: Run, engine: Any, trials: int) -> list[Any]:
    from invnas.phases import stopper_of

    asked = run.experiment
    with run.locked():
        stopper = stopper_of(asked, run.trials())
        sampler = make_sampler(asked, run.space)
        search(run.space, sampler, cheap.price, engine, run, trials=trials, objectives=asked.axes, stopper=stopper)
    return [(t.architecture.fingerprint, t.state, t.measurement and dict(t.measurement.values)) for t in run.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "evolution"])
def test_one_worker_and_one_seed_propose_and_stop_the_same_here_and_there(
    tmp_path: Path, machines: Any, sampler: str
) -> None:
    asked: dict[str, Any] = {"sampler": sampler, "stopper": "halving", "workers": 1}
    asked["recipe"] = replace(Experiment().recipe, epochs=8)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    mine = searched(cheap.make_run(tmp_path / "a", **asked), Here(), 12)
    theirs = cheap.make_run(tmp_path / "b", engine="ray", **asked)
    engine = RayEngine(theirs.folder, theirs.experiment, run=recorded)
    try:
        assert searched(theirs, engine, 12) == mine
    finally:
        engine.close()
    assert {state for _, state, _ in mine} == {"complete", "stopped"}


@pytest.mark.parametrize(
    ("stopper", "args"),
    [
        ("ray.tune.schedulers.ASHAScheduler", {"grace_period": 1, "reduction_factor": 2}),
        ("ray.tune.schedulers.MedianStoppingRule", {"grace_period": 1, "min_samples_required": 1}),
        (
            "ray.tune.schedulers.PopulationBasedTraining",
            {"perturbation_interval": 1, "hyperparam_mutations": {"rate": [1, 2]}, "quantile_fraction": 0.5},
        ),
    ],
)
def test_schedulers_of_ray_stop_what_they_find_worse(
    tmp_path: Path, machines: Any, stopper: str, args: dict[str, Any]
) -> None:
    run = cheap.make_run(
        tmp_path, engine="ray", stopper=stopper, stopper_args=args, recipe=replace(Experiment().recipe, epochs=4)
    )
    engine = RayEngine(run.folder, run.experiment, run=recorded)
    try:
        found = searched(run, engine, 10)
    finally:
        engine.close()
    states = [state for _, state, _ in found]
    assert len(states) == 10
    assert set(states) == {"complete", "stopped"}
    full = [values["top1"] for _, state, values in found if state == "complete"]
    assert full  # what is best at every rung is never stopped
    assert all(trial.rungs for trial in run.trials())


DENSE = """
from invnas import *

block = Bottleneck(Choice(Convolution(3), Involution(3, group_channels=4)), expansion=Choice(1, 2, 3))
space = DenseNet(
    HybridNet(PlainStem(8, kernel_size=3, stride=2, pool=False), [Stage(8, [block]), Stage(16, [block], stride=2)]),
    neck=Choice(ConvolutionFPN(8), InvolutionFPN(8, kernel_size=3, group_channels=4)),
    head=HEAD,
)
"""


@pytest.mark.parametrize(("task", "head"), [("segmentation", "SemanticFPN(8)"), ("detection", "RetinaHead(8, 1, 3)")])
def test_other_tasks_are_searched_and_stopped_here_and_there(
    tmp_path: Path, machines: Any, task: str, head: str
) -> None:
    if task == "detection" and (reason := missing() or unmeasured()):
        pytest.skip(reason)
    (tmp_path / "space.py").write_text(DENSE.replace("HEAD", head))
    scenes = {"task": task, "images": 30, "image_size": 32, "classes": 2, "batch_size": 8}
    experiment = Experiment(
        space=str(tmp_path / "space.py"),
        data=DataSource("invnas.data.Scenes", scenes),
        task=task,
        objectives=("miou" if task == "segmentation" else "map", "macs"),
        recipe=replace(Experiment().recipe, epochs=4, learning_rate=0.02, threads=1),
        stopper="halving",
        trials=5,
        workers=1,
    )
    here, there = (
        run_search(replace(experiment, engine=engine), tmp_path / engine, quiet=True) for engine in ("local", "ray")
    )
    for run in (here, there):
        assert {trial.state for trial in run.trials()} == {"complete", "stopped"}
    assert [trial.architecture for trial in there.trials()] == [trial.architecture for trial in here.trials()]
    mine, theirs = ([[rung.values for rung in trial.rungs] for trial in run.trials()] for run in (here, there))
    assert theirs == mine


def counted(
    job: Job, store: Any, scratch: Path, tell: Callable[[Message], None], stopped: Callable[[], bool]
) -> Outcome:
    """Count epochs, fifty a second, from the one that the checkpoint names."""
    epochs, path = job.experiment.recipe.epochs, scratch / checkpoint_of(job.number)
    begun = int(path.read_text()) if store.fetch(checkpoint_of(job.number), path) else 0
    tell(Progress(job.number, 0, epochs, {}, job.attempt))
    path.parent.mkdir(parents=True, exist_ok=True)
    for epoch in range(begun + 1, epochs + 1):
        time.sleep(0.02)
        with replacing(path) as fresh:
            fresh.write_text(str(epoch))
        store.keep(checkpoint_of(job.number), path)
        tell(Progress(job.number, epoch, epochs, {}, job.attempt))
        if stopped():
            break
    return Measurement({"top1": 0.5, "loss": 1.0}, epoch, epochs)


def test_a_machine_that_is_lost_costs_its_trials_a_try(run: Run, machines: Any) -> None:
    import ray

    engine = RayEngine(run.folder, replace(UNDER_RAY, cpus_per_trial=2), run=counted)
    assert engine.workers == 1
    other = machines.add_node(num_cpus=2)
    until(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 2)
    until(lambda: engine.workers == 2)  # a cluster that grows is used as it is
    try:
        for number in range(2):
            engine.submit(job(run, "fine", number, epochs=1_000_000))
        nodes: dict[int, str] = {}
        reached: dict[int, list[int]] = {0: [], 1: []}

        def note(message: Message) -> None:
            if isinstance(message, Progress):
                reached[message.number].append(message.epoch)
                nodes[message.number] = engine._running[message.number].letter.node

        while min(map(len, reached.values())) < 5:
            engine.wait(1, note)
        lost = next(number for number, node in nodes.items() if node == other.node_id)
        machines.remove_node(other, allow_graceful=False)
        before = max(reached[lost])
        engine.stop(1 - lost)
        while not (reached[lost][-1] > 0 and 0 in reached[lost][1:]):
            engine.wait(1, note)
        again = reached[lost][len(reached[lost]) - reached[lost][::-1].index(0) :]
        assert again[0] >= before  # at most the epoch that was under way is lost
        until(lambda: engine.workers == 1)
    finally:
        engine.close()


def test_tune_that_ends_before_the_search_is_said(run: Run, engine: RayEngine) -> None:
    engine._fault = RuntimeError("the head is gone")
    with pytest.raises(InvnasError, match="Ray Tune ended: RuntimeError: the head is gone; the run can be resumed"):
        engine.wait(0.1, lambda message: None)


def test_held_trainings_do_not_advance_and_their_time_does_not_run_out(run: Run) -> None:
    engine = RayEngine(run.folder, replace(UNDER_RAY, workers=1), run=counted)
    try:
        engine.submit(job(run, "fine", 0, epochs=1_000_000))
        told: list[Message] = []
        while not any(isinstance(m, Progress) and m.epoch > 2 for m in told):
            engine.wait(1, told.append)
        spent, looked = engine._running[0].spent, time.monotonic()
        with engine.quiet():
            time.sleep(0.3)
            engine.wait(0.2, told.append)  # what was on its way
            before = len(told)
            time.sleep(0.7)
            engine.wait(0.1, told.append)
            assert len(told) == before
        held = 1.0
        while len(told) == before:
            engine.wait(1, told.append)
        assert engine._running[0].spent - spent <= time.monotonic() - looked - held
    finally:
        engine.close()


def test_the_cluster_is_filled_up_to_the_workers(run: Run) -> None:
    assert Cluster(UNDER_RAY).slots() == 2
    for workers, parts, expected in ((None, 1, 2), (1, 1, 1), (64, 1, 2), (64, 0.25, 8), (None, 2, 1)):
        engine = RayEngine(run.folder, replace(UNDER_RAY, workers=workers, cpus_per_trial=parts))
        assert engine.workers == expected
        engine.close()
