"""Where does involution pay on 32 x 32 pictures?

Kernel size, groups, reduction ratio and placement: every block takes convolution or involution for itself.
"""

from invnas import Bottleneck, Choice, Convolution, DeepStem, HybridNet, Involution, PlainStem, Repeat, Stage

spatial = Choice(
    Convolution(kernel_size=Choice(3, 5), groups=Choice(1, 4)),
    Involution(kernel_size=Choice(3, 5, 7), group_channels=Choice(8, 16), reduction_ratio=Choice(2, 4)),
)
block = Bottleneck(spatial, expansion=Choice(2, 4))

space = HybridNet(
    stem=Choice(
        PlainStem(width=Choice(16, 32), kernel_size=3, stride=1, pool=False),
        DeepStem(
            Involution(kernel_size=Choice(3, 7), group_channels=8, reduction_ratio=2), width=32, stride=1, pool=False
        ),
    ),
    stages=[
        Stage(width=Choice(32, 64), stride=1, blocks=Repeat(block, times=Choice(1, 2, 3))),
        Stage(width=Choice(64, 96, 128), stride=2, blocks=Repeat(block, times=Choice(1, 2, 3))),
        Stage(width=Choice(128, 192, 256), stride=2, blocks=Repeat(block, times=Choice(1, 2, 3))),
    ],
)
