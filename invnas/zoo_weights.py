"""Weights of the published RedNets in the networks invnas builds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from invnas.errors import BadInput

# The name here and the name in a checkpoint of the published classification code: the modules, then the tensors.
# Its stem is one list, whose third and fourth entries are the norm and ReLU after the involution.
_OUTSIDE = (
    ("stem.0.0", "backbone.stem.0.conv"),
    ("stem.0.1", "backbone.stem.0.bn"),
    ("stem.1.0", "backbone.stem.1"),
    ("stem.1.1", "backbone.stem.2"),
    ("stem.2.0", "backbone.stem.4.conv"),
    ("stem.2.1", "backbone.stem.4.bn"),
    ("head.2", "head.fc"),
)
_BLOCK = (
    ("enter.0", "conv1"),
    ("enter.1", "bn1"),
    ("spatial.0", "conv2"),
    ("spatial.1", "bn2"),
    ("leave.0", "conv3"),
    ("leave.1", "bn3"),
    ("shortcut", "downsample"),
)
_INVOLUTION = {"reduce": "conv1.conv", "norm": "conv1.bn", "span": "conv2.conv"}

# What torchvision and timm call the rest of a ResNet; its blocks are named as those of a RedNet. A basic block has no
# third convolution: its second one is the last.
_RESNET = (("stem.0.0", "conv1"), ("stem.0.1", "bn1"), ("head.2", "fc"))
_BASIC = (*_BLOCK[:2], ("leave.0", "conv2"), ("leave.1", "bn2"), _BLOCK[-1])


def published_name(name: str) -> str:
    """Return the name of a tensor of a RedNet as the published checkpoints spell it.

    >>> published_name("stages.0.2.spatial.0.span.bias")
    'backbone.layer1.2.conv2.conv2.conv.bias'
    """
    stage = re.match(r"stages\.(\d+)\.(\d+)\.", name)
    place, rest = (f"backbone.layer{int(stage[1]) + 1}.{stage[2]}.", name[stage.end() :]) if stage else ("", name)
    rest = _renamed(rest, _BLOCK if stage else _OUTSIDE)
    *path, module, tensor = rest.split(".")
    return place + ".".join([*path, _INVOLUTION.get(module, module), tensor])


def _renamed(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return a name with its beginning, a whole module, as the second of a pair spells it."""
    for one, other in pairs:
        if name.startswith(f"{one}."):
            return other + name[len(one) :]
    return name


def our_names(names: Collection[str]) -> dict[str, str]:
    """Return what the tensors of a published RedNet, or of a ResNet of torchvision or timm, are called here.

    Args:
        names: All names of a checkpoint.

    Returns:
        Our name by theirs; a name that is of neither stays as it is.

    >>> our_names(["layer2.0.conv1.weight", "fc.bias"])
    {'layer2.0.conv1.weight': 'stages.1.0.enter.0.weight', 'fc.bias': 'head.2.bias'}
    """
    blocks = {name: block for name in names if (block := re.match(r"(?:backbone\.)?layer(\d+)\.(\d+)\.", name))}
    if not blocks:
        return {name: name for name in names}
    deep = {block[0] for name, block in blocks.items() if name[block.end() :].startswith("conv3.")}
    outside, deep_ones, basic = (
        [(theirs, ours) for ours, theirs in pairs] for pairs in ((*_OUTSIDE, *_RESNET), _BLOCK, _BASIC)
    )

    def ours_of(name: str) -> str:
        if (block := blocks.get(name)) is None:
            here = _renamed(name, outside)
        else:
            rest = _renamed(name[block.end() :], deep_ones if block[0] in deep else basic)
            here = f"stages.{int(block[1]) - 1}.{block[2]}.{rest}"
        for ours, theirs in _INVOLUTION.items():
            here = here.replace(f".{theirs}.", f".{ours}.")
        return here

    return {name: ours_of(name) for name in names}


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
