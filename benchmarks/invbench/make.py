"""Train the architectures of InvBench and append what was measured, a line of JSON each; goes on where it was stopped.

    python benchmarks/invbench/make.py rows.jsonl [--architectures 1000] [--repeated 300] [--processes 2]

Whatever is killed at any moment is trained again, nothing else is. `draws.py` says which architectures there are and in
which order they are trained, `pack.py` makes the table of the package from the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from draws import Row, Task, Tasks

from invnas.errors import TrialFailed
from invnas.experiment import DataSource, Experiment, Recipe
from invnas.lock import holding
from invnas.measurement import Measurement
from invnas.space_check import Price

#: The whole budget, and those of which each is a training of its own, its rate annealed to zero.
EPOCHS, PARTS = 30, (4, 8)
#: 566 images to train and 1,052 to validate: the validation is what the noise of a row hangs on.
DATA = DataSource("HardDigits", {"batch_size": 64, "validation_share": 0.65, "test_share": 0.1})
SPACE = Path(__file__).parents[2] / "search_spaces" / "invbench.py"


def experiment(seed: int, epochs: int = EPOCHS) -> Experiment:
    """Return how a row is trained.

    The whole budget has rungs at which nobody is stopped: what a search that stops trainings early would see there.
    """
    recipe = Recipe(epochs=epochs, learning_rate=0.3, threads=1)
    watched: dict[str, Any] = {"stopper": "halving", "stopper_args": {"eta": 2}} if epochs == EPOCHS else {}
    return Experiment(space="invbench", data=DATA, recipe=recipe, seed=seed, **watched)


def begin(parent: int) -> None:
    """Make a process ready to train."""
    import torch

    from invnas.engine.lifeline import hold_to

    hold_to(parent)
    torch.set_num_threads(1)


@cache
def _images() -> Any:
    from invnas.engine.images import open_data

    return open_data(DATA, experiment(0).what)


@cache
def _space() -> Any:
    from invnas.space import load_space

    return load_space(SPACE)


def price() -> Price:
    """Return what an architecture costs on these images."""
    from invnas.cost import pricer

    _, facts = _images()
    return pricer(facts.input_shape, facts.classes)


def train(task: Task) -> Row:
    """Train as a worker of a search does (`engine.evaluate`), without checkpoints, and return the row."""
    import torch

    from invnas.engine.evaluate import reason_of
    from invnas.nn import build
    from invnas.training import train

    data, facts = _images()
    asked = experiment(task.seed, task.epochs)
    architecture = _space().architecture(task.decisions)
    row: Row = {**vars(task), **price()(architecture).to_dict()}
    losses: list[float] = []
    rungs: dict[int, Mapping[str, float]] = {}

    def on_epoch(epoch: int, values: Mapping[str, float]) -> None:
        losses.append(round(values["train_loss"], 4))

    def on_rung(measured: Measurement) -> None:
        rungs[measured.epochs] = measured.values

    began = time.process_time()
    try:
        torch.manual_seed(asked.seed)
        network = build(architecture, facts.input_shape, asked.what.head(facts))
        measured = train(
            network, data, asked.recipe, facts=facts, seed=asked.seed, rungs=asked.rungs,
            on_epoch=on_epoch, on_rung=on_rung,
        )  # fmt: skip
    except TrialFailed as error:
        return {**row, "failed": reason_of(error), "seconds": round(time.process_time() - began, 3)}
    row["seconds"] = round(time.process_time() - began, 3)
    return {**row, **_found(measured, losses, rungs)}


def _found(measured: Measurement, losses: list[float], rungs: Mapping[int, Mapping[str, float]]) -> Row:
    import torch

    rounded = {
        epoch: {name: round(value, 6) for name, value in values.items()}
        for epoch, values in (*rungs.items(), (measured.epochs, measured.values))
    }
    last = rounded.pop(measured.epochs)
    return {
        "top1": last["top1"],
        "loss": last["loss"],
        "rungs": rounded,
        "train_loss": losses,
        "backend": measured.backend,
        "torch": torch.__version__,
    }


def read(path: Path) -> list[Row]:
    """Return the rows of a file; a line that a kill tore is cut off."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def rows(tasks: Tasks, processes: int) -> Iterator[Row]:
    """Yield a row for each task as it is trained; a task may depend on rows before it."""
    flying: set[Future[Row]] = set()
    with ProcessPoolExecutor(processes, get_context("spawn"), begin, (os.getpid(),)) as pool:
        while True:
            while len(flying) < processes and (task := tasks.next()) is not None:
                flying.add(pool.submit(train, task))
            if not flying:
                return
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for one in done:
                tasks.add(one.result())
                yield one.result()


def go_on(path: Path, architectures: int, repeated: int, processes: int, limit: int | None) -> None:
    """Append the rows that a file lacks."""
    known = read(path)
    tasks = Tasks(_space(), architectures, repeated, known, (EPOCHS, *PARTS), limit)
    began, trained, spent = time.perf_counter(), 0, 0.0
    with path.open("a", encoding="utf-8") as file:
        for row in rows(tasks, processes):
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
            file.flush()
            trained, spent = trained + 1, spent + row["seconds"]
            if trained % 20 == 0:
                wall = time.perf_counter() - began
                print(
                    f"{len(known) + trained:,} rows, {tasks.architectures:,} architectures, "
                    f"{spent / trained:.2f} CPU s a row, {wall / trained:.2f} s of wall",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="a file in a folder that is there; it is held meanwhile")
    parser.add_argument("--architectures", type=int, default=1000)
    parser.add_argument("--repeated", type=int, default=300, help="architectures of three seeds and all budgets")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=int, help="stop after so many trainings")
    asked = parser.parse_args()
    with holding(asked.rows.absolute().parent):
        go_on(asked.rows, asked.architectures, asked.repeated, asked.processes, asked.limit)


if __name__ == "__main__":
    main()
