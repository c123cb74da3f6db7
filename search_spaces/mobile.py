"""Does involution pay in place of the depthwise convolutions of a MobileNet, on small pictures?

Every inverted residual takes a depthwise convolution or an involution for itself, and a gate or none.
"""

from invnas import (
    Choice,
    DepthwiseConvolution,
    HybridNet,
    InvertedResidual,
    Involution,
    PlainStem,
    PointwiseBlock,
    Repeat,
    Stage,
)

spatial = Choice(
    DepthwiseConvolution(kernel_size=Choice(3, 5)),
    Involution(kernel_size=Choice(3, 5, 7), group_channels=Choice(8, 16), reduction_ratio=4),
)
block = InvertedResidual(spatial, expansion=Choice(2, 4), squeeze_ratio=Choice(None, 4), activation="hardswish")

space = HybridNet(
    stem=PlainStem(width=16, kernel_size=3, stride=1, pool=False),
    stages=[
        Stage(width=Choice(16, 24), stride=1, blocks=Repeat(block, times=Choice(1, 2))),
        Stage(width=Choice(32, 48), stride=2, blocks=Repeat(block, times=Choice(1, 2))),
        Stage(width=Choice(64, 96), stride=2, blocks=Repeat(block, times=Choice(1, 2))),
        Stage(width=Choice(128, 192), stride=1, blocks=[PointwiseBlock("hardswish")]),
    ],
)
