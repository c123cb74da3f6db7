"""Strided 1 x 1 convolutions of few channels: trained without damage, and the same function as ever."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import invnas
from invnas import BasicBlock, HybridNet, PlainStem, Stage
from invnas.architecture import Architecture
from invnas.nn import build
from invnas.nn.strided import SubsampledConv2d, subsample

TRAINED = """
import torch
from invnas import BasicBlock, HybridNet, PlainStem, Stage
from invnas.architecture import Architecture
from invnas.nn import build

stages = Stage({width}, (BasicBlock(3),), 1), Stage(16, (BasicBlock(3),), 2)
network = build(Architecture(HybridNet(PlainStem({width}, 3, 1, False), stages)), (1, 8, 8), 10)
for _ in range(40):
    network(torch.randn(32, 1, 8, 8).to(memory_format=torch.channels_last)).sum().backward()
    around = [torch.randn(int(torch.randint(1, 5000, ()))) for _ in range(20)]  # who stands beside what is overrun
"""


@pytest.mark.parametrize("width", [4, 8])  # fewer than AVX2 and AVX-512 take at a time
def test_networks_of_few_channels_are_trained_without_damage_to_memory(width: int) -> None:
    trained = subprocess.run([sys.executable, "-c", TRAINED.format(width=width)], capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("stride", [2, (3, 1)])
def test_what_is_subsampled_is_the_same_function_with_the_same_gradients(
    size: int, stride: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 1, stride).double()
    x = torch.randn(3, 4, size, size, dtype=torch.float64, requires_grad=True)
    found = []
    for make in (lambda: None, lambda: subsample(layer)):
        make()
        y = layer(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    assert type(layer) is SubsampledConv2d
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain, rtol=1e-12, atol=1e-12)


def test_only_what_is_overrun_is_subsampled() -> None:
    others = [nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(16, 8, 1, 2), nn.Conv2d(4, 8, 1, 2, 1)]
    grouped = nn.Conv2d(8, 8, 1, 2, groups=8)
    network = nn.Sequential(*others, grouped, nn.Conv2d(15, 8, 1, 2))
    subsample(network)
    assert [type(layer) is SubsampledConv2d for layer in network] == [False] * 5 + [True]


def test_a_folded_network_is_of_plain_convolutions() -> None:
    stages = (Stage(4, (BasicBlock(3),), 1), Stage(16, (BasicBlock(3),), 2))
    network = build(Architecture(HybridNet(PlainStem(4, 3, 1, False), stages)), (1, 8, 8), 10).eval()
    assert any(isinstance(layer, SubsampledConv2d) for layer in network.modules())
    folded = invnas.fold(network)
    assert not any(isinstance(layer, SubsampledConv2d | nn.BatchNorm2d) for layer in folded.modules())
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-5)
