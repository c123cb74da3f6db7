"""From an export, a name of the zoo or an architecture to a backbone, and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from invnas import zoo
from invnas.architecture import Architecture
from invnas.backbones.features import Backbone, stages_of
from invnas.dense import DenseNet
from invnas.errors import BadInput, nearest, shown
from invnas.export.description import FILE, read
from invnas.export.load import architecture_of, rebuild, types_for
from invnas.export.preprocess import read_used
from invnas.hybrid import HybridNet
from invnas.nn.network import Trunk
from invnas.nn.skeleton import skeleton
from invnas.pretrained import COUNTER
from invnas.rules import whole
from invnas.settings import path_of
from invnas.space import Space
from invnas.weights import check_finite, check_shapes, first_of, tensors_in
from invnas.zoo_weights import our_names

#: Height and width for which a network without images of its own is built; no weight depends on them.
_SIDES = (224, 224)
#: How names of tensors before the head begin.
_BEFORE_HEAD = ("stem.", "stages.")


def backbone(
    source: str | Path | Architecture | HybridNet | DenseNet,
    weights: str | Path | None = None,
    *,
    out_indices: int | Sequence[int] | None = None,
    in_channels: int | None = None,
    space: str | Path | Space | None = None,
    trust: bool = False,
) -> Backbone:
    """Return a network that turns images into a list of feature maps, under the contract of timm's `features_only`.

    It has `feature_info` with `channels()`, `reduction()`, `module_name()` and `get_dicts()`, and `preprocessing` (mean
    and deviation of an export, else None). It is in training mode and channels_last, on the CPU. Names of its tensors
    are those of the whole network: `stem.…`, `stages.0.…`.

    Args:
        source: The folder of an export, with its weights; a name of the zoo such as rednet50; an Architecture, or a
            HybridNet or DenseNet, of which the backbone is taken.
        weights: For a name or an architecture, a checkpoint that is read and not executed: safetensors of invnas, or
            what `torch.save` wrote of a published RedNet or a ResNet of torchvision or timm. Every tensor of the stem
            and the stages must be there; the head is not read, so its classes do not matter. None: fresh weights.
        out_indices: Which maps, a number or several in ascending order: 0 leaves the stem (with its pool), 1 the first
            stage, and so on; -1 the last stage. None: those of all stages.
        in_channels: Channels of the images; None: those of the export, or else 3.
        space: The space, its file or its shipped name, that defines types of a user's own in an export.
        trust: Execute the space.py of the export, which defines such types.

    Raises:
        BadInput: If there is no such name, export or map, or the weights do not fit; one sentence with the place.

    >>> import torch
    >>> import invnas
    >>> body = invnas.backbone("resnet18", out_indices=(1, -1))
    >>> body.feature_info.channels(), body.feature_info.reduction()
    ([64, 512], [4, 32])
    >>> [tuple(one.shape) for one in body.eval()(torch.zeros(1, 3, 64, 64))]
    [(1, 64, 16, 16), (1, 512, 2, 2)]
    """
    if in_channels is not None:
        for problem in whole("in_channels", in_channels):
            raise BadInput(problem)
    if isinstance(source, HybridNet | DenseNet):
        source = Architecture(source)
    if not isinstance(source, Architecture | str | Path):
        raise BadInput(
            f"`source` must be the folder of an export, a name or an architecture, but got {shown(source, 60)}"
        )
    folder = None if isinstance(source, Architecture) else _export_of(path_of(source, "source"))
    if folder is not None:
        if weights is not None:
            raise BadInput(f"`weights` is '{weights}', but the export '{folder}' has its own: give one of both")
        return _of_export(folder, out_indices, in_channels, space, trust)
    architecture = source if isinstance(source, Architecture) else zoo.by_name(str(source))
    shape = (3 if in_channels is None else in_channels, *_SIDES)
    made = Backbone(architecture, shape, out_indices)
    if weights is not None:
        _fill(made, shape, path_of(weights, "weights"))
    return made


def _export_of(path: Path) -> Path | None:
    """Return the folder of an export, or None for a name of the zoo."""
    name = str(path)
    if name in zoo.NAMES:  # before a folder of that name, which can be given as its whole path
        return None
    if (path / "run.json").is_file():
        raise BadInput(
            f"'{name}' is a run, not a network: export a trial of it first, invnas export {name} --out FOLDER"
        )
    if path.is_dir():
        return path
    if path.exists():
        raise BadInput(f"'{name}' is a file: give the folder of an export, or a file as `weights` of a name")
    zoo_names = nearest(path.stem, zoo.NAMES)
    raise BadInput(f"there is neither an export (a folder with {FILE}) nor a network of the name '{name}'; {zoo_names}")


def _of_export(folder: Path, out_indices: Any, in_channels: int | None, space: Any, trust: bool) -> Backbone:
    description = read(folder)
    shape = description.input_shape
    if in_channels not in (None, shape[0]):
        raise BadInput(f"`in_channels` is {in_channels}, but the network of '{folder}' takes images of {shape[0]}")
    types = types_for(folder, description, space, trust)
    theirs, known = rebuild(folder, types).state_dict(), read_used(folder, description)
    with torch.random.fork_rng(devices=[]):  # initial values are overwritten; the user's random numbers go on as before
        made = Backbone(architecture_of(description, folder, types), shape, out_indices, known.preprocessing)
    made.load_state_dict({name: theirs[name] for name in made.state_dict()})
    return made


def _fill(made: Backbone, shape: tuple[int, int, int], path: Path) -> None:
    """Give a backbone the weights of a checkpoint.

    Raises:
        BadInput: If it is none, or not one of the whole network before its head: with stages that are left out, since
            a network with fewer blocks has the names of one with more.
    """
    if not path.is_file():
        folder = "a folder: an export is given as the source itself" if path.is_dir() else "no file: none is downloaded"
        raise BadInput(f"`weights`: '{path}' is {folder}")
    tensors = tensors_in(path, "weights")
    names = our_names(list(tensors))
    found = {names[name]: value for name, value in tensors.items() if names[name].startswith(_BEFORE_HEAD)}
    trunk = skeleton(lambda: Trunk(stages_of(made.architecture), shape))
    expected, shapes = _shapes(trunk.state_dict()), _shapes(found)
    if not any(expected.get(name) == one for name, one in shapes.items() if one):
        raise BadInput(
            f"`weights`: nothing in '{path}' fits the backbone: it holds {first_of(_shapes(tensors))}, and the "
            f"backbone {first_of(expected)}"
        )
    uncounted = {name: one for name, one in expected.items() if name.endswith(COUNTER) and name not in found}
    check_shapes(trunk, shapes | uncounted, f"'{path}'")
    check_finite(found, f"'{path}'", "weights")
    made.load_state_dict({name: found.get(name, value) for name, value in made.state_dict().items()})


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
