"""Weights that trainings start from: which parts of a network they fit, and what it takes of them.

A part is a stem, a block or a head. Equal parts are equal modules (`nn.network.Part`), so that their weights can be
exchanged; what has no equal part starts fresh.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from invnas.architecture import Architecture
from invnas.dense import DenseNet, backbone_of
from invnas.errors import BadInput
from invnas.facts import DataFacts
from invnas.files import replacing
from invnas.hybrid import HybridNet
from invnas.nn.network import Part, parts
from invnas.plain import to_text

#: A tensor belongs to the part that begins its name.
_PART = re.compile(r"(stem|head\.neck|head\.layers|head|stages\.\d+\.\d+)\.")
#: Counts batches and nothing else: older checkpoints have none.
COUNTER = "num_batches_tracked"

Shapes = Mapping[str, tuple[int, ...]]


def keys_of(architecture: Architecture, facts: DataFacts, task: str) -> dict[str, str]:
    """Return what says of each part of a network which other part is its equal, by its place such as `stages.0.1`.

    A head is one of its task and of these classes in this order, so of unknown classes it has no equal. A network of
    the user's own is one part (its place is empty), with its head.
    """
    value = backbone_of(architecture.network)
    classes = json.dumps([task, facts.class_names]) if facts.class_names else None
    if not isinstance(value, HybridNet):
        return {} if classes is None else {"": f"{to_text(value)} {classes}"}
    (stem,), *stages = parts(value, facts.input_shape[0])
    found = {"stem": _key(stem)}
    found |= {f"stages.{s}.{b}": _key(part) for s, stage in enumerate(stages) for b, part in enumerate(stage)}
    if isinstance(architecture.network, DenseNet):
        return found | _keys_of_ends(architecture.network, classes)
    return found if classes is None else {**found, "head": classes}


def _keys_of_ends(network: DenseNet, classes: str | None) -> dict[str, str]:
    # A pyramid depends on the channels of all stages, so on their widths.
    widths = [stage.width for stage in network.backbone.stages]
    found = {} if network.neck is None else {"head.neck": f"neck {to_text(network.neck)} {widths}"}
    if classes is not None:
        strides = [stage.stride for stage in network.backbone.stages]
        found["head.layers"] = f"{to_text(network.neck)} {to_text(network.head)} {widths} {strides} {classes}"
    return found


def _key(part: Part) -> str:
    # Without the stride: no weight depends on it, and a shortcut that does is seen by its names.
    return f"{part.role} {to_text(part.value)} {part.in_channels} {part.out_channels}"


def places_of(names: Iterable[str]) -> list[str]:
    """Return the places that tensors of these names belong to."""
    return list(dict.fromkeys(found[1] for name in names if (found := _PART.match(name))))


def _inside(place: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a part by their names within it."""
    start = f"{place}." if place else ""
    return {name[len(start) :]: tuple(shape) for name, shape in shapes.items() if name.startswith(start)}


def _compared(inside: Shapes) -> Shapes:
    return {name: shape for name, shape in inside.items() if not name.endswith(COUNTER)}


@dataclass(frozen=True)
class Pretrained:
    """Weights that networks can start from.

    Attributes:
        origin: Where they come from, as a user may write it.
        tensors: By their names in a network of invnas.
        keys: What `keys_of` said of each part; empty text where only names and shapes are known: of a file.
    """

    origin: str
    tensors: Mapping[str, torch.Tensor]
    keys: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def chosen(self, keys: Mapping[str, str], shapes: Shapes) -> dict[str, str]:
        """Return which of its parts each part of a network takes: the equal one at its own place, else the nearest.

        Each serves once: a block that stood twice would change what the network computes, a fresh one begins as its
        shortcut.

        Args:
            keys: What `keys_of` says of the network.
            shapes: Shapes of its tensors by name.
        """
        wanted = {place: _compared(_inside(place, shapes)) for place in keys}
        known = self.shapes
        held = {place: _compared(_inside(place, known)) for place in self.keys}

        def fits(place: str, other: str) -> bool:
            same_kind = place.split(".")[0] == other.split(".")[0] and bool(wanted[place])
            return same_kind and self.keys[other] in ("", keys[place]) and held[other] == wanted[place]

        found = {place: place for place in wanted if place in held and fits(place, place)}
        free = [place for place in held if place not in found]
        for place in wanted:
            near = [other for other in free if place not in found and fits(place, other)]
            if near:
                found[place] = min(near, key=lambda other: _steps(place, other))
                free.remove(found[place])
        return found

    def share(self, keys: Mapping[str, str], network: nn.Module) -> float:
        """Return the share of its parameters that a network (which may be on meta) would take, 0 to 1."""
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        taken = self.chosen(keys, shapes)
        sizes = {name: value.numel() for name, value in network.named_parameters()}
        inherited = sum(
            size
            for name, size in sizes.items()
            if any(name.startswith(f"{place}.") if place else True for place in taken)
        )
        return inherited / sum(sizes.values()) if sizes else 0.0

    def fill(self, keys: Mapping[str, str], network: nn.Module) -> float:
        """Give a network what fits, bit by bit; everything else stays as it is. Returns what `share` does.

        Args:
            keys: What `keys_of` says of the network.
            network: Built, with fresh weights, on the CPU.
        """
        state = network.state_dict()
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        with torch.no_grad():
            for place, other in self.chosen(keys, shapes).items():
                here, there = (f"{one}." if one else "" for one in (place, other))
                for name in _inside(place, shapes):
                    if f"{there}{name}" in self.tensors:
                        state[f"{here}{name}"].copy_(self.tensors[f"{there}{name}"])
        return self.share(keys, network)

    def save(self, path: Path) -> None:
        """Write everything to one file; it appears whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        told = {"origin": self.origin, "keys": json.dumps(dict(self.keys)), "format": "pt"}
        tensors = {name: value.clone(memory_format=torch.contiguous_format) for name, value in self.tensors.items()}
        with replacing(path) as fresh:
            fresh.write_bytes(save(tensors, metadata=told))

    @classmethod
    def load(cls, path: Path) -> Pretrained:
        """Return what `save` wrote.

        Raises:
            BadInput: If the file is missing or damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata()
            keys = {str(place): str(key) for place, key in json.loads(told["keys"]).items()}
            return cls(told["origin"], load_file(path), keys)
        except FileNotFoundError:
            raise BadInput(f"there is no {path}: without it trainings would start otherwise") from None
        except (OSError, SafetensorError, TypeError, KeyError, ValueError, AttributeError) as error:
            raise BadInput(f"{path} is damaged ({error}): without it trainings would start otherwise") from None


def _steps(place: str, other: str) -> tuple[int, ...]:
    """Return how far apart two blocks stand: by stages, then by blocks."""
    pairs = zip(place.split(".")[1:], other.split(".")[1:], strict=False)
    return tuple(abs(int(one) - int(another)) for one, another in pairs)
