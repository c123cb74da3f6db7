"""Where does involution pay in a detector: in the backbone, in the neck, in the head, or nowhere?

Every block of a small backbone takes convolution or involution for itself, and so do the pyramid, the region proposal
network and the mask head of a Mask R-CNN; a RetinaNet is the alternative of one stage.
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
    RCNNHeads,
    Repeat,
    RetinaHead,
    Stage,
)

spatial = Choice(
    Convolution(kernel_size=3),
    Involution(kernel_size=Choice(3, 5, 7), group_channels=8, reduction_ratio=Choice(2, 4)),
)
block = Bottleneck(spatial, expansion=Choice(1, 2))
shared = Choice(Convolution(kernel_size=3), Involution(kernel_size=Choice(3, 7), group_channels=16, reduction_ratio=4))

space = DenseNet(
    backbone=HybridNet(
        stem=PlainStem(width=16, kernel_size=3, stride=2, pool=False),
        stages=[
            Stage(width=Choice(16, 32), stride=2, blocks=Repeat(block, times=Choice(1, 2))),
            Stage(width=Choice(32, 64), stride=2, blocks=Repeat(block, times=Choice(1, 2))),
            Stage(width=Choice(64, 128), stride=2, blocks=Repeat(block, times=Choice(1, 2, 3))),
        ],
    ),
    neck=Choice(
        ConvolutionFPN(width=Choice(32, 64)),
        InvolutionFPN(width=Choice(32, 64), kernel_size=Choice(3, 5, 7), group_channels=16, reduction_ratio=4),
    ),
    head=Choice(
        RetinaHead(width=Choice(32, 64), convolutions=Choice(1, 2)),
        RCNNHeads(rpn=shared, mask=shared, box_width=Choice(128, 256), proposals=100, mask_proposals=20),
    ),
)
