"""Back from a folder to a network, without unpickling anything."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from invnas.architecture import Architecture
from invnas.errors import BadInput, InvnasError
from invnas.export.description import FILE, SPACE, Description, checksum, read, refuse_own_task
from invnas.export.model import Predictor
from invnas.export.preprocess import read_used, used
from invnas.nn import build
from invnas.preprocessing import Preprocessing
from invnas.settings import path_of
from invnas.space import Space, load_space
from invnas.weights import check_weights, load_weights

if TYPE_CHECKING:
    from invnas.export.model import Model

WEIGHTS = "model.safetensors"


def load_model(
    folder: str | Path,
    space: str | Path | Space | None = None,
    preprocessing: Preprocessing | None = None,
    trust: bool = False,
) -> Model:
    """Return the network of an export, in eval mode and channels_last, on the CPU.

    It is the very `nn.Module`, and has `predict`: given a path, an image of Pillow or an array (height, width,
    channels) of uint8, or a list of them, it prepares them as they were in the run and returns for each what class it
    is, by `index` and `name`, with its `probability` and all `probabilities`.

    Args:
        folder: What `export` wrote, with the format safetensors among its formats.
        space: The space, its file or its shipped name, that defines the user's own types, when the network has any.
        preprocessing: What is done to images, where the export does not know it; otherwise what it says counts.
        trust: Execute the space.py of the export, which defines such types, and the task that it names, where that does
            not come with invnas: it is code of whoever made the export.

    Raises:
        BadInput: If a file is missing, was changed, or does not fit; one sentence with the file and the place.
            If the network has types of its own, and neither their space is given nor the export trusted.

    Example, after that of `export_model`:
        >>> from invnas import load_model
        >>> model = load_model("models/a")
        >>> model.training
        False
        >>> import numpy as np
        >>> model.predict(np.zeros((8, 8), np.uint8)).probability > 0.1
        True
    """
    path = path_of(folder, "folder")
    space = _given(space)  # what is wrong with it is said before the folder is read
    description = read(path)
    network = rebuild(path, types_for(path, description, space, trust))
    known = read_used(path, description)
    if preprocessing is not None:
        known = used(description.input_shape, description.class_names, preprocessing)
    network.predict = Predictor(network, known, description.task, description.classes)  # type: ignore[assignment]
    return cast("Model", network)


def types_for(
    folder: Path, description: Description, space: str | Path | Space | None, trust: bool
) -> Mapping[str, type] | None:
    """Return the types of a user's own for an export: of a space that is given, or of its own file where it is trusted.

    Raises:
        BadInput: If there is no such space, or its file was changed after the export; if the task is code of its own,
            and the export is not trusted.
    """
    if not trust:
        refuse_own_task(
            folder, description, "if you trust it, load_model(folder, trust=True), on the command line --trust"
        )
    space = _given(space)
    if space is None and trust and SPACE in description.sha256:
        space = _own_space(folder, description)
    return None if space is None else space.types


def _given(space: str | Path | Space | None) -> Space | None:
    return space if space is None or isinstance(space, Space) else load_space(path_of(space, "space"))


def _own_space(folder: Path, description: Description) -> Space:
    """Execute the space file of an export, if it is the one that was written."""
    path = folder / SPACE
    if not path.is_file():
        raise BadInput(f"there is no file '{path}', which defines types of the network")
    text = path.read_bytes()
    if hashlib.sha256(text).hexdigest() != description.sha256[SPACE]:
        raise BadInput(f"the checksum of '{path}' differs: it was changed after the export, so it is not executed")
    with TemporaryDirectory(prefix="invnas-") as place:
        # What was read, and not what Python keeps compiled beside it: that nobody has looked at.
        copied = Path(place, SPACE)
        copied.write_bytes(text)
        return load_space(copied)


def rebuild(folder: Path, types: Mapping[str, type] | None) -> nn.Module:
    """Return the network of an export whose own types are at hand; raises as `load_model` does."""
    description = read(folder)
    weights = weights_of(folder, description)
    architecture = architecture_of(description, folder, types)
    with torch.device("meta"):  # a tampered width must not allocate what no file holds
        check_weights(_built(architecture, description, folder), weights)
    with torch.random.fork_rng(devices=[]):  # initial values are overwritten; the user's random numbers go on as before
        network = _built(architecture, description, folder)
    load_weights(network, weights)
    return network.eval()


def weights_of(folder: Path, description: Description) -> Path:
    """Return the file of weights of an export; BadInput says that there is none, or that it was changed."""
    weights = folder / WEIGHTS
    if WEIGHTS not in description.sha256:
        raise BadInput(f"'{folder}' was exported without weights to load; export it with the format safetensors too")
    if not weights.is_file():
        raise BadInput(f"there is no file of weights '{weights}'")
    if checksum(weights) != description.sha256[WEIGHTS]:
        raise BadInput(f"the checksum of '{weights}' differs from the one in {FILE}: it was changed after the export")
    return weights


def architecture_of(description: Description, folder: Path, types: Mapping[str, type] | None) -> Architecture:
    """Return the architecture of an export; BadInput says that it cannot be, or was changed."""
    path = folder / FILE
    try:
        architecture = Architecture.from_dict(description.architecture, types)
    except BadInput as error:
        own = types is None and "unknown type" in str(error)
        hint = ""
        if own and SPACE in description.sha256:
            hint = (
                f"; it is defined by '{folder / SPACE}', which is code that would be executed: if you trust it, "
                "load_model(folder, trust=True), on the command line --trust"
            )
        elif own:
            hint = "; a type of your own needs its space file: load_model(folder, space='my_space.py')"
        raise BadInput(f"{path}: {error}{hint}") from None
    except (TypeError, ValueError, ArithmeticError) as error:  # from the __post_init__ of a user's own type
        raise BadInput(f"{path}: the architecture cannot be: {error}") from error
    if checksum(description.architecture) != description.architecture_sha256:
        raise BadInput(f"the checksum of the architecture in '{path}' differs: it was changed after the export")
    return architecture


def _built(architecture: Architecture, description: Description, folder: Path) -> nn.Module:
    try:
        return build(architecture, description.input_shape, description.head)
    except InvnasError as error:
        raise BadInput(f"{folder / FILE}: {error}") from None
    except Exception as error:  # tampered values reach any line of any module
        raise BadInput(f"{folder / FILE}: the architecture cannot be built: {type(error).__name__}: {error}") from error
