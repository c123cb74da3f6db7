"""Do few wide layers or many narrow ones read 8 x 8 digits better, with convolution or involution?

A space as a plain function: the defaults of its parameters hold the choices, and it returns the network.
"""

from torch import nn

from invnas import Choice
from invnas.nn import Involution2d

widths, depths, kernels, operators = Choice(16, 32, 64), Choice(1, 2, 3), Choice(3, 5), Choice("conv", "involution")


def space(input_shape, classes, width=widths, depth=depths, kernel_size=kernels, operator=operators):
    layers = [nn.Conv2d(input_shape[0], width, 1)]
    for _ in range(depth):
        if operator == "involution":
            layers.append(Involution2d(width, kernel_size, group_channels=8, reduction_ratio=2))
        else:
            layers.append(nn.Conv2d(width, width, kernel_size, padding="same"))
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
