"""Weights of the published RedNets in the networks invnas builds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from invnas.errors import BadInput

# From a name here to the name in a checkpoint of the published classification code: the modules, then the tensors.
# Its stem is one list, whose third and fourth entries are the norm and ReLU after the involution.
_MODULES = (
    (r"stem\.0\.0", "backbone.stem.0.conv"),
    (r"stem\.0\.1", "backbone.stem.0.bn"),
    (r"stem\.1\.0", "backbone.stem.1"),
    (r"stem\.1\.1", "backbone.stem.2"),
    (r"stem\.2\.0", "backbone.stem.4.conv"),
    (r"stem\.2\.1", "backbone.stem.4.bn"),
    (r"enter\.0", "conv1"),
    (r"enter\.1", "bn1"),
    (r"spatial\.0", "conv2"),
    (r"spatial\.1", "bn2"),
    (r"leave\.0", "conv3"),
    (r"leave\.1", "bn3"),
    (r"shortcut\.", "downsample."),
    (r"head\.2", "head.fc"),
)
_INVOLUTION = {"reduce": "conv1.conv", "norm": "conv1.bn", "span": "conv2.conv"}


def published_name(name: str) -> str:
    """Return the name of a tensor of a RedNet as the published checkpoints spell it.

    >>> published_name("stages.0.2.spatial.0.span.bias")
    'backbone.layer1.2.conv2.conv2.conv.bias'
    """
    stage = re.match(r"stages\.(\d+)\.(\d+)\.", name)
    place, rest = (f"backbone.layer{int(stage[1]) + 1}.{stage[2]}.", name[stage.end() :]) if stage else ("", name)
    for ours, theirs in _MODULES:
        if found := re.match(ours, rest):
            rest = theirs + rest[found.end() :]
            break
    *path, module, tensor = rest.split(".")
    return place + ".".join([*path, _INVOLUTION.get(module, module), tensor])


def load_published(network: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """Fill a RedNet with the weights of a published checkpoint.

    Args:
        network: What `build(zoo.rednet(depth), ...)` returned, with as many classes as the checkpoint.
        state_dict: The checkpoint, or what stands in it under `state_dict`; as torch.load(..., weights_only=True)
            returns it.

    Raises:
        BadInput: If a tensor is missing, left over or of another shape, by its published name; the network is then
            left as it was.

    Source: the names are those of the classification code published with Li et al., "Involution", CVPR 2021.
    """
    found = state_dict.get("state_dict", state_dict)
    if not isinstance(found, Mapping):
        raise BadInput(f"`state_dict` must map names to tensors, but holds {type(found).__name__} under `state_dict`")
    expected = network.state_dict()
    names = {published_name(name): name for name in expected}
    for kind, rest in (("lacks", names.keys() - found.keys()), ("holds", found.keys() - names.keys())):
        if rest:
            what = "which the network needs" if kind == "lacks" else "which the network has not"
            first = min(map(str, rest))
            raise BadInput(f"the checkpoint {kind} `{first}`, {what} ({len(rest)} such tensors)")
    for published, name in names.items():
        value, wanted = found[published], tuple(expected[name].shape)
        if not isinstance(value, torch.Tensor):
            raise BadInput(f"`{published}` in the checkpoint must be a tensor, but is {type(value).__name__}")
        if tuple(value.shape) != wanted:
            raise BadInput(
                f"`{published}` in the checkpoint has shape {tuple(value.shape)}, but `{name}` needs {wanted}"
            )
    network.load_state_dict({name: found[published] for published, name in names.items()})
