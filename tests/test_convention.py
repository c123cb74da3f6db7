"""The published convention against the tables of the paper, and against hooks on networks it has no table for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from invnas import Bottleneck, HybridNet, Involution, PlainStem, Stage
from invnas.architecture import Architecture
from invnas.cost import cost, segments
from invnas.errors import BadInput
from invnas.measurement import CONVENTIONS, total
from invnas.nn import Involution2d, build
from invnas.nn.blocks import BuiltBlock
from invnas.space import load_space
from invnas.zoo import DEPTHS, STRIDES, WIDTHS, rednet, resnet

IMAGENET = ((3, 224, 224), 1000)


def giga(architecture: Architecture, digits: int) -> float:
    return round(cost(architecture, *IMAGENET, "published").macs / 1e9, digits)


@pytest.mark.parametrize(
    ("depth", "exact", "published"),
    [(26, 1.7334, 1.73), (38, 2.2233, 2.22), (50, 2.7132, 2.71), (101, 4.7423, 4.74), (152, 6.7856, 6.79)],
)
def test_rednets_have_the_published_flops(depth: int, exact: float, published: float) -> None:
    assert giga(rednet(depth, 7), 4) == exact
    assert giga(rednet(depth, 7), 2) == published


@pytest.mark.parametrize(("depth", "exact"), [(26, 2.3594), (38, 3.2396), (50, 4.1199), (101, 7.8475), (152, 11.5786)])
def test_resnets_have_the_published_flops(depth: int, exact: float) -> None:
    assert giga(resnet(depth), 4) == exact


def ablation(spatial: Callable[[int], Any]) -> Architecture:
    """Return RedNet-50 with a plain stem, and in each block the operator for so many channels."""
    stages = (
        Stage(width, (Bottleneck(spatial(width // 4)),) * blocks, stride)
        for width, blocks, stride in zip(WIDTHS, DEPTHS[50], STRIDES, strict=True)
    )
    return Architecture(HybridNet(PlainStem(64, 7, 2), tuple(stages)))


@pytest.mark.parametrize(
    ("spatial", "millions", "flops"),
    [
        pytest.param(lambda channels: Involution(3), 14.735, 2.365, id="K=3"),
        pytest.param(lambda channels: Involution(5), 15.053, 2.440, id="K=5"),
        pytest.param(lambda channels: Involution(7), 15.530, 2.552, id="K=7"),
        pytest.param(lambda channels: Involution(9), 16.167, 2.702, id="K=9"),
        pytest.param(lambda channels: Involution(7, 1), 30.145, 4.976, id="C/G=1"),
        pytest.param(lambda channels: Involution(7, 4), 18.453, 3.037, id="C/G=4"),
        pytest.param(lambda channels: Involution(7, 16), 15.530, 2.552, id="C/G=16"),
        pytest.param(lambda channels: Involution(7, channels), 14.603, 2.409, id="C/G=C"),
        pytest.param(lambda channels: Involution(7, 16, None), 18.102, 2.972, id="one linear"),
        pytest.param(lambda channels: Involution(7, 16, 1), 19.367, 3.182, id="r=1"),
        pytest.param(lambda channels: Involution(7, 16, 4), 15.530, 2.552, id="r=4"),
        pytest.param(lambda channels: Involution(7, 16, 16), 14.571, 2.395, id="r=16"),
    ],
)
def test_a_row_of_the_published_ablation(spatial: Callable[[int], Any], millions: float, flops: float) -> None:
    price = cost(ablation(spatial), *IMAGENET, "published")
    assert (round(price.parameters / 1e6, 3), round(price.macs / 1e9, 3)) == (millions, flops)


def hooked(network: nn.Module, image: torch.Tensor) -> int:
    """Return the same count by hooks on a real forward pass."""
    found = [0]

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            found.append(output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size))
            found.append(output.numel() * (module.bias is not None))
        elif isinstance(module, nn.BatchNorm2d):
            found.append(2 * output.numel())
        elif isinstance(module, nn.ReLU | BuiltBlock):  # a block ends in a ReLU
            found.append(output.numel())
        elif isinstance(module, nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            found.append(inputs[0].numel())
        elif isinstance(module, Involution2d):
            pooled = inputs[0].numel() if module.stride > 1 else 0
            found.append(output.numel() * module.kernel_size**2 + pooled)

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network.eval()(image)
    for hook in hooks:
        hook.remove()
    return sum(found)


@pytest.mark.parametrize(
    ("name", "input_shape"), [("digits", (1, 8, 8)), ("digits", (3, 7, 5)), ("hybrid_imagenet", (3, 33, 48))]
)
def test_random_architectures_cost_what_hooks_count(name: str, input_shape: tuple[int, int, int]) -> None:
    space, rng = load_space(name), random.Random(1)
    for _ in range(4):
        architecture = space.sample(rng)[1]
        price = cost(architecture, input_shape, 5, "published")
        assert price.macs == hooked(build(architecture, input_shape, 5), torch.randn(1, *input_shape))
        # Only what is counted differs.
        plain = cost(architecture, input_shape, 5)
        assert (price.parameters, price.activation_bytes) == (plain.parameters, plain.activation_bytes)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_segments_sum_to_the_whole_and_name_their_maps(convention: str) -> None:
    found = segments(rednet(26), *IMAGENET, convention)
    assert [(one.name, one.shape) for one in found] == [
        ("stem", (64, 56, 56)),
        ("stage 1", (256, 56, 56)),
        ("stage 2", (512, 28, 28)),
        ("stage 3", (1024, 14, 14)),
        ("stage 4", (2048, 7, 7)),
        ("head", (1000,)),
    ]
    assert total([one.cost for one in found]) == cost(rednet(26), *IMAGENET, convention)
    assert found[-1].cost.parameters == 2048 * 1000 + 1000
    assert found[-1].cost.macs == (2048 * 1000 if convention == "macs" else 2048 * 7 * 7)


def test_an_unknown_convention_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        BadInput,
        match=r"^unknown convention 'publishd'; nearest: 'published'; valid: macs, published, published-segmentation$",
    ):
        cost(rednet(26), *IMAGENET, "publishd")


@dataclass(frozen=True)
class Whole:
    def build(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))


def test_a_whole_network_of_the_user_is_one_segment_and_has_no_published_count() -> None:
    (only,) = segments(Architecture(Whole()), (1, 4, 4), 3)
    assert (only.name, only.shape, only.cost) == ("network", (3,), cost(Architecture(Whole()), (1, 4, 4), 3))
    with pytest.raises(BadInput, match="but the network is Whole; nearest: 'macs'"):
        cost(Architecture(Whole()), (1, 4, 4), 3, "published")
