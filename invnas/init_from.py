"""Where weights to start from come from: a run, an export, or a file with a state_dict. Nothing of it is executed."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from invnas.architecture import Architecture
from invnas.errors import BadInput, InvalidArchitecture
from invnas.experiment import Experiment
from invnas.export.description import FILE, read, refuse_own_task
from invnas.export.load import architecture_of, weights_of
from invnas.facts import DataFacts
from invnas.inert import inert_types
from invnas.nn import build
from invnas.nn.skeleton import skeleton
from invnas.pretrained import Pretrained, keys_of, places_of
from invnas.run import Run
from invnas.space import Space
from invnas.task import TASKS
from invnas.weights import check_finite, first_of, tensors_in
from invnas.zoo_weights import our_names

#: Draws of a space that are asked whether weights fit, and of which a user hears the share.
_DRAWS = 64


def starting(
    experiment: Experiment, space: Space, facts: DataFacts, quiet: bool = False
) -> tuple[Experiment, Pretrained | None]:
    """Return an experiment as it is recorded, with the very trial it starts from, and its weights.

    Args:
        experiment: With `init_from` or without: then there are none.
        space: What is searched.
        facts: The images.
        quiet: Do not print how much of the space the weights fit.

    Raises:
        BadInput: As `pretrained_for`.
    """
    if experiment.init_from is None:
        return experiment, None
    found, said = pretrained_for(experiment, space, facts)
    if not quiet:
        print(said, file=sys.stderr)
    return replace(experiment, init_from=found.origin), found


def pretrained_for(experiment: Experiment, space: Space, facts: DataFacts) -> tuple[Pretrained, str]:
    """Return the weights that an experiment starts from, and a sentence on how much of its space they fit.

    Args:
        experiment: With `init_from`.
        space: What is searched.
        facts: The images.

    Raises:
        BadInput: If there are none, they cannot be read, are for other images, or fit nothing in the space.
    """
    assert experiment.init_from is not None
    found = _read(experiment)
    if (channels := _channels(found)) not in (None, facts.input_shape[0]):
        raise BadInput(
            f"`init_from`: {found.origin} takes images of {_counted(channels)}, but those of "
            f"{experiment.data.class_path} have {facts.input_shape[0]}"
        )
    check_finite(found.tensors, found.origin, "init_from")
    return found, _fit(found, experiment, space, facts)


def _counted(channels: int | None) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


def _fit(found: Pretrained, experiment: Experiment, space: Space, facts: DataFacts) -> str:
    """Return how much draws of a space inherit; raise BadInput where that is nothing."""
    rng, head = random.Random(f"init_from/{experiment.seed}"), experiment.what.head(facts)
    shares, one = [], None
    for _ in range(_DRAWS):
        with suppress(InvalidArchitecture):
            architecture = space.architecture(space.draw_branches(rng))
            one = skeleton(lambda: build(architecture, facts.input_shape, head))  # noqa: B023
            shares.append(found.share(keys_of(architecture, facts, experiment.task), one))
    if one is not None and not any(shares):
        theirs = {name: tuple(value.shape) for name, value in one.state_dict().items()}
        raise BadInput(
            f"`init_from`: nothing in {found.origin} fits a network of the space {space.name} ({len(shares)} were "
            f"drawn): it holds {first_of(found.shapes)}, and such a network {first_of(theirs)}"
        )
    mean = statistics.fmean(shares) if shares else 0.0
    ends = f"{100 * min(shares, default=0):.0f} to {100 * max(shares, default=0):.0f} %"
    return f"start: weights of {found.origin}; {len(shares)} drawn networks take {100 * mean:.0f} % on average ({ends})"


def _channels(found: Pretrained) -> int | None:
    """Return the channels of the images that weights are for, where their stem is known to begin with a convolution."""
    first = found.tensors.get("stem.0.0.weight")
    return None if first is None or first.dim() != 4 else first.shape[1]


def _read(experiment: Experiment) -> Pretrained:
    path, pick = _named(str(experiment.init_from))
    run, export = (path / "run.json").is_file(), (path / FILE).is_file()
    if pick is not None and not run:
        raise BadInput(f"`init_from`: only of a run a trial can be picked, but '{path}' is none")
    if experiment.init_names and path.is_dir():
        raise BadInput(f"`init_names` is for the names in a file, but `init_from` '{path}' is a folder")
    if run:
        return _of_run(path, pick or "best", experiment.task)
    if export:
        return _of_export(path, experiment.task)
    if path.is_file():
        return _of_file(path, experiment.init_names)
    if path.is_dir():
        raise BadInput(f"`init_from`: '{path}' is neither the folder of a run (run.json) nor of an export ({FILE})")
    raise BadInput(f"`init_from`: there is no file or folder '{path}'; weights are read, not downloaded")


def _named(text: str) -> tuple[Path, str | None]:
    """Return the path and what is picked of a run there: a path may hold a colon itself."""
    path, colon, pick = text.rpartition(":")
    if colon and not Path(text).exists() and Path(path).exists():
        return Path(path), pick
    return Path(text), None


def _of_run(path: Path, pick: str, task: str) -> Pretrained:
    run = Run.open(path, trust=task not in TASKS)  # its space is not needed: types of its own may be inert
    trial = run.pick(pick)
    weights = run.weights_path(trial.number)
    if not weights.is_file():
        raise BadInput(f"`init_from`: the weights of trial {trial.number} of {path} are gone ('{weights}')")
    facts = run.manifest.facts
    keys = keys_of(trial.architecture, facts, run.experiment.task)
    return Pretrained(f"{path}:trial={trial.number}", tensors_in(weights, "init_from"), keys)


def _of_export(path: Path, task: str) -> Pretrained:
    description = read(path)
    if description.task != task:  # that of the experiment is the user's own word
        refuse_own_task(path, description, "`init_from` takes exports of it only where the experiment has that task")
    architecture: Architecture = architecture_of(description, path, inert_types(description.architecture))
    tensors = tensors_in(weights_of(path, description), "init_from")
    return Pretrained(str(path), tensors, keys_of(architecture, description.facts, description.task))


def _of_file(path: Path, names: Mapping[str, Any]) -> Pretrained:
    renamed: dict[str, str] = {}
    tensors = tensors_in(path, "init_from")
    for name in tensors:
        start = max((one for one in names if name.startswith(one)), key=len, default=None)
        renamed[name] = name if start is None else names[start] + name[len(start) :]
    ours = our_names(list(renamed.values()))
    found = {ours[renamed[name]]: value for name, value in tensors.items()}
    if len(found) < len(tensors):
        raise BadInput(f"`init_from`: by `init_names` two tensors of '{path}' have one name")
    # A file says no classes, so nobody knows whose head it holds.
    places = [place for place in places_of(found) if place not in ("head", "head.layers")]
    return Pretrained(str(path), found, dict.fromkeys(places, ""))
