"""Which kernel size, groups and generator does involution need on 32 x 32 pictures? The ablation of the paper, small.

Eleven networks: a small RedNet of K 7, C/G 16, r 4, those that differ from it in one of these, in every block alike,
and the same with 3 x 3 convolutions. Source: Li et al., "Involution", CVPR 2021 (there: RedNet-50 on ImageNet).
"""

from dataclasses import replace

from invnas import Bottleneck, Choice, Convolution, HybridNet, Involution, PlainStem, Stage

EXPANSION = 2

middle = Involution(kernel_size=7, group_channels=16, reduction_ratio=4)


def stages(spatial_of):
    """Return three stages of one block, each with the operator for the channels in its middle."""
    sizes = ((64, 1), (128, 2), (256, 2))
    return [Stage(w, [Bottleneck(spatial_of(w // EXPANSION), EXPANSION)], stride) for w, stride in sizes]


def alike(operator):
    return stages(lambda channels: operator)


space = HybridNet(
    stem=PlainStem(width=32, kernel_size=3, stride=2, pool=False),
    stages=Choice(
        alike(Convolution(3)),
        alike(middle),
        *(alike(replace(middle, kernel_size=size)) for size in (3, 5, 9)),
        *(alike(replace(middle, group_channels=channels)) for channels in (1, 4)),
        stages(lambda channels: replace(middle, group_channels=channels)),  # C/G = C: one group
        *(alike(replace(middle, reduction_ratio=ratio)) for ratio in (None, 1, 16)),
    ),
)
