"""The space of InvBench: hybrids of convolution and involution for 8 x 8 pictures, a training of which takes seconds.

Every block takes convolution or involution for itself; a stem may be deep, with an operator of its own.
"""

from invnas import Bottleneck, Choice, Convolution, DeepStem, HybridNet, Involution, PlainStem, Repeat, Stage

spatial = Choice(
    Convolution(kernel_size=Choice(3, 5), groups=Choice(1, 4)),
    Involution(kernel_size=Choice(3, 5, 7), group_channels=Choice(4, 8), reduction_ratio=Choice(1, 2)),
)
block = Bottleneck(spatial, expansion=Choice(2, 4))

space = HybridNet(
    stem=Choice(
        PlainStem(width=Choice(4, 8, 16), kernel_size=3, stride=Choice(1, 2), pool=False),
        DeepStem(Choice(Convolution(3), Involution(3, 4, 1)), width=Choice(8, 16), stride=1, pool=False),
    ),
    stages=[
        Stage(width=Choice(8, 16, 24), stride=1, blocks=Repeat(block, times=Choice(1, 2))),
        Stage(width=Choice(16, 32, 48), stride=2, blocks=Repeat(block, times=Choice(1, 2, 3))),
    ],
)
