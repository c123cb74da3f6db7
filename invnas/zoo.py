"""RedNet and ResNet as architecture values: points of the same space as any hybrid.

Source: Li et al., "Involution", CVPR 2021, section 4 and its published model zoo;
He et al., "Deep Residual Learning", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from invnas.architecture import Architecture, Bottleneck, Convolution, DeepStem, HybridNet, Involution, PlainStem, Stage
from invnas.errors import BadInput, nearest

#: Blocks of the four stages by depth.
DEPTHS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (256, 512, 1024, 2048)
STRIDES = (1, 2, 2, 2)


def residual(depth: int, spatial: Any, stem: Any) -> Architecture:
    """Return a bottleneck residual network of a published depth with one operator throughout."""
    if depth not in DEPTHS:
        raise BadInput(f"unknown depth {depth}; {nearest(str(depth), map(str, DEPTHS))}")
    stages = tuple(
        Stage(width, (Bottleneck(spatial, expansion=4),) * blocks, stride)
        for width, blocks, stride in zip(WIDTHS, DEPTHS[depth], STRIDES, strict=True)
    )
    return Architecture(HybridNet(stem, stages))


def resnet(depth: int) -> Architecture:
    """Return ResNet-26, -38, -50, -101 or -152."""
    return residual(depth, Convolution(3), PlainStem(64))


def rednet(depth: int, stem_kernel_size: int = 3) -> Architecture:
    """Return RedNet-26, -38, -50, -101 or -152.

    Args:
        depth: Number in the name.
        stem_kernel_size: 3 as in the published classification code, 7 as in its tables and dense prediction code.
    """
    return residual(depth, Involution(7, 16, 4), DeepStem(Involution(stem_kernel_size, 16, 4), 64))


_MAKERS: Mapping[str, Callable[[], Architecture]] = {
    **{f"rednet{depth}": partial(rednet, depth) for depth in DEPTHS},
    **{f"resnet{depth}": partial(resnet, depth) for depth in DEPTHS},
    **{f"rednet{depth}-stem7": partial(rednet, depth, 7) for depth in DEPTHS},
}

#: Every name `by_name` knows; `-stem7` is the RedNet whose parameters and FLOPs the paper's tables give.
NAMES = tuple(_MAKERS)


def by_name(name: str) -> Architecture:
    """Return a published network, such as `by_name("rednet50")`.

    Raises:
        BadInput: If there is no such name, with the nearest.
    """
    if name not in _MAKERS:
        raise BadInput(f"unknown network '{name}'; {nearest(name, NAMES)}")
    return _MAKERS[name]()
