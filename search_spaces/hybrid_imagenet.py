"""Hybrids of ResNet and RedNet at 224 x 224: RedNet-26/38/50 and ResNet-26/38/50 are points of this space.

Source: Li et al., "Involution", CVPR 2021, section 4; the paper leaves mixed networks found by search open.
"""

from invnas import Bottleneck, Choice, Convolution, DeepStem, HybridNet, Involution, PlainStem, Repeat, Stage

spatial = Choice(
    Convolution(kernel_size=3, groups=Choice(1, 32)),
    Involution(kernel_size=Choice(3, 5, 7, 9), group_channels=Choice(4, 16, 64), reduction_ratio=Choice(1, 4, 16)),
)
block = Bottleneck(spatial, expansion=4)

space = HybridNet(
    stem=Choice(
        PlainStem(width=64),
        DeepStem(Choice(Convolution(3), Involution(Choice(3, 7), group_channels=16, reduction_ratio=4)), width=64),
    ),
    stages=[
        Stage(width=256, stride=1, blocks=Repeat(block, times=Choice(1, 2, 3))),
        Stage(width=512, stride=2, blocks=Repeat(block, times=Choice(2, 3, 4))),
        Stage(width=1024, stride=2, blocks=Repeat(block, times=Choice(4, 5, 6))),
        Stage(width=2048, stride=2, blocks=Repeat(block, times=Choice(1, 2, 3))),
    ],
)
