"""The images of a run: opened once in a process, and compared with those the run was made with."""

from __future__ import annotations

import json
from dataclasses import replace

from lightning.pytorch import LightningDataModule

from invnas.data import DataFacts, describe, load_data
from invnas.data.check import examine, say, split_fingerprint
from invnas.data.module import ImageDataModule
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.messages import Job
from invnas.run import Run
from invnas.task import Task

_opened: dict[str, tuple[LightningDataModule, DataFacts]] = {}


def open_data(source: DataSource, task: Task | None = None) -> tuple[LightningDataModule, DataFacts]:
    """Return the set-up images and their facts; a process opens the same source once.

    Args:
        source: Class path and arguments.
        task: What it is opened for, where it was not examined yet: its batches are then read once, and the facts have
            origins and a fingerprint.

    Raises:
        BadInput: If there is no such source, or its images cannot be used.
    """
    key = _key(source)
    if key not in _opened or (task is not None and not _opened[key][1].fingerprint):
        if task is not None:
            found = examine(source, task.check_targets, say)
        else:
            data = load_data(source)
            found = data, describe(data)
        while len(_opened) > 1:  # another source is opened seldom
            _opened.pop(next(iter(_opened)))
        _opened[key] = found
    return _opened[key]


def images_of(run: Run) -> tuple[LightningDataModule, DataFacts]:
    """Return the set-up images of a run and their facts.

    Raises:
        BadInput: If they cannot be used, or are not those the run was made with.
    """
    experiment = run.experiment
    data, now = open_data(experiment.data, experiment.what)
    if found := run.manifest.facts.changed(now):
        raise BadInput(
            f"the images of {experiment.data.class_path} are not those the run {run.folder} was made with: {found}; "
            "give it its images back, or search again in another folder"
        )
    return data, now


def other_images(job: Job) -> str | None:
    """Return why this process must not train a job: it is given other validation images than the search."""
    source, task = job.experiment.data, job.experiment.what
    data, facts = open_data(source)
    if not job.facts.fingerprint or isinstance(data, ImageDataModule):
        return None
    if not facts.fingerprint:
        found = split_fingerprint(source.class_path, data, facts, task.check_targets(facts))
        facts = replace(facts, fingerprint=found)
        _opened[_key(source)] = data, facts
    if facts.fingerprint == job.facts.fingerprint:
        return None
    return (
        f"`{source.class_path}` gives a worker other validation images than it gave the search: split with a seed that "
        "is the same in every process"
    )


def _key(source: DataSource) -> str:
    return json.dumps({"class_path": source.class_path, "init_args": source.init_args})
