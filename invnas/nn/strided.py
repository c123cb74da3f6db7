"""Strided 1 x 1 convolutions of few channels, whose gradients oneDNN writes past the end of its memory."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

#: Channels that oneDNN takes at a time with AVX-512; 8 with AVX2. With that many or more nothing goes wrong.
_AT_A_TIME = 16


class SubsampledConv2d(nn.Conv2d):
    """A 1 x 1 convolution that, where it is trained on a CPU, takes the pixels it wants before it multiplies them.

    The same products and sums. Of maps in channels_last with fewer channels than oneDNN takes at a time, the gradient
    of the weights of a strided one overruns its scratchpad (oneDNN 3.12, issue 6035 of uxlfoundation/oneDNN):
    processes die, or go on with damaged memory.

    Shapes:
        (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)).
    """

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if x.device.type != "cpu" or not (torch.is_grad_enabled() and weight.requires_grad):
            return super()._conv_forward(x, weight, bias)
        down, right = self.stride
        return F.conv2d(x[..., ::down, ::right], weight, bias)


def subsample(network: nn.Module) -> None:
    """Make those of a network that oneDNN would overrun such ones, a user's own layers among them."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _overrun(layer):
            layer.__class__ = SubsampledConv2d


def plain(network: nn.Module) -> None:
    """Undo `subsample`, for what is not trained any more."""
    for layer in network.modules():
        if type(layer) is SubsampledConv2d:
            layer.__class__ = nn.Conv2d  # type: ignore[assignment]


def _overrun(layer: nn.Conv2d) -> bool:
    dense = layer.groups == 1 and layer.padding in ((0, 0), "valid")
    return dense and layer.kernel_size == (1, 1) != layer.stride and layer.in_channels < _AT_A_TIME
