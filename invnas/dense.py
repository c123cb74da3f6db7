"""Networks for dense prediction as frozen values: a backbone, a neck that makes a pyramid of its maps, and a head.

The neck and the head are decisions like any other. What the head's numbers mean and how many there are is the task's
matter: `nn/dense.py` puts these layers before what a task asks for.

A neck or head of a user's own is any frozen dataclass with a `build` method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from invnas.choice import facts_of
from invnas.detectors import DETECTORS
from invnas.errors import InvalidArchitecture, shown
from invnas.head import FeatureMap
from invnas.hybrid import HybridNet
from invnas.operators import Convolution, Involution
from invnas.rules import fits, problems_of, whole


@dataclass(frozen=True)
class _Pyramid:
    """What the feature pyramids have in common: 1 x 1 lateral convolutions, a top-down sum, an operator on each level.

    Attributes:
        width: Channels of every level.
        levels: How many of the last stages are taken; None: all of them.
        extra_levels: Coarser levels beyond those of the backbone, each of half the size of the one before.
        pooled: Whether those are every second pixel of the last level (as R-CNNs have it), and not 3 x 3 convolutions
            of stride 2 that begin at the last map of the backbone (as RetinaNet has it).

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    width: int = 256
    levels: int | None = None
    extra_levels: int = 0
    pooled: bool = False

    def wanted(self, maps: Sequence[FeatureMap]) -> tuple[int, ...]:
        """Return the maps that are taken: those of the last stages, never the stem's."""
        taken = len(maps) - 1 if self.levels is None else self.levels
        if taken > len(maps) - 1:
            raise InvalidArchitecture(
                f"`levels` of a {type(self).__name__} is {taken}, but the backbone has {len(maps) - 1} stages"
            )
        return tuple(range(len(maps) - taken, len(maps)))

    def after(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        """Return the levels of the pyramid over the wanted maps, finest first."""
        strides = [one.stride for one in maps]
        strides += [strides[-1] * 2 ** (i + 1) for i in range(self.extra_levels)]
        return tuple(FeatureMap(self.width, stride) for stride in strides)

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        broken = list(whole("width", self.width))
        if self.levels is not None:
            broken += whole("levels", self.levels)
        if type(self.extra_levels) is not int or not 0 <= self.extra_levels <= 8:
            broken.append(f"`extra_levels` must be a whole number from 0 to 8, but got {shown(self.extra_levels)}")
        elif type(self.pooled) is not bool:
            broken.append(f"`pooled` must be true or false, but got {shown(self.pooled)}")
        elif self.pooled and not self.extra_levels:
            # It would decide nothing: two values for one network.
            broken.append("`pooled` says how extra levels are made, but `extra_levels` is 0; nearest: pooled=False")
        yield from broken or self.spatial.problems(self.width)

    @property
    def spatial(self) -> Convolution | Involution:
        """The operator on each level."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConvolutionFPN(_Pyramid):
    """A feature pyramid with a convolution (with bias) on each level.

    Attributes:
        kernel_size: Window of that convolution, odd.

    >>> ConvolutionFPN(width=64).spatial
    Convolution(kernel_size=3, groups=1)
    """

    kernel_size: int = 3

    @property
    def spatial(self) -> Convolution:
        """The convolution on each level."""
        return Convolution(self.kernel_size)


@dataclass(frozen=True)
class InvolutionFPN(_Pyramid):
    """A feature pyramid with an involution on each level; the lateral convolutions and extra levels stay.

    Attributes:
        kernel_size: Window, odd.
        group_channels: Channels that share a kernel; must divide the width.
        reduction_ratio: Channels over hidden channels of the kernel generator, a divisor; None: it is one linear map.

    >>> list(InvolutionFPN(width=64, group_channels=24).problems())
    ['`group_channels` must divide the channels, but got group_channels=24 and 64 channels; nearest: 8, 16, 32']

    Source: Li et al., "Involution", CVPR 2021, section 4.2.
    """

    kernel_size: int = 7
    group_channels: int = 16
    reduction_ratio: int | None = 4

    @property
    def spatial(self) -> Involution:
        """The involution on each level."""
        return Involution(self.kernel_size, self.group_channels, self.reduction_ratio)


@dataclass(frozen=True)
class SemanticFPN:
    """The head of Semantic FPN: 3 x 3 convolutions and doublings take each level to the finest one; then their sum.

    A convolution with batch norm and ReLU stands before each doubling of a level's size, and one on the finest level;
    a 1 x 1 convolution makes the scores of the sum, which are scaled to the size of the image.

    Attributes:
        width: Channels of these convolutions.

    >>> list(SemanticFPN(width=0).problems())
    ['`width` must be a whole number from 1 to 65,536, but got 0']

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, section 3.1; with batch norm.
    """

    width: int = 128

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        yield from whole("width", self.width)


#: Sides of the averages that the head of UPerNet takes of the coarsest map.
POOLS = (1, 2, 3, 6)


@dataclass(frozen=True)
class UPerNetHead:
    """The head of UPerNet, over the maps of a backbone: pyramid pooling of the coarsest, then a pyramid of its own.

    The coarsest map is averaged to 1 x 1, 2 x 2, 3 x 3 and 6 x 6, each then by a 1 x 1 convolution; a 3 x 3 convolution
    takes the map and these, scaled back. 1 x 1 lateral convolutions of the finer maps, a top-down sum, a 3 x 3
    convolution on each, and one over all levels, scaled to the finest, follow; all have batch norm and ReLU. A 1 x 1
    convolution makes the scores, which are scaled to the size of the image.

    Attributes:
        width: Channels of these convolutions.

    >>> list(UPerNetHead(width=0).problems())
    ['`width` must be a whole number from 1 to 65,536, but got 0']

    Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, section 3.1.
    """

    width: int = 512

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        yield from whole("width", self.width)


#: The necks and the heads that come with invnas.
NECKS = (ConvolutionFPN, InvolutionFPN)
DENSE_HEADS = (SemanticFPN, UPerNetHead, *DETECTORS)


@dataclass(frozen=True)
class DenseNet:
    """A network for dense prediction: a backbone, then a neck, then a head; what a task asks of it decides its output.

    Attributes:
        backbone: Stem and stages; the neck takes what leaves the stages.
        neck: ConvolutionFPN, InvolutionFPN, the user's own, or None: the head takes the maps of the stages.
        head: SemanticFPN, UPerNetHead, RetinaHead, RCNNHeads, or the user's own.

    >>> from invnas import Bottleneck, Convolution, PlainStem, Stage
    >>> backbone = HybridNet(PlainStem(16, 3, 2, False), [Stage(16, [Bottleneck(Convolution(3))])])
    >>> list(DenseNet(backbone, InvolutionFPN(width=32, kernel_size=4), SemanticFPN(32)).problems())
    ['`kernel_size` must be odd so that the map keeps its size, but got 4; nearest: 3, 5 (neck)']
    """

    backbone: HybridNet
    neck: Any
    head: Any

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken, with its part."""
        if not isinstance(self.backbone, HybridNet):
            yield f"{shown(self.backbone, 60)} stands where a backbone is wanted: take a HybridNet"
        else:
            yield from _problems_of(self.backbone)
        for value, role, kinds in ((self.neck, "neck", NECKS), (self.head, "head", DENSE_HEADS)):
            if value is None and role == "neck":
                continue
            yield from (f"{sentence} ({role})" for sentence in [*fits(value, role, kinds)] or problems_of(value))


def _problems_of(backbone: HybridNet) -> tuple[str, ...]:
    facts = facts_of(backbone)
    if "problems" not in facts:
        facts["problems"] = tuple(backbone.problems())
    found: tuple[str, ...] = facts["problems"]
    return found


def backbone_of(network: Any) -> Any:
    """Return the backbone of a DenseNet, and any other network as it is."""
    return network.backbone if isinstance(network, DenseNet) else network
