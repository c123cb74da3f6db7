"""The head of UPerNet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas import Bottleneck, Convolution, DeepStem, DenseNet, HybridNet, PlainStem, Stage, UPerNetHead
from invnas.architecture import Architecture
from invnas.cost import cost
from invnas.errors import InvalidArchitecture
from invnas.meter import metered
from invnas.nn import build
from invnas.nn.layers import conv_norm_relu
from invnas.tasks.segmentation.head import PixelScores
from invnas.zoo import rednet, resnet

RESNET = replace(resnet(50).network, stem=DeepStem(Convolution(3)))


def upernet(widths: tuple[int, ...] = (8, 12), width: int = 6) -> Architecture:
    block = Bottleneck(Convolution(3), expansion=2)
    stages = tuple(Stage(one, (block,), 1 if i == 0 else 2) for i, one in enumerate(widths))
    return Architecture(DenseNet(HybridNet(PlainStem(8, 3, 1, False), stages), None, UPerNetHead(width)))


@pytest.mark.parametrize(
    ("network", "giga", "millions"), [(RESNET, 1894.446, 66.42), (rednet(50, 7).network, 1825.569, 56.38)]
)
def test_a_row_of_the_published_table_of_upernet(network: Any, giga: float, millions: float) -> None:
    architecture = Architecture(DenseNet(network, None, UPerNetHead()))
    price = cost(architecture, (3, 1024, 2048), PixelScores(19), "published-segmentation")
    # The published parameters are those of the training, where a second head sees the third stage: a 3 x 3 convolution
    # to 256 channels with batch norm, then the scores.
    second = nn.Sequential(conv_norm_relu(1024, 256, 3), nn.Conv2d(256, 19, 1))
    parameters = price.parameters + sum(one.numel() for one in second.parameters())
    assert (round(price.macs / 1e9, 3), round(parameters / 1e6, 2)) == (giga, millions)


def test_it_is_what_is_written_down() -> None:
    network: Any = build(upernet((8, 12, 16)), (1, 16, 12), PixelScores(3)).eval().double()
    x = torch.rand(2, 1, 16, 12, dtype=torch.float64)

    def scaled(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)

    with torch.no_grad():
        one, two, three = network.features(x)[1:]
        head = network.head.layers
        pooled = [scaled(head.pooled[i](nn.AdaptiveAvgPool2d(n)(three)), three) for i, n in enumerate((1, 2, 3, 6))]
        third = head.context(torch.cat([three, *pooled], 1))
        second = head.lateral[1](two) + scaled(third, two)
        first = head.lateral[0](one) + scaled(second, one)
        levels = [head.spatial[0](first), scaled(head.spatial[1](second), one), scaled(third, one)]
        expected = scaled(head.scores(head.merge(torch.cat(levels, 1))), x)
        torch.testing.assert_close(network(x), expected)


@settings(max_examples=6)
@given(
    st.sampled_from(((8,), (8, 12), (8, 8, 16))),
    st.tuples(st.integers(4, 13), st.integers(4, 13)),
    st.tuples(st.integers(4, 13), st.integers(4, 13)),
)
def test_images_of_any_size_go_through_and_the_price_is_of_the_whole(
    widths: tuple[int, ...], size: tuple[int, int], other: tuple[int, int]
) -> None:
    architecture, head = upernet(widths), PixelScores(3)
    network = build(architecture, (1, *size), head).eval()
    for shape in (size, other):
        with torch.no_grad():
            assert network(torch.rand(2, 1, *shape)).shape == (2, 3, *shape)
    price, whole = cost(architecture, (1, *size), head), metered(network.to("meta"), (1, *size))
    assert (price.macs, price.parameters) == (whole.macs, whole.parameters)
    assert 0 <= whole.peak - price.activation_bytes <= 4 * size[0] * size[1]


def test_it_learns() -> None:
    torch.manual_seed(0)
    network = build(upernet(), (1, 16, 16), PixelScores(2))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    x = torch.rand(4, 1, 16, 16)
    masks = (x[:, 0] > 0.5).long()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), masks)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_a_broken_width_is_refused_and_it_goes_to_json_and_back() -> None:
    with pytest.raises(InvalidArchitecture, match=r"`width` must be .* got 0 \(head\)"):
        cost(upernet(width=0), (1, 8, 8), PixelScores(3))
    assert Architecture.from_json(upernet().to_json()) == upernet()
