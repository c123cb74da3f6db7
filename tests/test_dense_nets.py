"""Networks for dense prediction as values: what is in them, which rules they have, what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from invnas import (
    Bottleneck,
    Choice,
    Convolution,
    ConvolutionFPN,
    DeepStem,
    DenseNet,
    HybridNet,
    InvolutionFPN,
    PlainStem,
    SemanticFPN,
    Space,
    Stage,
)
from invnas.architecture import Architecture
from invnas.cost import cost, segments
from invnas.dense import backbone_of
from invnas.errors import InvalidArchitecture
from invnas.head import FeatureMap
from invnas.measurement import total
from invnas.meter import metered
from invnas.nn import build
from invnas.tasks.classification.head import ClassScores
from invnas.tasks.segmentation.head import PixelScores
from invnas.zoo import rednet, resnet

BLOCK = Bottleneck(Convolution(3), expansion=2)


def backbone(strides: tuple[int, ...] = (1, 2), width: int = 8) -> HybridNet:
    return HybridNet(PlainStem(8, 3, 1, False), tuple(Stage(width, (BLOCK,), stride) for stride in strides))


NECK, HEAD = ConvolutionFPN(8), SemanticFPN(8)


def dense(neck: Any = NECK, head: Any = HEAD, **given: Any) -> Architecture:
    return Architecture(DenseNet(backbone(**given), neck, head))


ROWS = [
    pytest.param(
        replace(resnet(50).network, stem=DeepStem(Convolution(3))), ConvolutionFPN(), 362.805, 28.50, id="conv"
    ),
    pytest.param(rednet(50, 7).network, ConvolutionFPN(), 293.928, 18.46, id="RedNet"),
    pytest.param(rednet(50, 7).network, InvolutionFPN(), 205.147, 16.37, id="RedNet, involution neck"),
]


@pytest.mark.parametrize(("network", "neck", "giga", "millions"), ROWS)
def test_a_row_of_the_published_table_of_semantic_fpn(network: Any, neck: Any, giga: float, millions: float) -> None:
    price = cost(
        Architecture(DenseNet(network, neck, SemanticFPN())), (3, 1024, 2048), PixelScores(19), "published-segmentation"
    )
    assert (round(price.macs / 1e9, 3), round(price.parameters / 1e6, 2)) == (giga, millions)


def test_an_involution_neck_has_a_quarter_of_the_multiply_adds() -> None:
    both = [
        segments(Architecture(DenseNet(rednet(50, 7).network, neck, SemanticFPN())), (3, 512, 512), PixelScores(19))
        for neck in (ConvolutionFPN(), InvolutionFPN())
    ]
    necks = [next(one.cost.macs for one in found if one.name == "neck") for found in both]
    assert 3.9 < necks[0] / necks[1] < 4.0


LEVELS = {"width": st.sampled_from((4, 8)), "levels": st.sampled_from((None, 1, 2)), "extra_levels": st.integers(0, 2)}
necks = st.one_of(
    st.none(),
    st.builds(ConvolutionFPN, **LEVELS, kernel_size=st.sampled_from((1, 3))),
    st.builds(
        InvolutionFPN,
        **LEVELS,
        kernel_size=st.sampled_from((1, 3, 5)),
        group_channels=st.sampled_from((2, 4)),
        reduction_ratio=st.sampled_from((None, 2)),
    ),
    st.builds(InvolutionFPN, st.just(8), st.just(2), st.integers(1, 2), st.just(True), st.just(3), st.just(4)),
)


@given(
    necks,
    st.tuples(st.integers(4, 19), st.integers(4, 19)),
    st.tuples(st.sampled_from((1, 2)), st.sampled_from((1, 2))),
)
def test_the_price_by_parts_is_the_price_of_the_whole(
    neck: Any, size: tuple[int, int], strides: tuple[int, int]
) -> None:
    architecture, head = dense(neck, strides=strides), PixelScores(3)
    price = cost(architecture, (1, *size), head)
    with torch.device("meta"):
        whole = metered(build(architecture, (1, *size), head).eval(), (1, *size))
    assert (price.macs, price.parameters, whole.shape) == (whole.macs, whole.parameters, (3, *size))
    # Who calls a network may hold the image or not.
    assert 0 <= whole.peak - price.activation_bytes <= 4 * size[0] * size[1]
    assert total([one.cost for one in segments(architecture, (1, *size), head)]) == price


@given(necks, st.tuples(st.integers(4, 13), st.integers(4, 13)), st.tuples(st.integers(4, 13), st.integers(4, 13)))
def test_images_of_any_size_go_through_and_back_to_their_size(
    neck: Any, size: tuple[int, int], other: tuple[int, int]
) -> None:
    network = build(dense(neck), (1, *size), PixelScores(3)).eval()
    for shape in (size, other):
        with torch.no_grad():
            assert network(torch.rand(2, 1, *shape)).shape == (2, 3, *shape)


def test_the_pyramid_and_the_head_are_what_is_written_down() -> None:
    architecture = dense(ConvolutionFPN(4, extra_levels=0), SemanticFPN(6))
    network: Any = build(architecture, (1, 8, 8), PixelScores(3)).eval().double()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        fine, coarse = network.features(x)[1:]
        neck, layers = network.head.neck, network.head.layers
        low = neck.lateral[1](coarse)
        high = neck.lateral[0](fine) + low.repeat_interleave(2, 2).repeat_interleave(2, 3)
        levels = [neck.spatial[0](high), neck.spatial[1](low)]
        merged = layers.paths[0][0](levels[0]) + F.interpolate(
            layers.paths[1][0](levels[1]), scale_factor=2, mode="bilinear"
        )
        torch.testing.assert_close(network(x), F.interpolate(layers.scores(merged), size=(8, 8), mode="bilinear"))


@pytest.mark.parametrize(
    ("neck", "strides", "shapes"),
    [
        (ConvolutionFPN(4, extra_levels=2), [1, 2, 4, 8], [(8, 8), (4, 4), (2, 2), (1, 1)]),
        (InvolutionFPN(4, 1, 1, True, 3, 4, 2), [2, 4], [(4, 4), (2, 2)]),
        (ConvolutionFPN(4, levels=1), [2], [(4, 4)]),
    ],
)
def test_levels_beyond_the_backbone(neck: Any, strides: list[int], shapes: list[tuple[int, int]]) -> None:
    network: Any = build(dense(neck), (1, 8, 8), PixelScores(3)).eval()
    wanted = neck.wanted(network.feature_maps)
    maps = network.features(torch.rand(1, 1, 8, 8))
    with torch.no_grad():
        levels = network.head.neck(*(maps[i] for i in wanted))
    after = neck.after([network.feature_maps[i] for i in wanted])
    assert after == tuple(FeatureMap(4, stride) for stride in strides)
    assert [tuple(level.shape) for level in levels] == [(1, 4, *shape) for shape in shapes]


BROKEN = [
    (ConvolutionFPN(0), HEAD, r"`width` must be a whole number from 1 to 65,536, but got 0 \(neck\)"),
    (ConvolutionFPN(8, levels=0), HEAD, r"`levels` must be a whole number .* got 0 \(neck\)"),
    (ConvolutionFPN(8, levels=3), HEAD, "`levels` of a ConvolutionFPN is 3, but the backbone has 2 stages"),
    (ConvolutionFPN(8, extra_levels=-1), HEAD, "`extra_levels` must be a whole number from 0 to 8, but got -1"),
    (ConvolutionFPN(8, pooled=True), HEAD, "`pooled` says how extra levels are made, but `extra_levels` is 0"),
    (ConvolutionFPN(8, kernel_size=4), HEAD, r"`kernel_size` must be odd .* nearest: 3, 5 \(neck\)"),
    (InvolutionFPN(8, group_channels=3), HEAD, r"`group_channels` must divide the channels, .*\(neck\)"),
    (InvolutionFPN(8, group_channels=4, reduction_ratio=3), HEAD, r"`reduction_ratio` must divide .*\(neck\)"),
    ("fpn", HEAD, "'fpn' stands where a neck is wanted: take ConvolutionFPN, InvolutionFPN, or"),
    (
        NECK,
        None,
        "None stands where a head is wanted: take SemanticFPN, UPerNetHead, RetinaHead, RCNNHeads, or a frozen",
    ),
    (NECK, SemanticFPN(-1), r"`width` must be .* got -1 \(head\)"),
]


@pytest.mark.parametrize(("neck", "head", "sentence"), BROKEN)
def test_a_broken_rule_is_one_sentence_with_its_part(neck: Any, head: Any, sentence: str) -> None:
    with pytest.raises(InvalidArchitecture, match=sentence):
        cost(dense(neck, head), (1, 8, 8), PixelScores(3))


def test_a_broken_backbone_is_said() -> None:
    with pytest.raises(InvalidArchitecture, match=r"`width` must be .* \(stage 1\)"):
        cost(dense(width=0), (1, 8, 8), PixelScores(3))
    with pytest.raises(InvalidArchitecture, match="stands where a backbone is wanted: take a HybridNet"):
        cost(Architecture(DenseNet(BLOCK, None, SemanticFPN(8))), (1, 8, 8), PixelScores(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("price", [cost, build])
def test_a_network_and_a_task_that_do_not_fit_are_told(price: Any) -> None:
    with pytest.raises(InvalidArchitecture, match=r"segmentation takes a DenseNet, .*`segmentation_small` comes with"):
        price(Architecture(backbone()), (1, 8, 8), PixelScores(3))
    if price is cost:
        with pytest.raises(InvalidArchitecture, match="one score for each of 3 classes, but returns the shape"):
            price(dense(), (1, 8, 8), ClassScores(3))


@pytest.mark.parametrize("price", [cost, build])
def test_an_image_smaller_than_the_largest_stride_is_refused(price: Any) -> None:
    architecture = dense(strides=(2, 2, 2))
    price(architecture, (1, 8, 8), PixelScores(3))
    with pytest.raises(InvalidArchitecture, match=r"images of 8 x 7 are smaller than the largest stride .*, 8: take"):
        price(architecture, (1, 8, 7), PixelScores(3))


@pytest.mark.parametrize("neck", [None, ConvolutionFPN(4), InvolutionFPN(8, 1, 2, True, 3, 4, None)])
def test_it_goes_to_json_and_back(neck: Any) -> None:
    architecture = dense(neck)
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert len({architecture.fingerprint, dense(ConvolutionFPN(16)).fingerprint}) == 2


@pytest.mark.parametrize(
    ("neck", "kind"), [(None, "convolution"), (ConvolutionFPN(8), "convolution"), (InvolutionFPN(8), "hybrid")]
)
def test_the_operator_of_a_neck_counts_for_the_kind(neck: Any, kind: str) -> None:
    assert dense(neck).kind == kind


def test_neck_and_head_are_decisions_like_any_other() -> None:
    space = Space(
        DenseNet(
            backbone(),
            neck=Choice(ConvolutionFPN(8), InvolutionFPN(8, kernel_size=Choice(3, 5, 7), group_channels=4)),
            head=SemanticFPN(Choice(4, 8)),
        )
    )
    assert space.size == 8
    found = [space.architecture(taken) for taken, _ in space.enumerate()]
    assert len({one.fingerprint for one in found}) == 8
    assert {"neck", "neck=InvolutionFPN.kernel_size", "head.width"} == {
        path for taken, _ in space.enumerate() for path in taken
    }


@dataclass(frozen=True)
class Halves:
    """A neck of a user's own: every map by a 1 x 1 convolution."""

    width: int

    def after(self, maps: Any) -> Any:
        return [(self.width, one.stride) for one in maps]

    def build(self, maps: Any) -> nn.Module:
        return _Each([one.channels for one in maps], self.width)


class _Each(nn.Module):
    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(one, width, 1) for one in channels)

    def forward(self, *maps: torch.Tensor) -> list[torch.Tensor]:
        return [layer(x) for layer, x in zip(self.convolutions, maps, strict=True)]


@dataclass(frozen=True)
class Finest:
    """A head of a user's own: scores of the finest level."""

    def problems(self) -> Iterator[str]:
        yield from ()

    def build(self, levels: Any, input_shape: Any, classes: int) -> nn.Module:
        return _Finest(levels[0].channels, classes)


class _Finest(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.scores = nn.Conv2d(channels, classes, 1)

    def forward(self, *levels: torch.Tensor, size: Any) -> torch.Tensor:
        return F.interpolate(self.scores(levels[0]), size=size)


def test_a_neck_and_a_head_of_ones_own() -> None:
    architecture = dense(Halves(5), Finest())
    price = cost(architecture, (1, 8, 8), PixelScores(3))
    network = build(architecture, (1, 8, 8), PixelScores(3)).eval()
    assert price.parameters == sum(one.numel() for one in network.parameters())
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 3, 8, 8)
    assert backbone_of(architecture.network) == backbone()


def test_a_neck_without_its_levels_is_told_what_it_needs() -> None:
    @dataclass(frozen=True)
    class Bare:
        def build(self, maps: Any) -> nn.Module:
            return _Each([one.channels for one in maps], 4)

    with pytest.raises(InvalidArchitecture, match=r"Bare stands where a neck is wanted, so it needs a method after\("):
        cost(dense(Bare()), (1, 8, 8), PixelScores(3))
