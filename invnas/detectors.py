"""Heads of detectors as frozen values: of one stage (RetinaNet) and of two (Faster and Mask R-CNN).

How boxes are matched with objects, and which regions the second stage looks at, is the task's matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from invnas.operators import OPERATORS, Convolution
from invnas.rules import fits, whole

#: Height over width of the boxes that stand at each position of a level before they are moved.
ASPECT_RATIOS = (0.5, 1.0, 2.0)

_PLAIN = Convolution(3)


@dataclass(frozen=True)
class RetinaHead:
    """The head of RetinaNet: two branches of 3 x 3 convolutions with ReLU, shared by all levels of a pyramid.

    A last 3 x 3 convolution of each branch makes one score for each class and anchor, and four offsets for each anchor.

    Attributes:
        width: Channels of these convolutions.
        convolutions: How many with ReLU a branch has.
        anchors: Boxes at each position: three aspect ratios, so a multiple of 3, in a third as many sizes.

    >>> list(RetinaHead(anchors=8).problems())
    ['`anchors` must be a multiple of 3, one for each aspect ratio, but got 8; nearest: 6, 9']

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 4.
    """

    width: int = 256
    convolutions: int = 4
    anchors: int = 9

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken."""
        yield from whole("width", self.width)
        yield from whole("convolutions", self.convolutions, 64)
        yield from _anchors(self.anchors)


@dataclass(frozen=True)
class RCNNHeads:
    """The heads of Faster R-CNN, and of Mask R-CNN where there is a `mask`.

    First a region proposal network, shared by all levels of a pyramid: its operator, ReLU, and 1 x 1 convolutions to a
    score and four offsets for each anchor. Then for each proposal two linear layers with ReLU over its 7 x 7 map, and
    one layer for the scores and one for the offsets of each class. A mask comes from a 14 x 14 map: four times the
    operator and ReLU, a deconvolution with ReLU to twice the size, a 1 x 1 convolution to one map for each class.

    Attributes:
        rpn: Operator of the region proposal network, 3 x 3 convolution (with bias) or involution, on the levels' width.
        mask: Operator of the mask head, as `rpn`; None: there are no masks.
        box_width: Numbers that leave each of the two linear layers.
        anchors: Boxes at each position: three aspect ratios, so a multiple of 3, in a third as many sizes.
        proposals: Regions of an image that the box head sees, which decides what it costs.
        mask_proposals: Regions that the mask head sees, at most.

    >>> from invnas import Involution
    >>> RCNNHeads(rpn=Involution(7), mask=Involution(7)).proposals
    1000
    >>> list(RCNNHeads(proposals=50).problems())
    []
    >>> list(RCNNHeads(proposals=0).problems())
    ['`proposals` must be a whole number from 1 to 65,536, but got 0']

    Source: Ren et al., "Faster R-CNN", NeurIPS 2015; He et al., "Mask R-CNN", ICCV 2017, figure 4, right; involutions
    as by Li et al., "Involution", CVPR 2021, section 4.2.
    """

    rpn: Any = _PLAIN
    mask: Any = None
    box_width: int = 1024
    anchors: int = 3
    proposals: int = 1000
    mask_proposals: int = 100

    def problems(self) -> Iterator[str]:
        """Yield one sentence for each rule that is broken; what operators say of a width is known with the pyramid."""
        yield from fits(self.rpn, "rpn", OPERATORS)
        if self.mask is not None:
            yield from fits(self.mask, "mask", OPERATORS)
        yield from whole("box_width", self.box_width)
        yield from _anchors(self.anchors)
        yield from whole("proposals", self.proposals)
        yield from whole("mask_proposals", self.mask_proposals)


def _anchors(value: Any) -> Iterator[str]:
    broken = list(whole("anchors", value, 999))
    each = len(ASPECT_RATIOS)
    if not broken and value % each:
        below, above = value - value % each, value - value % each + each
        closest = ", ".join(str(one) for one in (below, above) if one)
        broken = [
            f"`anchors` must be a multiple of {each}, one for each aspect ratio, but got {value}; nearest: {closest}"
        ]
    yield from broken


#: The heads for detection that come with invnas.
DETECTORS = (RetinaHead, RCNNHeads)
