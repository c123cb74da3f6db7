"""Where does involution pay on 8 x 8 pictures? Small enough to search in minutes on a laptop.

Every block takes convolution or involution for itself, with kernel size and groups.
"""

from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Repeat, Stage

spatial = Choice(
    Convolution(kernel_size=Choice(3, 5), groups=Choice(1, 4)),
    Involution(kernel_size=Choice(3, 5, 7), group_channels=Choice(4, 8), reduction_ratio=Choice(2, 4)),
)
block = Bottleneck(spatial, expansion=Choice(1, 2))

space = HybridNet(
    stem=PlainStem(width=Choice(8, 16), kernel_size=3, stride=1, pool=False),
    stages=[
        Stage(width=Choice(16, 24, 32), stride=1, blocks=Repeat(block, times=Choice(1, 2))),
        Stage(width=Choice(32, 48, 64), stride=2, blocks=Repeat(block, times=Choice(1, 2))),
    ],
)
