"""Where does involution pay in a network for segmentation: in the backbone, in the neck, or nowhere?

Every block of a small backbone takes convolution or involution for itself, and so does the pyramid.
"""

from invnas import (
    Bottleneck,
    Choice,
    Convolution,
    ConvolutionFPN,
    DenseNet,
    HybridNet,
    Involution,
    InvolutionFPN,
    PlainStem,
    Repeat,
    SemanticFPN,
    Stage,
)

spatial = Choice(
    Convolution(kernel_size=3),
    Involution(kernel_size=Choice(3, 5, 7), group_channels=8, reduction_ratio=Choice(2, 4)),
)
block = Bottleneck(spatial, expansion=Choice(1, 2))

space = DenseNet(
    backbone=HybridNet(
        stem=PlainStem(width=16, kernel_size=3, stride=2, pool=False),
        stages=[
            Stage(width=Choice(16, 32), stride=1, blocks=Repeat(block, times=Choice(1, 2))),
            Stage(width=Choice(32, 64), stride=2, blocks=Repeat(block, times=Choice(1, 2))),
            Stage(width=Choice(64, 128), stride=2, blocks=Repeat(block, times=Choice(1, 2, 3))),
        ],
    ),
    neck=Choice(
        ConvolutionFPN(width=Choice(16, 32, 48)),
        InvolutionFPN(
            width=Choice(16, 32, 48), kernel_size=Choice(3, 5, 7), group_channels=Choice(8, 16), reduction_ratio=4
        ),
    ),
    head=SemanticFPN(width=Choice(16, 32)),
)
