"""What torchvision's detectors ask of a backbone: they look at `out_channels` and take a dict of maps by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import invnas
from invnas import ConvolutionFPN, InvolutionFPN
from invnas.architecture import Architecture
from invnas.backbones.torchvision import BackboneWithFPN
from invnas.blocks import Bottleneck
from invnas.errors import BadInput
from invnas.hybrid import HybridNet, PlainStem, Stage
from invnas.operators import Convolution

BLOCK = Bottleneck(Convolution(3), 2)
NET = Architecture(HybridNet(PlainStem(8, 3, 2, True), tuple(Stage(8 * 2**i, (BLOCK,), 1 + (i > 0)) for i in range(4))))


@pytest.mark.parametrize(
    ("neck", "indices", "names", "strides"),
    [
        (ConvolutionFPN(8, extra_levels=1, pooled=True), None, "0 1 2 3 pool", (4, 8, 16, 32, 64)),
        (ConvolutionFPN(8, extra_levels=2), (-3, -2, -1), "0 1 2 p6 p7", (8, 16, 32, 64, 128)),
        (InvolutionFPN(8, group_channels=4, kernel_size=3), (2, 3), "0 1", (8, 16)),
        (InvolutionFPN(8, None, 2, True, 3, 4), (4,), "0 pool pool2", (32, 64, 128)),
    ],
)
def test_levels_have_torchvisions_names_and_one_number_of_channels(
    neck: Any, indices: Any, names: str, strides: tuple[int, ...]
) -> None:
    module = BackboneWithFPN(invnas.backbone(NET, out_indices=indices), neck)
    maps = module(torch.rand(1, 3, 70, 130))
    assert list(maps) == names.split()
    assert (module.out_channels, module.strides) == (8, strides)
    # A stride of 2 rounds up, as often as it stands in the way.
    assert [tuple(one.shape) for one in maps.values()] == [(1, 8, -(-70 // s), -(-130 // s)) for s in strides]
    sum(one.sum() for one in maps.values()).backward()
    assert all(value.grad is not None for name, value in module.named_parameters() if "fpn" in name)


def test_by_default_it_is_the_pyramid_of_an_r_cnn() -> None:
    module = BackboneWithFPN(invnas.backbone(NET))
    assert (module.out_channels, list(module.names)) == (256, ["0", "1", "2", "3", "pool"])
    assert {name.partition(".")[0] for name in module.state_dict()} == {"body", "fpn"}


@pytest.mark.parametrize(
    ("neck", "said"),
    [
        (None, "without a neck the maps differ in channels"),
        (ConvolutionFPN(8, levels=3), "`levels` of a ConvolutionFPN is 3, but the backbone returns 4 maps"),
        (InvolutionFPN(8, group_channels=3), r"`group_channels` must divide the channels, .* \(neck\)"),
        (replace(ConvolutionFPN(8), kernel_size=2), r"`kernel_size` must be odd .* \(neck\)"),
    ],
)
def test_a_neck_that_cannot_be_is_one_sentence(neck: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        BackboneWithFPN(invnas.backbone(NET), neck)
