"""Weights on disk as safetensors: nothing is unpickled, and a file that does not fit says why in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from invnas.errors import BadInput, said_of, unwritable
from invnas.files import replacing

#: Under what a state_dict stands in what is saved beside it.
_WITHIN = ("state_dict", "model")
#: Names that a refusal shows of either side.
_SHOWN = 3


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write the parameters and buffers of a network; the file appears whole or not at all.

    Args:
        network: On any device, in any memory format; left as it is.
        path: Where to; an existing file is replaced.

    Raises:
        BadInput: If the file cannot be written, or a part of the state is not a tensor.
        DiskFailed: If the disk is full.
    """
    path = Path(path)
    tensors = {}
    for name, value in network.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise BadInput(
                f"the state `{name}` of the network is {type(value).__name__}, but safetensors holds tensors"
            )
        # A copy of its own, since safetensors refuses channels_last and tensors that share memory (tied weights).
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    try:
        with replacing(path) as fresh:
            fresh.write_bytes(save(tensors, metadata={"format": "pt"}))  # its save_file hides the file from other users
    except OSError as error:
        raise unwritable(f"the weights cannot be written to '{path}'", error) from None
    except SafetensorError as error:
        raise BadInput(f"the weights cannot be written to '{path}': {_said(error)}") from None


def check_weights(network: nn.Module, path: str | Path) -> None:
    """Raise BadInput unless a file holds exactly the names and shapes of a network (which may be on meta).

    Reads the header alone, so that a file is judged before anything of its size is allocated.
    """
    if not Path(path).is_file():
        raise BadInput(f"there is no file of weights '{path}'")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadInput(f"'{path}' is not a whole safetensors file: {_said(error)}") from None
    check_shapes(network, found, f"'{path}'")


def check_shapes(network: nn.Module, found: Mapping[str, tuple[int, ...]], place: str) -> None:
    """Raise BadInput unless names and shapes found at a place are exactly those of a network."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    missing, unexpected = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing:
        raise BadInput(f"{place} lacks `{min(missing)}` of the network ({len(missing)} tensors are missing)")
    if unexpected:
        raise BadInput(f"{place} holds `{min(unexpected)}`, which the network has not ({len(unexpected)} such tensors)")
    for name, shape in expected.items():
        if found[name] != shape:
            raise BadInput(f"`{name}` in {place} has shape {found[name]}, but the network needs {shape}")


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fill a network from a file that `save_weights` wrote; names, shapes and dtypes must be equal.

    Raises:
        BadInput: If the file is missing, broken, or of another network; the network is then left as it was.
    """
    check_weights(network, path)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"'{path}' is not a whole safetensors file: {_said(error)}") from None
    for name, value in network.state_dict().items():
        if tensors[name].dtype != value.dtype:
            raise BadInput(f"`{name}` in '{path}' is {tensors[name].dtype}, but the network needs {value.dtype}")
    network.load_state_dict(tensors)


def tensors_in(path: Path, asked: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name, without unpickling anything but tensors.

    Args:
        path: A safetensors file, or what `torch.save` wrote: a state_dict, or one under `state_dict` or `model`.
        asked: The setting that names it, for the sentence of a refusal.

    Raises:
        BadInput: If it cannot be read without executing what is in it, or holds no tensors by name.
    """
    wanted = f"`{asked}`: '{path}' is no checkpoint"
    try:
        if path.suffix == ".safetensors":
            held: Any = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{wanted} that can be read: {said_of(error)}") from None
    except Exception as error:  # whatever a file of another kind makes of an unpickler
        if "weights_only" in str(error):
            raise BadInput(
                f"{wanted} that can be read without executing what is in it: save its state_dict alone, "
                "torch.save(network.state_dict(), path)"
            ) from None
        raise BadInput(f"{wanted}: {type(error).__name__}") from None
    for key in _WITHIN:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping):
        raise BadInput(f"{wanted}: it holds {type(held).__name__}, not tensors by name")
    tensors = {str(name): value.detach() for name, value in held.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise BadInput(f"{wanted}: it holds no tensors by name")
    return tensors


def check_finite(tensors: Mapping[str, torch.Tensor], origin: str, asked: str) -> None:
    """Raise BadInput if a tensor holds what is not finite."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            raise BadInput(f"`{asked}`: `{name}` of {origin} is not finite")


def first_of(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the first names with their shapes, as a refusal shows what does not fit."""
    first = [f"`{name}` ({' x '.join(map(str, shape))})" for name, shape in shapes.items() if shape][:_SHOWN]
    return ", ".join(first) or "no tensor"


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
