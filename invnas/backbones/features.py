"""A network as a list of its feature maps, under the contract of timm's `features_only=True`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from invnas.architecture import Architecture
from invnas.dense import backbone_of
from invnas.errors import BadInput, shown
from invnas.head import FeatureMap
from invnas.hybrid import HybridNet
from invnas.nn.network import Trunk, feature_maps
from invnas.nn.skeleton import Shape
from invnas.preprocessing import Preprocessing
from invnas.rules import image


@dataclass(frozen=True)
class FeatureInfo:
    """What the maps of a backbone are; methods, keys and numbers are those of timm's class of this name.

    Without `idx` a method speaks of the maps that the backbone returns, in their order; with a number or several, of
    these of all maps. `len` and indexing are of all maps.

    Attributes:
        info: A dict for each map, by its number: `num_chs` (channels), `reduction` (pixels of the image for one of the
            map, along each side), `module` (name of the submodule it leaves) and `index`.
        out_indices: Numbers of the maps that are returned.
    """

    info: tuple[dict[str, Any], ...]
    out_indices: tuple[int, ...]

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return what stands under a key."""
        found = self.get_dicts([key], idx)
        return found[key] if isinstance(found, dict) else [one[key] for one in found]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """Return the dicts, or of each only these keys."""
        if isinstance(idx, int):
            return {key: self.info[idx][key] for key in (keys or self.info[idx])}
        return [self.get_dicts(keys, i) for i in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return numbers of channels."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return strides."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return names of submodules."""
        return self.get("module", idx)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.info[item]

    def __len__(self) -> int:
        return len(self.info)


class Backbone(Trunk):
    """A network that returns feature maps. Stages behind the last map that is asked for do not exist in it.

    Args:
        architecture: A HybridNet, or a DenseNet, of which it is the backbone.
        input_shape: (channels, height, width) of an image; height and width only matter to a stem or block of a user's
            own that does not say its stride.
        out_indices: Which maps: 0 leaves the stem (with its pool), 1 the first stage, and so on; -1 the last stage.
            None: those of all stages.
        preprocessing: What the weights expect of images, where it is known.

    Attributes:
        architecture: What it was made of, as a whole.
        input_shape: As given.
        feature_info: What its maps are.
        preprocessing: As given.

    Shapes:
        (B, C, H, W) -> a list of (B, num_chs, H / reduction, W / reduction), rounded up.

    Raises:
        InvalidArchitecture: If the architecture breaks a rule.
        BadInput: If it has no stages, or `out_indices` names no maps of it.
    """

    def __init__(
        self,
        architecture: Architecture,
        input_shape: Shape,
        out_indices: int | Sequence[int] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        network = stages_of(architecture)
        for problem in image(input_shape):
            raise BadInput(problem)
        wanted = indices(out_indices, len(network.stages))
        super().__init__(replace(network, stages=tuple(network.stages[: wanted[-1]])), input_shape)
        self.architecture, self.input_shape, self.preprocessing = architecture, tuple(input_shape), preprocessing
        self.feature_info = FeatureInfo(_described(feature_maps(network, input_shape)), wanted)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of images, finest first."""
        maps = self.maps(x, self.feature_info.out_indices)
        return [maps[i] for i in self.feature_info.out_indices]


def stages_of(architecture: Architecture) -> HybridNet:
    """Return the stem and stages of an architecture that keeps all rules; raises as `Backbone` does."""
    architecture.check()
    network = backbone_of(architecture.network)
    if not isinstance(network, HybridNet):
        raise BadInput(
            f"{type(network).__name__} is a network of your own, whose maps are not known: a backbone is made of a "
            "HybridNet, or of a DenseNet with one"
        )
    return network


def indices(asked: int | Sequence[int] | None, stages: int) -> tuple[int, ...]:
    """Return the numbers of the maps that are asked for, none of them negative."""
    if asked is None:
        asked = range(1, stages + 1) if stages else (0,)
    valid = f"0 (stem) to {stages} (last stage), or {-stages - 1} to -1"
    try:
        given = [operator.index(i) for i in ([asked] if isinstance(asked, int) else asked)]
    except TypeError:
        raise BadInput(f"`out_indices` must hold numbers of maps, {valid}, but got {shown(asked, 60)}") from None
    for i in given:
        if not -stages - 1 <= i <= stages:
            raise BadInput(f"`out_indices` names the map {i}, but the network has {valid}")
    found = [i % (stages + 1) for i in given]
    if not found or found != sorted(set(found)):
        rest = f"; nearest: {tuple(sorted(set(found)))}" if found else f": {valid}"
        raise BadInput(
            f"`out_indices` must name maps, each once and the finest first, but got {shown(asked, 60)}{rest}"
        )
    return tuple(found)


def _described(maps: Sequence[FeatureMap]) -> tuple[dict[str, Any], ...]:
    names = ["stem", *(f"stages.{i}" for i in range(len(maps) - 1))]
    return tuple(
        {"num_chs": one.channels, "reduction": one.stride, "module": name, "index": i}
        for i, (one, name) in enumerate(zip(maps, names, strict=True))
    )
