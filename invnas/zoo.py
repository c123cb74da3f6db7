"""Well-known networks as architecture values, published ones by name and small ones at any width.

Source: Li et al., "Involution", CVPR 2021, section 4 and its published model zoo;
He et al., "Deep Residual Learning", CVPR 2016; Sandler et al., "MobileNetV2", CVPR 2018;
Howard et al., "Searching for MobileNetV3", ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from invnas.architecture import Architecture
from invnas.blocks import Activation, BasicBlock, Bottleneck, InvertedResidual, PointwiseBlock
from invnas.errors import BadInput, nearest
from invnas.hybrid import DeepStem, HybridNet, PlainStem, Stage
from invnas.operators import Convolution, DepthwiseConvolution, Involution

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


def basic_resnet(depth: int) -> Architecture:
    """Return ResNet-18 or -34."""
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]
    stages = tuple(
        Stage(width // 4, (BasicBlock(),) * times, stride)
        for width, times, stride in zip(WIDTHS, blocks, STRIDES, strict=True)
    )
    return Architecture(HybridNet(PlainStem(64), stages))


#: Expansion, width, blocks and stride of the stages of MobileNetV2, its table 2.
MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2() -> Architecture:
    """Return MobileNetV2 1.0; its stem ends in a ReLU."""
    stages = tuple(
        Stage(width, (InvertedResidual(DepthwiseConvolution(3), expansion),) * times, stride)
        for expansion, width, times, stride in MOBILE
    )
    return Architecture(HybridNet(PlainStem(32, 3, 2, False), (*stages, Stage(1280, (PointwiseBlock(),)))))


def small_resnet(depth: int, multiplier: float = 1.0) -> Architecture:
    """Return a ResNet for small images: three stages of basic blocks behind a 3 x 3 stem of stride 1.

    Args:
        depth: 6 n + 2 for n blocks in a stage: 8, 14, 20, ...
        multiplier: Times the widths 16, 32 and 64 of the paper's section 4.2; shortcuts are 1 x 1 convolutions here.
    """
    widths = [_scaled(width, multiplier, 4) for width in (16, 32, 64)]
    stages = tuple(Stage(w, (BasicBlock(),) * (depth // 6), 1 if i == 0 else 2) for i, w in enumerate(widths))
    return Architecture(HybridNet(PlainStem(widths[0], 3, 1, False), stages))


def small_mobilenet(version: int, multiplier: float = 1.0) -> Architecture:
    """Return a MobileNet for small images: widths of MobileNetV2 up to 96, stride 1 in stem and first stages.

    Args:
        version: 2, or 3: as MobileNetV3 has them, with gates, hard swish, and windows of 5 where the map is small.
        multiplier: Times the widths.
    """
    new = version == 3
    wide, ratio = DepthwiseConvolution(5 if new else 3), 4 if new else None
    after: Activation = "hardswish" if new else "relu6"
    plans = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2), (6, 96, 1, 1))
    stages = tuple(
        Stage(
            _scaled(width, multiplier, 8),
            (InvertedResidual(DepthwiseConvolution(3) if i < 2 else wide, expansion, ratio, after),) * times,
            stride,
        )
        for i, (expansion, width, times, stride) in enumerate(plans)
    )
    last = Stage(_scaled(384, multiplier, 8), (PointwiseBlock(after),))
    return Architecture(HybridNet(PlainStem(_scaled(16, multiplier, 8), 3, 1, False), (*stages, last)))


def _scaled(width: int, multiplier: float, step: int) -> int:
    return max(step, round(width * multiplier / step) * step)


_MAKERS: Mapping[str, Callable[[], Architecture]] = {
    **{f"rednet{depth}": partial(rednet, depth) for depth in DEPTHS},
    "resnet18": partial(basic_resnet, 18),
    "resnet34": partial(basic_resnet, 34),
    **{f"resnet{depth}": partial(resnet, depth) for depth in DEPTHS},
    **{f"rednet{depth}-stem7": partial(rednet, depth, 7) for depth in DEPTHS},
    "mobilenet_v2": mobilenet_v2,
}

#: Every name `by_name` knows; `-stem7` is the RedNet whose parameters and FLOPs the paper's tables give.
NAMES = tuple(_MAKERS)

#: Well-known networks for small images, each at any width.
SMALL: Mapping[str, Callable[[float], Architecture]] = {
    "small ResNet-8": partial(small_resnet, 8),
    "small ResNet-20": partial(small_resnet, 20),
    "small MobileNetV2": partial(small_mobilenet, 2),
    "small MobileNetV3": partial(small_mobilenet, 3),
}
MULTIPLIERS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)


def small_networks() -> dict[str, Architecture]:
    """Return the small networks at all multipliers by their names, such as "small ResNet-8 x 0.5", each once."""
    found: dict[Architecture, str] = {}
    for family, make in SMALL.items():
        for multiplier in MULTIPLIERS:
            found.setdefault(make(multiplier), f"{family} x {multiplier:g}")
    return {name: architecture for architecture, name in found.items()}


def by_name(name: str) -> Architecture:
    """Return a published network, such as `by_name("rednet50")`.

    Raises:
        BadInput: If there is no such name, with the nearest.
    """
    if name not in _MAKERS:
        raise BadInput(f"unknown network '{name}'; {nearest(name, NAMES)}")
    return _MAKERS[name]()
