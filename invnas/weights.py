"""Weights on disk as safetensors: nothing is unpickled, and a file that does not fit says why in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from invnas.errors import BadInput, unwritable
from invnas.files import replacing


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


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
